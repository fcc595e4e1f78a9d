// One hook per entry point, for a door. A door is a class with
//     static const Table& real(const void* object);
// that answers the real functions for an OpenCL object that came in through it.
#pragma once

#include "shim/hooks/charged.hpp"
#include "shim/hooks/queries.hpp"

namespace chronos::shim {

template <class Door>
struct Hooks {
  static cl_context CL_API_CALL clCreateContext(const cl_context_properties* properties,
                                                cl_uint num_devices, const cl_device_id* devices,
                                                void(CL_CALLBACK* notify)(const char*, const void*,
                                                                          size_t, void*),
                                                void* user_data, cl_int* errcode_ret) {
    const void* object = devices != nullptr && num_devices > 0 ? devices[0] : nullptr;
    cl_context context = Door::real(object).clCreateContext(properties, num_devices, devices,
                                                            notify, user_data, errcode_ret);
    if (context != nullptr) forget_context(context);
    return context;
  }

  static cl_context CL_API_CALL
  clCreateContextFromType(const cl_context_properties* properties, cl_device_type type,
                          void(CL_CALLBACK* notify)(const char*, const void*, size_t, void*),
                          void* user_data, cl_int* errcode_ret) {
    cl_context context =
        Door::real(platform_of(properties))
            .clCreateContextFromType(properties, type, notify, user_data, errcode_ret);
    if (context != nullptr) forget_context(context);
    return context;
  }

  static cl_int CL_API_CALL clGetDeviceInfo(cl_device_id device, cl_device_info what, size_t size,
                                            void* value, size_t* size_ret) {
    const Table& real = Door::real(device);
    cl_int status = real.clGetDeviceInfo(device, what, size, value, size_ret);
    if (status == CL_SUCCESS) virtualise_device_info(real, device, what, size, value);
    return status;
  }

  static cl_mem CL_API_CALL clCreateBuffer(cl_context context, cl_mem_flags flags, size_t size,
                                           void* host_ptr, cl_int* errcode_ret) {
    const Table& real = Door::real(context);
    return create_charged(real, context, size, errcode_ret, [&](cl_int* error) {
      return real.clCreateBuffer(context, flags, size, host_ptr, error);
    });
  }

  static cl_mem CL_API_CALL clCreateBufferWithProperties(cl_context context,
                                                         const cl_mem_properties* properties,
                                                         cl_mem_flags flags, size_t size,
                                                         void* host_ptr, cl_int* errcode_ret) {
    const Table& real = Door::real(context);
    return create_charged(real, context, size, errcode_ret, [&](cl_int* error) {
      return real.clCreateBufferWithProperties(context, properties, flags, size, host_ptr, error);
    });
  }

  static cl_mem CL_API_CALL clCreateSubBuffer(cl_mem buffer, cl_mem_flags flags,
                                              cl_buffer_create_type type, const void* info,
                                              cl_int* errcode_ret) {
    const Table& real = Door::real(buffer);
    if (!counting() || Guard::inside()) {
      return real.clCreateSubBuffer(buffer, flags, type, info, errcode_ret);
    }
    Guard guard;
    cl_mem part = real.clCreateSubBuffer(buffer, flags, type, info, errcode_ret);
    if (part != nullptr) follow_child(part, buffer);
    return part;
  }

  static cl_int CL_API_CALL clRetainMemObject(cl_mem object) {
    const Table& real = Door::real(object);
    if (!counting() || Guard::inside()) return real.clRetainMemObject(object);
    Guard guard;
    const cl_int status = real.clRetainMemObject(object);
    if (status == CL_SUCCESS) note_retain(object);
    return status;
  }

  static cl_int CL_API_CALL clReleaseMemObject(cl_mem object) {
    if (!counting() || Guard::inside()) return Door::real(object).clReleaseMemObject(object);
    Guard guard;
    const Table& real = Door::real(object);
    const Receipt receipt = note_release(object);
    const cl_int status = real.clReleaseMemObject(object);
    give_back(receipt);
    return status;
  }

  static cl_int CL_API_CALL clSetMemObjectDestructorCallback(
      cl_mem object, void(CL_CALLBACK* notify)(cl_mem, void*), void* user_data) {
    const Table& real = Door::real(object);
    if (Guard::inside()) return real.clSetMemObjectDestructorCallback(object, notify, user_data);
    return set_program_callback(real, object, notify, user_data);
  }

 private:
  static const void* platform_of(const cl_context_properties* properties) {
    for (; properties != nullptr && *properties != 0; properties += 2) {
      if (*properties == CL_CONTEXT_PLATFORM) return reinterpret_cast<const void*>(properties[1]);
    }
    return nullptr;
  }
};

// Where an entry point stands in a dispatch table, since which OpenCL version (times ten), and the
// hook of a door for it.
struct HookedEntry {
  unsigned index;
  unsigned since;
  void* hook;
};

template <class Door>
inline const HookedEntry kHookedEntries[] = {
#define CHRONOS_ENTRY(name, since)                                      \
  {static_cast<unsigned>(offsetof(Table, name) / sizeof(void*)), since, \
   reinterpret_cast<void*>(&Hooks<Door>::name)},
#include "shim/entry_points.def"
};

}  // namespace chronos::shim
