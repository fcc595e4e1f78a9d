// Carries what a job prints from a pipe into its log, which may be rotated under way: of a file
// that the program itself writes to nothing can be taken away.
//
// A thread of its own, so that neither a slow disk delays the end of a job whose time is up nor the
// supervisor's other work the job. It belongs to the supervisor, which lives as long as the job
// does, and the job no longer than it. A job that prints never meets a full disk or a broken pipe.
#pragma once

#include <memory>

#include "cli/queue/rotated_log.hpp"
#include "core/posix.hpp"
#include "core/result.hpp"

namespace chronos::queue {

class LogPump {
 public:
  // Errors: kSystem (no pipe, no thread).
  static Result<LogPump> start(RotatedLog log);
  LogPump(LogPump&&) noexcept;
  LogPump& operator=(LogPump&&) = delete;
  // As finish().
  ~LogPump();

  // To be written to; blocks while the disk is slower than the writer. Close-on-exec.
  int fd() const;
  // Everything that was written until now is in the log then; whoever still writes gets SIGPIPE.
  const RotatedLog& finish();

 private:
  struct Work;
  explicit LogPump(std::unique_ptr<Work> work);
  std::unique_ptr<Work> work_;
};

}  // namespace chronos::queue
