// What the shim knows in this process. Made at the first OpenCL call that matters and never
// destroyed: programs call OpenCL from their last static destructors.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <unordered_map>

#include "shim/gate.hpp"
#include "shim/opencl.hpp"
#include "shim/partitions.hpp"

namespace chronos::shim {

struct Process {
  std::mutex mutex;  // over everything below; not taken by a charge or a credit
  Partitions partitions;
  std::unordered_map<cl_device_id, Place> devices;  // root devices
  std::unordered_map<cl_context, const Assignment*> contexts;
};

Process& process();

namespace detail {
extern std::atomic<std::uint64_t> contexts_version;
extern std::atomic<std::uint64_t> current_epoch;
extern std::atomic<std::uint32_t>* fork_marker;  // 1 here, 0 in a child that nobody told us of
void after_unnoticed_fork();
}  // namespace detail

// Changes whenever a context is created: what a thread remembers of an earlier one may be of
// another context at the same address.
inline std::uint64_t contexts_version() {
  return detail::contexts_version.load(std::memory_order_acquire);
}

// How many forks this process is away from the one that first used OpenCL.
inline std::uint64_t epoch() { return detail::current_epoch.load(std::memory_order_relaxed); }

// A child made without fork handlers (_Fork, a raw clone) is found by a page that the kernel wipes.
inline void notice_fork() {
  if (detail::fork_marker->load(std::memory_order_relaxed) == 0) detail::after_unnoticed_fork();
}

}  // namespace chronos::shim
