// The directory that holds grants, ledgers and remembered devices. See docs/formats.md.
#pragma once

#include <string>

#include "core/posix.hpp"
#include "core/result.hpp"

namespace chronos {

// An open state directory. Copyable only by opening again. Thread-safe for reading.
class StateDir {
 public:
  // CHRONOS_STATE_DIR (ignored under AT_SECURE), else /run/chronos if it exists, else /dev/shm.
  // Errors: kNotFound (there is no such directory, and so no partition), kSystem.
  static Result<StateDir> open();
  // The same, but makes a missing directory that CHRONOS_STATE_DIR names (one level, mode 1777).
  static Result<StateDir> open_or_make();

  // The directory `path` and no other. Errors: kNotFound (it is not there), kSystem.
  static Result<StateDir> open_at(const char* path);

  // From now on CHRONOS_STATE_DIR is ignored in this process.
  static void ignore_environment();

  // Root's own, made by `chronos setup`, and what is used where that is missing.
  static constexpr char kSystemDir[] = "/run/chronos";
  static constexpr char kFallbackDir[] = "/dev/shm";

  int fd() const { return fd_.get(); }
  const std::string& path() const { return path_; }

 private:
  static Result<StateDir> open(bool make);
  StateDir(UniqueFd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
  UniqueFd fd_;
  std::string path_;
};

// True when the kernel says that this process gained privileges at exec (set-uid, capabilities):
// nothing in its environment is to be trusted.
bool environment_is_untrusted();
// getenv() that answers nullptr when the environment is untrusted.
const char* trusted_env(const char* name);

}  // namespace chronos
