#include "core/process.hpp"

#include <dirent.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>

#include "core/clock.hpp"
#include "core/posix.hpp"
#include "core/procfs.hpp"

namespace chronos {
namespace {

struct Stat {
  char state = '?';
  long threads = 0;
  std::uint64_t start_ticks = 0;
};

std::int64_t ticks(std::int64_t nanos) {
  const long per_second = ::sysconf(_SC_CLK_TCK);  // glibc knows it without asking
  return nanos / (1'000'000'000 / (per_second > 0 ? per_second : 100));
}

// proc(5): the command name is in parentheses and may hold anything, so count from the last ')'.
bool parse_stat(const std::string& text, Stat& out) {
  std::size_t close = text.rfind(')');
  if (close == std::string::npos) return false;
  unsigned long long start = 0;
  int fields = std::sscanf(text.c_str() + close + 1,
                           " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
                           "%ld %*d %llu",
                           &out.state, &out.threads, &start);
  if (fields != 3) return false;
  // The kernel adds the reader's time namespace to what it shows.
  out.start_ticks =
      static_cast<std::uint64_t>(static_cast<std::int64_t>(start) - ticks(boot_offset()));
  return true;
}

bool read_stat(const char* path, Stat& out) {
  std::string text;
  return read_small_file(path, text, 4096) && parse_stat(text, out);
}

std::uint32_t own_pid_namespace() {
  struct stat st {};
  if (!proc_is_ours() || ::stat("/proc/self/ns/pid", &st) != 0) return 0;
  return static_cast<std::uint32_t>(st.st_ino);
}

// One tick of slack: two time namespaces round differently.
bool same_start(std::uint64_t a, std::uint64_t b) { return (a > b ? a - b : b - a) <= 1; }

// A leader that called pthread_exit() shows as a zombie while its other threads run on.
bool is_gone(const Stat& stat) {
  return (stat.state == 'Z' && stat.threads <= 1) || stat.state == 'X' || stat.state == 'x';
}

// Calls use(pid) for each process of /proc.
template <class Use>
void for_each_process(Use use) {
  std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir("/proc"), &::closedir);
  if (!folder) return;
  while (const dirent* entry = ::readdir(folder.get())) {
    const char* end = entry->d_name + std::strlen(entry->d_name);
    pid_t pid = 0;
    const auto [at, error] = std::from_chars(entry->d_name, end, pid);
    if (error == std::errc() && at == end && pid > 0) use(pid);
  }
}

// The number of a process in its own pid namespace, the last of those that the kernel lists from
// the reader's inwards; 0: it is gone.
pid_t innermost_pid(pid_t pid) {
  std::string text;
  if (!read_small_file(fmt::format("/proc/{}/status", pid).c_str(), text, 8192)) return 0;
  const std::size_t line = text.find("\nNSpid:");
  if (line == std::string::npos) return 0;
  const std::size_t end = std::min(text.find('\n', line + 1), text.size());
  const std::size_t last = text.find_last_of(" \t", end - 1);
  pid_t inner = 0;
  std::from_chars(text.data() + last + 1, text.data() + end, inner);
  return inner;
}

}  // namespace

bool proc_is_ours() {
  char text[32];
  ssize_t length = ::readlink("/proc/self", text, sizeof text - 1);
  if (length <= 0) return false;
  text[length] = '\0';
  return fmt::format("{}", ::getpid()) == text;
}

ProcessIdentity this_process() {
  ProcessIdentity self;
  self.pid = ::getpid();
  self.pid_namespace = own_pid_namespace();
  Stat stat;
  if (self.pid_namespace != 0 && read_stat("/proc/self/stat", stat)) {
    self.start_ticks = stat.start_ticks;
  } else {
    self.pid_namespace = 0;
  }
  return self;
}

std::optional<ProcessIdentity> identity_of(pid_t pid) {
  Stat stat;
  const std::uint32_t here = own_pid_namespace();
  if (here == 0 || pid <= 0 || !read_stat(fmt::format("/proc/{}/stat", pid).c_str(), stat)) {
    return std::nullopt;
  }
  return ProcessIdentity{pid, here, stat.start_ticks};
}

Liveness liveness_of(const ProcessIdentity& process) {
  if (process.pid <= 0) return Liveness::kDead;
  if (process.pid_namespace == 0 || process.pid_namespace != own_pid_namespace()) {
    return Liveness::kUnknown;
  }
  Stat stat;
  errno = 0;
  if (!read_stat(fmt::format("/proc/{}/stat", process.pid).c_str(), stat)) {
    // A question that could not be asked says nothing against the process.
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) return Liveness::kAlive;
    // Not there, or hidden from us: kill() tells the two apart even under hidepid.
    return ::kill(process.pid, 0) != 0 && errno == ESRCH ? Liveness::kDead : Liveness::kUnknown;
  }
  if (is_gone(stat)) return Liveness::kDead;
  return same_start(stat.start_ticks, process.start_ticks) ? Liveness::kAlive : Liveness::kDead;
}

