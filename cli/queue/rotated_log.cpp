#include "cli/queue/rotated_log.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <utility>

#include "cli/output.hpp"
#include "cli/queue/place.hpp"
#include "core/text.hpp"

namespace chronos::queue {
namespace {

constexpr mode_t kMode = 0644;

bool same_file(const struct stat& one, const struct stat& other) {
  return one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

UniqueFd open_to_append(const std::string& path, int flags) {
  return UniqueFd(
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK | flags, kMode));
}

}  // namespace

std::string rotated_name(const std::string& path, unsigned number) {
  return number == 0 ? path : fmt::format("{}.{}", path, number);
}

// --- writing ------------------------------------------------------------------------------------

void RotatedLog::write(std::string_view text) {
  while (!text.empty()) {
    const std::size_t part = next_part(text);
    if (part == 0) return lose(text.size(), errno);
    if (!append(text.substr(0, part))) return lose(text.size() - part, errno);
    text.remove_prefix(part);
  }
}

// How much of `text` goes into the file that is open then; 0 if nothing does, with the reason in
// errno.
std::size_t RotatedLog::next_part(std::string_view text) {
  if (limits_.bytes == 0) return text.size();
  // Others may be as quick as we are to fill a log that we share.
  for (int tries = 0; tries < 10; ++tries) {
    struct stat now {};
    if (::fstat(fd_.get(), &now) != 0) return 0;
    const auto size = static_cast<std::uint64_t>(now.st_size);
    const std::uint64_t room = limits_.bytes > size ? limits_.bytes - size : 0;
    if (text.size() <= room) return text.size();
    const std::size_t line = room == 0 ? text.npos : text.rfind('\n', room - 1);
    if (line != text.npos) return line + 1;
    // A line is torn only if it has begun here, or is larger than a whole log.
    const bool may_tear = size == 0 || !at_line_start_;
    if (room > 0 && may_tear) return static_cast<std::size_t>(room);
    const Rotated rotated = rotate();
    if (rotated == Rotated::kFailed) return 0;
    if (rotated == Rotated::kNotNow) break;
  }
  return text.size();
}

RotatedLog::Rotated RotatedLog::rotate() {
  struct stat ours {
  }, named{};
  auto is_ours = [&] {
    return ::fstat(fd_.get(), &ours) == 0 && ::stat(path_.c_str(), &named) == 0 &&
           same_file(ours, named);
  };
  if (is_ours()) {
    // Who has it for longer than a rotation takes is none of us.
    if (::flock(fd_.get(), LOCK_EX | LOCK_NB) != 0) return Rotated::kNotNow;
    if (is_ours()) {
      const Rotated done = shift(ours);
      const int error = errno;
      ::flock(fd_.get(), LOCK_UN);
      errno = error;
      if (done == Rotated::kFailed) return done;
    }
  }
  UniqueFd next = open_to_append(path_, 0);
  if (!next) return Rotated::kFailed;
  fd_ = std::move(next);
  at_line_start_ = true;
  return Rotated::kYes;
}

// Under its name there is a log at any moment, so that nobody who opens it by that misses it.
RotatedLog::Rotated RotatedLog::shift(const struct stat& full) {
  const std::string fresh = path_ + ".new", older = rotated_name(path_, 1);
  UniqueFd made = open_to_append(fresh, O_TRUNC | O_NOFOLLOW);
  if (!made) return Rotated::kFailed;
  ::fchmod(made.get(), full.st_mode & 0777);
  for (unsigned number = limits_.keep; number > 1; --number) {
    ::rename(rotated_name(path_, number - 1).c_str(), rotated_name(path_, number).c_str());
  }
  if (limits_.keep > 0) {
    ::unlink(older.c_str());
    // Not every file system has links.
    if (::link(path_.c_str(), older.c_str()) != 0) ::rename(path_.c_str(), older.c_str());
  }
  if (::rename(fresh.c_str(), path_.c_str()) == 0) return Rotated::kYes;
  const int error = errno;
  ::unlink(fresh.c_str());
  errno = error;
  return Rotated::kFailed;
}

// False, with the reason in errno, if the disk did not take all; what it did not is counted.
bool RotatedLog::append(std::string_view text) {
  if (lost_here_ > 0 && !say_what_is_lost()) {
    lose(text.size(), lost_error_);
    errno = lost_error_;
    return false;
  }
  while (!text.empty()) {
    const ssize_t done = retry_eintr([&] { return ::write(fd_.get(), text.data(), text.size()); });
    if (done <= 0) {
      const int error = done == 0 ? ENOSPC : errno;
      lose(text.size(), error);
      errno = error;
      return false;
    }
    at_line_start_ = text[static_cast<std::size_t>(done) - 1] == '\n';
    written_ += static_cast<std::uint64_t>(done);
    text.remove_prefix(static_cast<std::size_t>(done));
  }
  return true;
}

void RotatedLog::lose(std::size_t bytes, int error) {
  lost_ += bytes;
  lost_here_ += bytes;
  lost_error_ = error;
}

bool RotatedLog::say_what_is_lost() {
  if (lost_here_ == 0) return true;
  const std::string line =
      fmt::format("{}chronos: {} bytes of output are missing here: {}\n",
                  at_line_start_ ? "" : "\n", lost_here_, errno_text(lost_error_));
  const ssize_t done = retry_eintr([&] { return ::write(fd_.get(), line.data(), line.size()); });
  if (done != static_cast<ssize_t>(line.size())) {
    if (done > 0) at_line_start_ = false;
    if (done < 0) lost_error_ = errno;
    return false;
  }
  lost_here_ = 0;
  at_line_start_ = true;
  return true;
}

// --- reading ------------------------------------------------------------------------------------

// The newest first. A rotation meanwhile moves files on to where we have not looked yet: none is
// missed, and what is seen twice is left out.
std::vector<LogReader::File> LogReader::open_all() const {
  std::vector<File> files;
  for (unsigned number = 0; number <= keep_; ++number) {
    File file;
    file.fd.reset(::open(rotated_name(path_, number).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!file.fd || ::fstat(file.fd.get(), &file.status) != 0) continue;
    const bool twice = std::any_of(files.begin(), files.end(), [&](const File& one) {
      return same_file(one.status, file.status);
    });
    if (!twice) files.push_back(std::move(file));
  }
  return files;
}

bool LogReader::is_rotated() const {
  struct stat named {};
  return ::stat(path_.c_str(), &named) == 0 && !same_file(named, now_.status);
}

Result<void> LogReader::print_rest(std::uint64_t until) {
  char buffer[65536];
  for (std::uint64_t printed = 0; printed < until;) {
    const std::size_t most = std::min<std::uint64_t>(sizeof buffer, until - printed);
    const ssize_t got = retry_eintr([&] { return ::read(now_.fd.get(), buffer, most); });
    if (got < 0) return fail(ErrorCode::kSystem, "cannot read the log: " + errno_text(errno));
    if (got == 0) return {};
    auto written = cli::write_stdout({buffer, static_cast<std::size_t>(got)});
    if (!written) return written;
    printed += static_cast<std::uint64_t>(got);
  }
  return {};
}

Result<void> LogReader::print_news(bool as_of_now) {
  constexpr std::uint64_t kAll = std::numeric_limits<std::uint64_t>::max();
  if (!now_.fd) {
    std::vector<File> files = open_all();
    if (files.empty()) {
      return fail(ErrorCode::kNotFound,
                  fmt::format("cannot read {}: {}", path_text(path_), errno_text(ENOENT)));
    }
    while (!files.empty()) {
      now_ = std::move(files.back());
      files.pop_back();
      auto printed = print_rest(
          as_of_now && files.empty() ? static_cast<std::uint64_t>(now_.status.st_size) : kAll);
      if (!printed) return printed;
    }
    if (as_of_now) return {};
  }
  for (;;) {
    // Looked at first: to a log that has been rotated nothing is added.
    const bool rotated = is_rotated();
    auto printed = print_rest(kAll);
    if (!printed || !rotated) return printed;
    std::vector<File> files = open_all();
    if (files.empty()) return {};
    // The one behind ours; where ours is not kept any more, the oldest that is.
    auto ours = std::find_if(files.begin(), files.end(),
                             [&](const File& one) { return same_file(one.status, now_.status); });
    if (ours == files.begin()) return {};
    now_ = std::move(*(ours - 1));
  }
}

}  // namespace chronos::queue
