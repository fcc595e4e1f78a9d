// Devices that programs do not see: those that the policy keeps from users without a partition on
// them (unassigned = "deny"), and under `chronos acquire` all that were not acquired. Any thread.
#pragma once

#include "shim/opencl.hpp"

namespace chronos::shim {

// Whether any device may be hidden from this process. One atomic load once it is known.
bool hides_devices();

// As clGetDeviceIDs of OpenCL 3.0 section 4.2 on a platform that has the visible devices only. If
// the default device is hidden, the first visible one is the default.
cl_int visible_devices(const Table& real, cl_platform_id platform, cl_device_type type,
                       cl_uint num_entries, cl_device_id* devices, cl_uint* num_devices);

using ContextNotify = void(CL_CALLBACK*)(const char*, const void*, size_t, void*);

// As clCreateContextFromType on such a platform.
cl_context context_of_visible(const Table& real, cl_platform_id platform,
                              const cl_context_properties* properties, cl_device_type type,
                              ContextNotify notify, void* user_data, cl_int* errcode_ret);

}  // namespace chronos::shim
