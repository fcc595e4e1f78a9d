#include "core/state_dir.hpp"

#include <sys/auxv.h>
#include <sys/stat.h>

#include <atomic>
#include <climits>
#include <cstdlib>

namespace chronos {
namespace {

constinit std::atomic<bool> environment_is_ignored{false};

UniqueFd open_directory(const char* path) {
  return UniqueFd(retry_eintr([&] { return ::open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
}

}  // namespace

bool environment_is_untrusted() { return ::getauxval(AT_SECURE) != 0; }

const char* trusted_env(const char* name) {
  return environment_is_untrusted() ? nullptr : std::getenv(name);
}

void StateDir::ignore_environment() { environment_is_ignored.store(true); }

Result<StateDir> StateDir::open() { return open(false); }

Result<StateDir> StateDir::open_or_make() { return open(true); }

Result<StateDir> StateDir::open(bool make) {
  const char* named = environment_is_ignored.load(std::memory_order_relaxed)
                          ? nullptr
                          : trusted_env("CHRONOS_STATE_DIR");
  if (named != nullptr && *named != '\0') {
    UniqueFd fd = open_directory(named);
    if (!fd && errno == ENOENT && make) {
      // Every user may add files, nobody may take away another's: as /tmp.
      if (::mkdir(named, 0700) == 0) {
        if (::chmod(named, 01777) != 0)
          return fail(ErrorCode::kSystem, "chmod: " + errno_text(errno));
      } else if (errno != EEXIST) {  // somebody made it at the same time
        return fail(ErrorCode::kSystem, "cannot use the state directory " + std::string(named) +
                                            ": " + errno_text(errno));
      }
      fd = open_directory(named);
    }
    if (!fd) {
      return fail(errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kSystem,
                  "cannot use the state directory " + std::string(named) + ": " + errno_text(errno),
                  "CHRONOS_STATE_DIR names it; unset it, or name a directory in shared memory");
    }
    // Absolute, because a running program may change its working directory.
    char absolute[PATH_MAX];
    return StateDir(std::move(fd), ::realpath(named, absolute) != nullptr ? absolute : named);
  }
  for (const char* path : {kSystemDir, kFallbackDir}) {
    auto state = open_at(path);
    if (state || state.error().code != ErrorCode::kNotFound) return state;
  }
  return fail(ErrorCode::kNotFound, "there is neither /run/chronos nor /dev/shm",
              "mount a tmpfs on /dev/shm, or run `sudo chronos setup`");
}

Result<StateDir> StateDir::open_at(const char* path) {
  UniqueFd fd = open_directory(path);
  if (fd) return StateDir(std::move(fd), path);
  return fail(errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kSystem,
              std::string("cannot use the state directory ") + path + ": " + errno_text(errno));
}

}  // namespace chronos
