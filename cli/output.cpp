#include "cli/output.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "cli/utf8.hpp"
#include "core/posix.hpp"
#include "core/units.hpp"

namespace chronos::cli {
namespace {

__extension__ using Wide = unsigned __int128;

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string_view() : std::string_view(value);
}

bool locale_is_utf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    std::string_view value = environment(name);
    if (value.empty()) continue;
    auto has = [&](std::string_view part) { return value.find(part) != value.npos; };
    return has("UTF-8") || has("utf8") || has("UTF8") || has("utf-8");
  }
  return false;
}

const char* escape_of(Style style) {
  switch (style) {
    case Style::kPlain:
      return "";
    case Style::kBold:
      return "\x1b[1m";
    case Style::kDim:
      return "\x1b[2m";
    case Style::kRed:
      return "\x1b[31m";
    case Style::kGreen:
      return "\x1b[32m";
    case Style::kYellow:
      return "\x1b[33m";
    case Style::kCyan:
      return "\x1b[36m";
  }
  return "";
}

bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    ssize_t put = retry_eintr([&] { return ::write(fd, text.data(), text.size()); });
    if (put < 0) return false;
    text.remove_prefix(static_cast<std::size_t>(put));
  }
  return true;
}

int status_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalid:
      return kBadUsage;
    case ErrorCode::kNoCapacity:
      return kNoCapacityLeft;
    default:
      return kFailed;
  }
}

}  // namespace

Screen Screen::of_stdout(ColorMode mode) {
  Screen screen;
  screen.terminal = ::isatty(STDOUT_FILENO) == 1;
  screen.unicode = locale_is_utf8();
  screen.color = mode == ColorMode::kAlways ||
                 (mode == ColorMode::kAuto && screen.terminal && environment("NO_COLOR").empty() &&
                  environment("TERM") != "dumb");
  winsize size{};
  if (screen.terminal && ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    screen.width = size.ws_col;
  }
  return screen;
}

std::string styled(const Screen& screen, Style style, std::string_view text) {
  if (!screen.color || style == Style::kPlain || text.empty()) return std::string(text);
  return fmt::format("{}{}\x1b[0m", escape_of(style), text);
}

std::string bar(const Screen& screen, std::uint64_t used, std::uint64_t limit, std::size_t cells) {
  std::size_t full = 0;
  if (limit > 0) {
    full = static_cast<std::size_t>((Wide{std::min(used, limit)} * cells + limit - 1) / limit);
  }
  std::string text;
  for (std::size_t i = 0; i < cells; ++i) {
    if (screen.unicode) {
      text += i < full ? "█" : "░";
    } else {
      text += i < full ? '#' : '.';
    }
  }
  return text;
}

std::string legacy_seconds(std::uint64_t nanos) {
  std::uint64_t fraction = nanos % kNanosPerSecond;
  if (fraction == 0) return fmt::format("{}", nanos / kNanosPerSecond);
  std::string text = fmt::format("{}.{:09}", nanos / kNanosPerSecond, fraction);
  text.erase(text.find_last_not_of('0') + 1);
  return text;
}

std::string to_text(const nlohmann::ordered_json& json) {
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

Result<void> write_stdout(std::string_view text) {
  if (write_all(STDOUT_FILENO, text)) return {};
  return fail(ErrorCode::kSystem, "cannot write to standard output: " + errno_text(errno));
}

int print(std::string_view text) {
  Result<void> written = write_stdout(text);
  return written ? kDone : report(written.error());
}

void print_error_line(std::string_view line) { write_all(STDERR_FILENO, printable(line) + "\n"); }

void print_warning_line(std::string_view line) {
  if (environment("CHRONOS_LOG") != "error") print_error_line(line);
}

void print_warning_lines(const std::vector<std::string>& lines) {
  for (const std::string& line : lines) print_warning_line(line);
}

int report(const Error& error) {
  std::string line = error.message;
  if (!error.hint.empty()) line += " (" + error.hint + ")";
  print_error_line(line);
  return status_of(error.code);
}

}  // namespace chronos::cli