Liveness liveness_anywhere(const ProcessIdentity& process) {
  const Liveness near = liveness_of(process);
  const bool sees_all =
      own_pid_namespace() == kInitialPidNamespace && ::access("/proc/1/stat", R_OK) == 0;
  if (near != Liveness::kUnknown || process.pid_namespace == 0 || !sees_all) return near;
  // Their namespaces are not for everybody to ask, but their numbers and start times are.
  bool found = false;
  for_each_process([&](pid_t pid) {
    Stat stat;
    found = found || (read_stat(fmt::format("/proc/{}/stat", pid).c_str(), stat) &&
                      !is_gone(stat) && same_start(stat.start_ticks, process.start_ticks) &&
                      innermost_pid(pid) == process.pid);
  });
  return found ? Liveness::kUnknown : Liveness::kDead;
}

InnerProcesses InnerProcesses::look() {
  InnerProcesses inner;
  const std::uint32_t here = own_pid_namespace();
  if (here == 0) return inner;
  for_each_process([&](pid_t pid) {
    struct stat st {};
    if (::stat(fmt::format("/proc/{}/ns/pid", pid).c_str(), &st) != 0) return;
    const auto space = static_cast<std::uint32_t>(st.st_ino);
    Stat stat;
    if (space == here || !read_stat(fmt::format("/proc/{}/stat", pid).c_str(), stat)) return;
    if (const pid_t inside = innermost_pid(pid); inside > 0 && !is_gone(stat)) {
      inner.seen_[{space, inside}] = {pid, stat.start_ticks};
    }
  });
  return inner;
}

std::optional<pid_t> InnerProcesses::pid_here(const ProcessIdentity& process) const {
  const auto at = seen_.find({process.pid_namespace, process.pid});
  const bool same = process.pid_namespace != 0 && at != seen_.end() &&
                    same_start(at->second.start_ticks, process.start_ticks);
  return same ? std::optional(at->second.pid) : std::nullopt;
}

Liveness maps_file(pid_t pid, dev_t device, ino_t inode) {
  UniqueFd fd(::open(fmt::format("/proc/{}/maps", pid).c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return Liveness::kUnknown;
  const std::string wanted = fmt::format(" {:02x}:{:02x} {} ", ::major(device), ::minor(device),
                                         static_cast<unsigned long>(inode));
  std::string window;
  bool any = false;
  char buffer[16384];
  for (;;) {
    ssize_t got = retry_eintr([&] { return ::read(fd.get(), buffer, sizeof buffer); });
    if (got < 0) return Liveness::kUnknown;
    // Empty when the leader has called pthread_exit(), whatever its other threads map.
    if (got == 0) return any ? Liveness::kDead : Liveness::kUnknown;
    any = true;
    window.append(buffer, static_cast<std::size_t>(got));
    if (window.find(wanted) != std::string::npos) return Liveness::kAlive;
    if (window.size() > wanted.size()) window.erase(0, window.size() - wanted.size());
  }
}

bool may_run_as(pid_t pid, uid_t uid) {
  std::string text;
  if (!read_small_file(fmt::format("/proc/{}/status", pid).c_str(), text, 8192)) return true;
  std::size_t line = text.find("\nUid:");
  unsigned real = 0;
  unsigned effective = 0;
  if (line == std::string::npos ||
      std::sscanf(text.c_str() + line, "\nUid: %u %u", &real, &effective) != 2) {
    return true;
  }
  return real == uid || effective == uid;
}

}  // namespace chronos
