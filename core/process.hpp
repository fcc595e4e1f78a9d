// Which process is which, and whether it still lives. Thread-safe; reads procfs.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <utility>

namespace chronos {

// A process for good: the pid alone is reused.
struct ProcessIdentity {
  pid_t pid = 0;
  std::uint32_t pid_namespace = 0;  // inode of the namespace in which `pid` counts; 0: unknown
  std::uint64_t start_ticks = 0;    // start on the initial namespace's boot clock, in 10 ms ticks

  bool operator==(const ProcessIdentity&) const = default;
};

// include/uapi/linux/nsfs.h: the number that the kernel gives the initial pid namespace.
inline constexpr std::uint32_t kInitialPidNamespace = 0xEFFFFFFC;

// The calling process. Not cached: right in a forked child too.
ProcessIdentity this_process();
// The process that `pid` means in the caller's pid namespace; none: it is gone, or not to be seen.
std::optional<ProcessIdentity> identity_of(pid_t pid);

// kUnknown: in another pid namespace, or hidden from us (hidepid).
enum class Liveness { kAlive, kDead, kUnknown };

// A zombie has given its memory and files back: it is dead, unless other threads of it still run.
Liveness liveness_of(const ProcessIdentity& process);

// The same where that is kUnknown, for who sees all processes of the machine (in the initial pid
// namespace, and /proc hides none): then what is in no /proc/PID is dead. Reads all of /proc.
Liveness liveness_anywhere(const ProcessIdentity& process);

// Processes of pid namespaces below the caller's, by the numbers that they have in the caller's.
class InnerProcesses {
 public:
  // Looks at all of /proc once; knows only those whose namespace the caller may ask for.
  static InnerProcesses look();
  // None: it is gone, or not to be seen from here.
  std::optional<pid_t> pid_here(const ProcessIdentity& process) const;

 private:
  struct Seen {
    pid_t pid = 0;
    std::uint64_t start_ticks = 0;
  };
  std::map<std::pair<std::uint32_t, pid_t>, Seen> seen_;  // by namespace and number there
};

// Whether the process maps the file (dev, inode): kAlive yes, kDead no, kUnknown if its maps are
// not ours to read.
Liveness maps_file(pid_t pid, dev_t device, ino_t inode);

// Whether the process's real or effective user is `uid`; true when that cannot be seen.
bool may_run_as(pid_t pid, uid_t uid);

}  // namespace chronos
