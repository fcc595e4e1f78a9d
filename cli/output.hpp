// What `chronos` prints: text for people and scripts, JSON, and one-line errors.
//
// Everything is written with write(2) in one go, so that a full disk or a closed pipe is noticed
// and a reader sees whole answers. Not for threads: `chronos` has one.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.hpp"

namespace chronos::cli {

enum ExitStatus {
  kDone = 0,
  kFailed = 1,
  kBadUsage = 2,
  kNoCapacityLeft = 3,
  // `chronos run`, as timeout(1) and env(1) have them:
  kPartitionEnded = 124,
  kRunFailed = 125,
  kCannotExecute = 126,
  kNotFoundToExecute = 127,
  kSignalled = 128,  // plus the number of the signal
};

enum class ColorMode { kAuto, kAlways, kNever };

// How standard output is to be written to.
struct Screen {
  bool terminal = false;  // a table for people; otherwise the text that scripts parse
  bool color = false;
  bool unicode = false;
  std::size_t width = 80;

  static Screen of_stdout(ColorMode mode);
};

enum class Style { kPlain, kBold, kDim, kRed, kGreen, kYellow, kCyan };
std::string styled(const Screen& screen, Style style, std::string_view text);

// `text` on one line, fit for a terminal and valid UTF-8: control characters, invalid bytes and
// characters that reorder a line become \n, \t, \r or \xNN. Other UTF-8 stays.
std::string printable(std::string_view text);

// Columns that `text` (valid UTF-8, no control characters) takes on a terminal.
std::size_t display_width(std::string_view text);
// `text` cut to at most `width` columns, its end marked.
std::string shortened(std::string_view text, std::size_t width, bool unicode);

// `#####.....`, `cells` wide: `used` of `limit`.
inline constexpr std::size_t kBarCells = 10;
inline constexpr std::size_t kWideEnoughForBars = 100;
std::string bar(const Screen& screen, std::uint64_t used, std::uint64_t limit, std::size_t cells);

// Seconds without decimals where they are whole.
std::string legacy_seconds(std::uint64_t nanos);

// Pretty-printed, two spaces, valid UTF-8 whatever the strings hold; ends with a newline.
std::string to_text(const nlohmann::ordered_json& json);

// Errors: kSystem (standard output is closed, full or broken).
Result<void> write_stdout(std::string_view text);
// The same as an exit status; the error is reported.
int print(std::string_view text);

// One line on stderr, whatever `line` holds.
void print_error_line(std::string_view line);
// A line that CHRONOS_LOG=error silences.
void print_warning_line(std::string_view line);
void print_warning_lines(const std::vector<std::string>& lines);

// "message (hint)" on stderr; the exit status that goes with the error.
int report(const Error& error);

}  // namespace chronos::cli
