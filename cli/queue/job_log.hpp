// The log of one attempt, `<name>_<date>_<time>.log`, which no two attempts share, and beside it
// `....json` with the facts of the attempt.
#pragma once

#include <string>

#include "cli/queue/job.hpp"
#include "core/posix.hpp"
#include "core/result.hpp"

namespace chronos::queue {

class JobLog {
 public:
  // Makes `folder` too where it is missing. A name that is taken gets a number: `..._2.log`.
  // Errors: kSystem, naming the folder or the file.
  static Result<JobLog> make(const std::string& folder, const std::string& name);
  // This very file, appended to. It may be a device or a pipe that somebody reads, too, which has
  // neither facts nor older ones.
  static Result<JobLog> append_to(const std::string& path);

  const std::string& path() const { return path_; }
  int fd() const { return fd_.get(); }
  bool is_file() const { return is_file_; }

  // Replaces the facts as a whole. Errors: kSystem (a full disk, too).
  Result<void> write_facts(const Json& facts) const;

 private:
  JobLog(std::string path, UniqueFd fd, bool is_file)
      : path_(std::move(path)), fd_(std::move(fd)), is_file_(is_file) {}
  std::string path_;
  UniqueFd fd_;
  bool is_file_;
};

}  // namespace chronos::queue
