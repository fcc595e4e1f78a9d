#include <chrono>

#include "tests/fake_driver/call.hpp"
#include "tests/fake_driver/driver.hpp"
#include "tests/fake_driver/entries.hpp"
#include "tests/fake_driver/info.hpp"

namespace chronos::fake {

void release(cl_device_id device) {
  if (device->parent == nullptr || !drop(device)) return;
  release(device->parent);
  delete device;
}

cl_int clGetDeviceIDs(cl_platform_id platform, cl_device_type type, cl_uint capacity,
                      cl_device_id* out, cl_uint* count) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(platform)) return CL_INVALID_PLATFORM;
  if ((out == nullptr && count == nullptr) || (out != nullptr && capacity == 0)) {
    return CL_INVALID_VALUE;
  }
  constexpr cl_device_type kKnown = CL_DEVICE_TYPE_DEFAULT | CL_DEVICE_TYPE_CPU |
                                    CL_DEVICE_TYPE_GPU | CL_DEVICE_TYPE_ACCELERATOR |
                                    CL_DEVICE_TYPE_CUSTOM;
  if (type != CL_DEVICE_TYPE_ALL && (type == 0 || (type & ~kKnown) != 0)) {
    return CL_INVALID_DEVICE_TYPE;
  }
  cl_uint found = 0;
  for (const auto& device : driver()->devices) {
    const bool wanted = (device->config->type & type) != 0 ||
                        ((type & CL_DEVICE_TYPE_DEFAULT) != 0 && device->index == 0);
    if (!wanted) continue;
    if (out != nullptr && found < capacity) out[found] = device.get();
    ++found;
  }
  if (count != nullptr) *count = found;
  return found != 0 ? CL_SUCCESS : CL_DEVICE_NOT_FOUND;
}

cl_int clCreateSubDevices(cl_device_id device, const cl_device_partition_property* properties,
                          cl_uint capacity, cl_device_id* out, cl_uint* count) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(device)) return CL_INVALID_DEVICE;
  if (properties == nullptr || properties[0] != CL_DEVICE_PARTITION_EQUALLY || properties[1] <= 0 ||
      properties[2] != 0 || (out == nullptr && count == nullptr)) {
    return CL_INVALID_VALUE;
  }
  if (properties[1] > static_cast<cl_device_partition_property>(device->compute_units)) {
    return CL_DEVICE_PARTITION_FAILED;
  }
  const auto units = static_cast<cl_uint>(properties[1]);
  const cl_uint made = device->compute_units / units;
  if (count != nullptr) *count = made;
  if (out == nullptr) return CL_SUCCESS;
  if (capacity < made) return CL_INVALID_VALUE;
  for (cl_uint i = 0; i < made; ++i) {
    auto* const part = new _cl_device_id;
    part->config = device->config;
    part->index = device->index;
    part->parent = device;
    if (device->parent != nullptr) retain(device);
    part->compute_units = units;
    part->partition = copy_properties(properties);
    out[i] = part;
  }
  return CL_SUCCESS;
}

// Root devices are not counted (OpenCL 3.0, 4.3).
cl_int clRetainDevice(cl_device_id device) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(device)) return CL_INVALID_DEVICE;
  if (device->parent != nullptr) retain(device);
  return CL_SUCCESS;
}

cl_int clReleaseDevice(cl_device_id device) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(device)) return CL_INVALID_DEVICE;
  release(device);
  return CL_SUCCESS;
}

namespace {

cl_ulong host_nanoseconds() {
  return static_cast<cl_ulong>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                   std::chrono::steady_clock::now().time_since_epoch())
                                   .count());
}

}  // namespace

cl_int clGetDeviceAndHostTimer(cl_device_id device, cl_ulong* device_time, cl_ulong* host_time) {
  if (!valid(device)) return CL_INVALID_DEVICE;
  if (device_time == nullptr || host_time == nullptr) return CL_INVALID_VALUE;
  *device_time = *host_time = host_nanoseconds();
  return CL_SUCCESS;
}

cl_int clGetHostTimer(cl_device_id device, cl_ulong* host_time) {
  if (!valid(device)) return CL_INVALID_DEVICE;
  if (host_time == nullptr) return CL_INVALID_VALUE;
  *host_time = host_nanoseconds();
  return CL_SUCCESS;
}

}  // namespace chronos::fake
