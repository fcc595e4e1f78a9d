// The numbers that programs size themselves by: under a partition they are the partition's.
#pragma once

#include <cstddef>

#include "shim/opencl.hpp"

namespace chronos::shim {

// Lowers what the driver answered in `value` (`size` bytes of room) to what the partition of
// `device` allows. Leaves everything else alone.
void virtualise_device_info(const Table& real, cl_device_id device, cl_device_info what,
                            std::size_t size, void* value);

}  // namespace chronos::shim
