// Which assignment a context or a device has. Asks OpenCL once, then remembers.
#pragma once

#include "shim/gate.hpp"
#include "shim/opencl.hpp"
#include "shim/partitions.hpp"

namespace chronos::shim {

// Some nanoseconds when this thread asked for the same context last. Any thread.
const Assignment& assignment_of(const Table& real, cl_context context);

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
