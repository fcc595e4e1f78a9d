// What is needed to start a program under the shim: the partitions that it runs in and where the
// shim is. `chronos run` and the C interface stand on it. Thread-safe as far as the Registry is.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/registry.hpp"
#include "core/result.hpp"

namespace chronos {

// The partitions that a program runs in.
struct Scope {
  std::vector<PartitionInfo> partitions;  // at least one
  bool implicit = false;                  // nobody named them: the shim looks its user's own up

  // What CHRONOS_PARTITION holds for the program: handles, separated by commas.
  std::string handles() const;
};

// Whether the caller's programs may run in it. Errors: kPermission, kExpired.
Result<void> check_usable(const PartitionInfo& partition);

// Ids, names or handles, separated by commas. Errors: kInvalid (names none), kNotFound, and those
// of check_usable() and Registry::find().
Result<Scope> named_partitions(Registry& registry, std::string_view list);

// The caller's own active partitions; of several on one device the oldest, as the shim chooses.
// Errors: kNotFound (there is none), kSystem.
Result<Scope> own_partitions(Registry& registry);

// The shim's absolute path, fit for LD_PRELOAD and OPENCL_LAYERS. Errors: kSystem.
Result<std::string> usable_shim_path();

}  // namespace chronos
