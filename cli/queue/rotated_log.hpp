// A log of bounded size: when it is full it becomes FILE.1, that FILE.2 and so on, and a new one is
// begun, between two lines where that can be. Several processes may write to one: whoever finds it
// rotated goes on in the new one.
//
// Nothing here fails: what the disk does not take is counted, and the log says so where it is
// missing, as soon as there is room again.
//
// Threads: one at a time. Sizes in bytes.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cli/queue/job.hpp"
#include "core/posix.hpp"

namespace chronos::queue {

// FILE.1 for 1; FILE itself for 0.
std::string rotated_name(const std::string& path, unsigned number);

class RotatedLog {
 public:
  // `fd` is open for appending to `path`, a regular file.
  RotatedLog(std::string path, UniqueFd fd, const LogLimits& limits)
      : path_(std::move(path)), fd_(std::move(fd)), limits_(limits) {}

  void write(std::string_view text);
  // The last chance to say what is missing.
  void end() { say_what_is_lost(); }

  std::uint64_t written_bytes() const { return written_; }  // without what was lost
  std::uint64_t lost_bytes() const { return lost_; }

 private:
  enum class Rotated { kYes, kNotNow, kFailed };

  std::size_t next_part(std::string_view text);
  Rotated rotate();
  Rotated shift(const struct stat& full);
  bool append(std::string_view text);
  bool say_what_is_lost();
  void lose(std::size_t bytes, int error);

  std::string path_;
  UniqueFd fd_;
  LogLimits limits_;
  bool at_line_start_ = true;
  std::uint64_t written_ = 0, lost_ = 0;
  std::uint64_t lost_here_ = 0;  // and not said yet
  int lost_error_ = 0;
};

// Reads a log that may be rotated meanwhile: what is kept of it, oldest first.
class LogReader {
 public:
  LogReader(std::string path, unsigned keep) : path_(std::move(path)), keep_(keep) {}

  // Prints what has come since the last call on standard output; at first, all. A log that grows
  // faster than it is read: with `as_of_now` only what is there now. Errors: kNotFound (there is no
  // such file), kSystem.
  Result<void> print_news(bool as_of_now);

 private:
  struct File {
    UniqueFd fd;
    struct stat status {};
  };
  std::vector<File> open_all() const;
  bool is_rotated() const;
  Result<void> print_rest(std::uint64_t until);

  std::string path_;
  unsigned keep_;
  File now_;
};

}  // namespace chronos::queue
