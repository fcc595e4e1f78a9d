#include "cli/queue/runner_log.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli/output.hpp"

namespace chronos::queue {
namespace {

constexpr int kOlder = 5;

std::string now_text() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  struct tm parts {};
  ::localtime_r(&now.tv_sec, &parts);
  char text[32];
  ::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
  return fmt::format("{}.{:03}", text, now.tv_nsec / 1'000'000);
}

}  // namespace

RunnerLog::RunnerLog(std::string path, bool on_stderr, std::uint64_t limit)
    : path_(std::move(path)), on_stderr_(on_stderr), limit_(limit) {}

void RunnerLog::rotate() {
  fd_.reset();
  for (int number = kOlder; number > 1; --number) {
    ::rename(fmt::format("{}.{}", path_, number - 1).c_str(),
             fmt::format("{}.{}", path_, number).c_str());
  }
  ::rename(path_.c_str(), (path_ + ".1").c_str());
}

void RunnerLog::write(std::string_view line) {
  const std::string shown = cli::printable(line);
  if (on_stderr_) cli::print_error_line("chronosd: " + shown);
  const std::string text = fmt::format("{} {}\n", now_text(), shown);
  if (fd_ && size_ + text.size() > limit_) rotate();
  if (!fd_) {
    fd_.reset(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    struct stat status {};
    size_ =
        fd_ && ::fstat(fd_.get(), &status) == 0 ? static_cast<std::uint64_t>(status.st_size) : 0;
  }
  if (fd_ && ::write(fd_.get(), text.data(), text.size()) > 0) size_ += text.size();
}

}  // namespace chronos::queue
