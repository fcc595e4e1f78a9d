// The registry's lock: flock on the state directory itself. Any user can take it, nobody can
// replace it, and the kernel drops it with its holder.
#pragma once

#include <chrono>
#include <optional>

#include "core/posix.hpp"
#include "core/result.hpp"
#include "core/state_dir.hpp"

namespace chronos {

class RegistryLock {
 public:
  // Waits at most `patience`. Errors: kBusy (names the process that holds it), kSystem.
  static Result<RegistryLock> acquire(const StateDir& state,
                                      std::chrono::milliseconds patience = std::chrono::seconds(5));
  // Does not wait.
  static std::optional<RegistryLock> try_acquire(const StateDir& state);

  RegistryLock(RegistryLock&&) = default;
  RegistryLock& operator=(RegistryLock&&) = default;
  ~RegistryLock();

 private:
  explicit RegistryLock(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace chronos
