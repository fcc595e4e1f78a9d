#include "cli/queue/job_log.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "cli/queue/place.hpp"
#include "core/text.hpp"

namespace chronos::queue {
namespace {

// The wall clock in the zone of whoever reads the folder.
std::string timestamp() {
  const time_t now = ::time(nullptr);
  struct tm parts {};
  ::localtime_r(&now, &parts);
  char text[32];
  ::strftime(text, sizeof text, "%Y%m%d_%H%M%S", &parts);
  return text;
}

tl::unexpected<Error> cannot(const char* what, const std::string& path, int error) {
  return fail(ErrorCode::kSystem,
              fmt::format("cannot {} {}: {}", what, path_text(path), errno_text(error)));
}

}  // namespace

Result<JobLog> JobLog::make(const std::string& folder, const std::string& name) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return cannot("make the log folder", folder, error.value());
  const std::string stem = fmt::format("{}/{}_{}", folder, name, timestamp());
  for (int number = 1;; ++number) {
    std::string path = number == 1 ? stem + ".log" : fmt::format("{}_{}.log", stem, number);
    UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644));
    if (fd) return JobLog(std::move(path), std::move(fd), true);
    if (errno != EEXIST) return cannot("write the log", path, errno);
  }
}

Result<JobLog> JobLog::append_to(const std::string& path) {
  // A pipe that nobody reads is an error, not something to wait for.
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0644));
  struct stat status {};
  if (!fd || ::fstat(fd.get(), &status) != 0 || ::fcntl(fd.get(), F_SETFL, O_APPEND) != 0) {
    return cannot("write the log", path, errno);
  }
  return JobLog(path, std::move(fd), S_ISREG(status.st_mode));
}

Result<void> JobLog::write_facts(const Json& facts) const {
  if (!is_file_) return {};
  const std::string stem = path_.ends_with(".log") ? path_.substr(0, path_.size() - 4) : path_;
  // Jobs that share a log write these at the same time.
  const std::string path = stem + ".json";
  const std::string unfinished = fmt::format("{}.new.{}", path, ::getpid());
  const std::string text = json_text(facts, 2) + "\n";
  UniqueFd fd(::open(unfinished.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd) return cannot("write the log", unfinished, errno);
  if (!pwrite_all(fd.get(), text.data(), text.size(), 0) ||
      ::rename(unfinished.c_str(), path.c_str()) != 0) {
    const int error = errno;
    ::unlink(unfinished.c_str());
    return cannot("write the log", path, error);
  }
  return {};
}

}  // namespace chronos::queue
