// Which assignment a context or a device has. Asks OpenCL once, then remembers.
#pragma once

#include "shim/gate.hpp"
#include "shim/opencl.hpp"
#include "shim/partitions.hpp"
#include "shim/process.hpp"

namespace chronos::shim {

namespace detail {
struct RememberedContext {
  cl_context context;
  std::uint64_t version;
  const Assignment* assignment;
};
extern constinit thread_local RememberedContext last_context;
const Assignment& look_up_assignment(const Table& real, cl_context context);
}  // namespace detail

// A few instructions when this thread asked for the same context last. Any thread.
inline const Assignment& assignment_of(const Table& real, cl_context context) {
  const detail::RememberedContext& last = detail::last_context;
  if (last.context == context && last.version == contexts_version()) return *last.assignment;
  return detail::look_up_assignment(real, context);
}

// The place of one device (of its root device, if it is a sub-device). Any thread.
Place place_of(const Table& real, cl_device_id device);

// A sub-device's memory is its root device's.
cl_device_id root_of(const Table& real, cl_device_id device);

// What an allocation on one device is charged to. Any thread.
const Assignment& assignment_of(const Table& real, cl_device_id device);

// A context was created at this address: what was known of an earlier one there is forgotten, and
// devices that were unassigned are looked at again.
void forget_context(cl_context context);

}  // namespace chronos::shim
