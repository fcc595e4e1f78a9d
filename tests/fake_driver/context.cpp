#include <algorithm>

#include "tests/fake_driver/call.hpp"
#include "tests/fake_driver/driver.hpp"
#include "tests/fake_driver/entries.hpp"
#include "tests/fake_driver/info.hpp"

namespace chronos::fake {
namespace {

cl_int check_properties(const cl_context_properties* properties) {
  if (properties == nullptr) return CL_SUCCESS;
  for (; *properties != 0; properties += 2) {
    if (properties[0] == CL_CONTEXT_PLATFORM) {
      if (!valid(reinterpret_cast<cl_platform_id>(properties[1]))) return CL_INVALID_PLATFORM;
    } else if (properties[0] != CL_CONTEXT_INTEROP_USER_SYNC) {
      return CL_INVALID_PROPERTY;
    }
  }
  return CL_SUCCESS;
}

cl_context make(const cl_context_properties* properties, std::vector<cl_device_id> devices) {
  auto* const context = new _cl_context;
  context->devices = std::move(devices);
  for (cl_device_id device : context->devices) {
    if (device->parent != nullptr) retain(device);
    auto& charged = context->charged;
    if (std::find(charged.begin(), charged.end(), device->index) == charged.end()) {
      charged.push_back(device->index);
    }
  }
  context->properties = copy_properties(properties);
  return context;
}

}  // namespace

void release(cl_context context) {
  if (!drop(context)) return;
  for (auto last = context->callbacks.rbegin(); last != context->callbacks.rend(); ++last) {
    last->first(context, last->second);
  }
  for (cl_device_id device : context->devices) release(device);
  delete context;
}

cl_context clCreateContext(const cl_context_properties* properties, cl_uint count,
                           const cl_device_id* devices,
                           void(CL_CALLBACK* notify)(const char*, const void*, size_t, void*),
                           void* user_data, cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_context>(errcode_ret, error);
  if (const cl_int error = check_properties(properties)) {
    return refuse<cl_context>(errcode_ret, error);
  }
  if (devices == nullptr || count == 0 || (notify == nullptr && user_data != nullptr)) {
    return refuse<cl_context>(errcode_ret, CL_INVALID_VALUE);
  }
  if (!std::all_of(devices, devices + count, [](cl_device_id device) { return valid(device); })) {
    return refuse<cl_context>(errcode_ret, CL_INVALID_DEVICE);
  }
  return give(make(properties, {devices, devices + count}), errcode_ret, CL_SUCCESS);
}

cl_context clCreateContextFromType(const cl_context_properties* properties, cl_device_type type,
                                   void(CL_CALLBACK* notify)(const char*, const void*, size_t,
                                                             void*),
                                   void* user_data, cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_context>(errcode_ret, error);
  if (const cl_int error = check_properties(properties)) {
    return refuse<cl_context>(errcode_ret, error);
  }
  if (notify == nullptr && user_data != nullptr) {
    return refuse<cl_context>(errcode_ret, CL_INVALID_VALUE);
  }
  cl_device_id devices[kMaxDevices];
  cl_uint count = 0;
  if (const cl_int error =
          fake::clGetDeviceIDs(driver()->platform.get(), type, kMaxDevices, devices, &count)) {
    return refuse<cl_context>(errcode_ret, error);
  }
  return give(make(properties, {devices, devices + count}), errcode_ret, CL_SUCCESS);
}

cl_int clRetainContext(cl_context context) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(context)) return CL_INVALID_CONTEXT;
  retain(context);
  return CL_SUCCESS;
}

cl_int clReleaseContext(cl_context context) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(context)) return CL_INVALID_CONTEXT;
  release(context);
  return CL_SUCCESS;
}

cl_int clGetContextInfo(cl_context context, cl_context_info name, size_t capacity, void* out,
                        size_t* needed) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(context)) return CL_INVALID_CONTEXT;
  const Answer answer(capacity, out, needed);
  switch (name) {
    case CL_CONTEXT_REFERENCE_COUNT:
      return answer.value(context->references.load());
    case CL_CONTEXT_NUM_DEVICES:
      return answer.value(static_cast<cl_uint>(context->devices.size()));
    case CL_CONTEXT_DEVICES:
      return answer.list(context->devices);
    case CL_CONTEXT_PROPERTIES:
      return answer.list(context->properties);
    default:
      return CL_INVALID_VALUE;
  }
}

cl_int clSetContextDestructorCallback(cl_context context,
                                      void(CL_CALLBACK* notify)(cl_context, void*),
                                      void* user_data) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(context)) return CL_INVALID_CONTEXT;
  if (notify == nullptr) return CL_INVALID_VALUE;
  const std::lock_guard<std::mutex> guard(context->mutex);
  context->callbacks.emplace_back(notify, user_data);
  return CL_SUCCESS;
}

}  // namespace chronos::fake
