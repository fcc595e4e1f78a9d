#include "core/process.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

#include "core/clock.hpp"
#include "core/posix.hpp"

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

// procfs may be missing, or mounted for another pid namespace (unshare --pid without a new /proc):
// then its numbers are not ours.
bool proc_is_ours() {
  char text[32];
  ssize_t length = ::readlink("/proc/self", text, sizeof text - 1);
  if (length <= 0) return false;
  text[length] = '\0';
  return fmt::format("{}", ::getpid()) == text;
}

std::uint32_t own_pid_namespace() {
  struct stat st {};
  if (!proc_is_ours() || ::stat("/proc/self/ns/pid", &st) != 0) return 0;
  return static_cast<std::uint32_t>(st.st_ino);
}

}  // namespace

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
  // A leader that called pthread_exit() shows as a zombie while its other threads run on.
  if ((stat.state == 'Z' && stat.threads <= 1) || stat.state == 'X' || stat.state == 'x') {
    return Liveness::kDead;
  }
  // One tick of slack: two time namespaces round differently.
  std::uint64_t a = stat.start_ticks;
  std::uint64_t b = process.start_ticks;
  return (a > b ? a - b : b - a) <= 1 ? Liveness::kAlive : Liveness::kDead;
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
