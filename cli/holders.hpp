// Ends the processes that hold memory in a partition: `chronos release --force`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/registry.hpp"

namespace chronos::cli {

// Tells every process that holds memory in the partition `handle`, which must have ended, to end
// itself (SIGTERM), kills those that are left after `grace_ns` nanoseconds, and waits until they
// are gone. Returns those that are still there: another user's, in another pid namespace, or stuck
// in the kernel for more than five seconds. One thread.
// Errors: kSystem.
Result<std::vector<ProcessUse>> end_holders(Registry& registry, const std::string& handle,
                                            std::uint64_t grace_ns);

}  // namespace chronos::cli
