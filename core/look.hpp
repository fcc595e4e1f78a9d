// One look at the drivers of this machine: each is asked in a process of its own, all at once.
// Blocks for at most `timeout` and a moment; may be called from any thread.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "core/drivers.hpp"
#include "core/inventory.hpp"
#include "core/result.hpp"

namespace chronos {

struct LookOptions {
  std::chrono::milliseconds timeout{10'000};  // for a driver to answer
  std::string probe;                          // chronos-probe; empty: where it is installed
};

// Errors: kNoDevice (no OpenCL; no device: names each driver and what it did), kSystem (the helper
// chronos-probe is missing or cannot be run).
Result<Inventory> look_at_drivers(const Drivers& drivers, const LookOptions& options);

// load_inventory() with other bounds.
Result<Inventory> load_inventory(const StateDir& state, Look look, const LookOptions& options);

// The environment of a probe: that of this process without what would bring the shim in or hide
// devices. Exposed for its test.
std::vector<std::string> probe_environment(char* const* environment);

}  // namespace chronos
