// The file of one attempt: locked by its supervisor for as long as that lives, so that everybody
// can tell whether it does, and room for its last word where the database cannot take it.
//
// The lock is a POSIX record lock: it belongs to the process, not to descriptors, and so is not
// inherited by the job's program, and the kernel says who has it.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "cli/queue/store.hpp"
#include "core/posix.hpp"
#include "core/result.hpp"

namespace chronos::queue {

class AttemptFile {
 public:
  // Errors: kInUse (another process has it), kFull, kSystem.
  static Result<AttemptFile> take(const std::string& path);

  // Kept on the disk in space that was reserved by take(), for whoever finds the attempt
  // unfinished.
  void leave(const Outcome& outcome) const;
  // The attempt is over, and the database knows.
  void remove() const;

 private:
  AttemptFile(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  std::string path_;
  UniqueFd fd_;
};

// The process that has the file, if any.
std::optional<pid_t> holder_of(const std::string& path);
// What leave() wrote.
std::optional<Outcome> left_behind(const std::string& path);

}  // namespace chronos::queue
