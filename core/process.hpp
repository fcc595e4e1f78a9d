// Which process is which, and whether it still lives. Thread-safe; reads procfs.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

namespace chronos {

// A process for good: the pid alone is reused.
struct ProcessIdentity {
  pid_t pid = 0;
  std::uint32_t pid_namespace = 0;  // inode of the namespace in which `pid` counts; 0: unknown
  std::uint64_t start_ticks = 0;    // start on the initial namespace's boot clock, in 10 ms ticks

  bool operator==(const ProcessIdentity&) const = default;
};

// The calling process. Not cached: right in a forked child too.
ProcessIdentity this_process();
// The process that `pid` means in the caller's pid namespace; none: it is gone, or not to be seen.
std::optional<ProcessIdentity> identity_of(pid_t pid);

// kUnknown: in another pid namespace, or hidden from us (hidepid).
enum class Liveness { kAlive, kDead, kUnknown };

// A zombie has given its memory and files back: it is dead, unless other threads of it still run.
Liveness liveness_of(const ProcessIdentity& process);

// Whether the process maps the file (dev, inode): kAlive yes, kDead no, kUnknown if its maps are
// not ours to read.
Liveness maps_file(pid_t pid, dev_t device, ino_t inode);

// Whether the process's real or effective user is `uid`; true when that cannot be seen.
bool may_run_as(pid_t pid, uid_t uid);

}  // namespace chronos
