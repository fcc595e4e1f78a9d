#include "core/registry_lock.hpp"

#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

#include <algorithm>

#include "core/crash_point.hpp"
#include "core/users.hpp"

namespace chronos {
namespace {

// A description of its own for each holder: flock belongs to the open file description, and two
// threads must exclude each other too.
UniqueFd reopen(const StateDir& state) {
  return UniqueFd(
      retry_eintr([&] { return ::openat(state.fd(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
}

bool try_lock(int fd) {
  return retry_eintr([&] { return ::flock(fd, LOCK_EX | LOCK_NB); }) == 0;
}

// proc(5), /proc/locks: "1: FLOCK  ADVISORY  WRITE 123 00:1a:42 0 EOF".
pid_t holder_of(int fd) {
  struct stat st {};
  std::string text;
  if (::fstat(fd, &st) != 0 || !read_small_file("/proc/locks", text, 1 << 20)) return 0;
  const std::string place =
      fmt::format(" {:02x}:{:02x}:{} ", ::major(st.st_dev), ::minor(st.st_dev), st.st_ino);
  std::size_t start = 0;
  while (start < text.size()) {
    std::size_t end = std::min(text.find('\n', start), text.size());
    std::string line = text.substr(start, end - start);
    start = end + 1;
    int pid = 0;
    if (line.find("FLOCK") != std::string::npos && line.find("->") == std::string::npos &&
        line.find(place) != std::string::npos &&
        std::sscanf(line.c_str(), "%*s FLOCK %*s %*s %d", &pid) == 1 && pid > 0) {
      return pid;
    }
  }
  return 0;
}

Error busy(const StateDir& state, int fd) {
  // The kernel hands that file out by pages: where others lock and unlock meanwhile, a line may be
  // missing from it.
  constexpr int kLooks = 5;
  pid_t pid = 0;
  for (int i = 0; pid == 0 && i < kLooks; ++i) pid = holder_of(fd);
  if (pid == 0) {
    return {ErrorCode::kBusy, fmt::format("the registry in {} stays locked", state.path()),
            "try again; `lslocks` shows who holds it"};
  }
  struct stat st {};
  std::string who = ::stat(fmt::format("/proc/{}", pid).c_str(), &st) == 0
                        ? " of user " + user_name(st.st_uid)
                        : std::string();
  return {ErrorCode::kBusy,
          fmt::format("the registry in {} is locked by process {}{}", state.path(), pid, who),
          fmt::format("try again; if it is stuck, that user or an administrator can `kill -9 {}`",
                      pid)};
}

}  // namespace

Result<RegistryLock> RegistryLock::acquire(const StateDir& state,
                                           std::chrono::milliseconds patience) {
  UniqueFd fd = reopen(state);
  if (!fd)
    return fail(ErrorCode::kSystem, "cannot open " + state.path() + ": " + errno_text(errno));
  const auto until = std::chrono::steady_clock::now() + patience;
  // A blocking flock() cannot be bounded without signals or threads in somebody's process, so ask
  // again and again, less and less often. Holders keep it for well under a millisecond.
  for (long pause_us = 50;; pause_us = std::min(pause_us * 2, 2000L)) {
    if (try_lock(fd.get())) {
      CHRONOS_POINT(registry_locked);
      return RegistryLock(std::move(fd));
    }
    if (errno != EWOULDBLOCK) {
      return fail(ErrorCode::kSystem, "cannot lock " + state.path() + ": " + errno_text(errno));
    }
    CHRONOS_FAULT(no_patience, EWOULDBLOCK, tl::unexpected<Error>(busy(state, fd.get())));
    if (std::chrono::steady_clock::now() >= until) {
      return tl::unexpected<Error>(busy(state, fd.get()));
    }
    timespec pause{0, pause_us * 1000};
    ::nanosleep(&pause, nullptr);
  }
}

std::optional<RegistryLock> RegistryLock::try_acquire(const StateDir& state) {
  UniqueFd fd = reopen(state);
  if (!fd || !try_lock(fd.get())) return std::nullopt;
  CHRONOS_POINT(registry_locked_at_once);
  return RegistryLock(std::move(fd));
}

// Unlocks outright: a child forked meanwhile still has the descriptor.
RegistryLock::~RegistryLock() {
  if (!fd_) return;
  CHRONOS_POINT(registry_unlocking);
  ::flock(fd_.get(), LOCK_UN);
  CHRONOS_POINT(registry_unlocked);
}

}  // namespace chronos
