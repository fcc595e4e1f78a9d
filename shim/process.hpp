// What the shim knows in this process. Made at the first OpenCL call that matters and never
// destroyed: programs call OpenCL from their last static destructors.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "shim/gate.hpp"
#include "shim/opencl.hpp"
#include "shim/partitions.hpp"

namespace chronos::shim {

struct Process {
  std::mutex mutex;  // over everything below; not taken by a charge or a credit
  Partitions partitions;
  std::unordered_map<cl_device_id, Place> devices;  // root devices
  std::unordered_map<cl_context, const Assignment*> contexts;
  // Assignments that charge nothing and so need no number, and those whose number is another's now.
  std::vector<std::unique_ptr<const Assignment>> uncharged, former;
};

Process& process();

// Makes fork known to the shim, once; when it is loaded, so that no other thread can be in the
// middle of it. process() does it where that was left out.
void install_fork_handlers();

namespace detail {
extern std::atomic<std::uint64_t> contexts_version;
extern std::atomic<std::uint64_t> current_epoch;
// The page's word is 1 here, 0 in a child that nobody told us of.
extern std::atomic<std::atomic<std::uint32_t>*> fork_marker;
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
  const auto* marker = detail::fork_marker.load(std::memory_order_relaxed);
  if (marker->load(std::memory_order_relaxed) == 0) detail::after_unnoticed_fork();
}

}  // namespace chronos::shim
