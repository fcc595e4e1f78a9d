// One hook per entry point, for a door. A door is a class with
//     static constexpr DoorKind kKind;
//     static const Table& real(const void* object);
// that answers the real functions for an OpenCL object that came in through it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "shim/hooks/addresses.hpp"
#include "shim/hooks/callbacks.hpp"
#include "shim/hooks/extension_objects.hpp"
#include "shim/hooks/imported_objects.hpp"
#include "shim/hooks/memory_objects.hpp"
#include "shim/hooks/program_objects.hpp"
#include "shim/hooks/queries.hpp"
#include "shim/hooks/visibility.hpp"
#include "shim/trace.hpp"

namespace chronos::shim {

// The hook for a function that a driver handed out by name, or the function itself. A hook of a
// core function works by the driver's `table`: where that lacks the entry there is none.
template <class Door>
void* hook_by_name(const Table* table, const char* name, void* real);

template <class Door>
struct Hooks : MemoryObjectHooks<Door>,
               AddressHooks<Door>,
               ExtensionObjectHooks<Door>,
               ImportedObjectHooks<Door>,
               ProgramHooks<Door>,
               CallbackHooks<Door> {
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
    const void* platform = platform_of(properties);
    const Table& real = Door::real(platform);
    cl_context context =
        Guard::inside() || !hides_devices()
            ? real.clCreateContextFromType(properties, type, notify, user_data, errcode_ret)
            : context_of_visible(real, static_cast<cl_platform_id>(const_cast<void*>(platform)),
                                 properties, type, notify, user_data, errcode_ret);
    if (context != nullptr) forget_context(context);
    return context;
  }

  static cl_int CL_API_CALL clGetDeviceIDs(cl_platform_id platform, cl_device_type type,
                                           cl_uint num_entries, cl_device_id* devices,
                                           cl_uint* num_devices) {
    const Table& real = Door::real(platform);
    if (Guard::inside() || !hides_devices()) {
      return real.clGetDeviceIDs(platform, type, num_entries, devices, num_devices);
    }
    return visible_devices(real, platform, type, num_entries, devices, num_devices);
  }

  static cl_int CL_API_CALL clGetDeviceInfo(cl_device_id device, cl_device_info what, size_t size,
                                            void* value, size_t* size_ret) {
    const Table& real = Door::real(device);
    cl_int status = real.clGetDeviceInfo(device, what, size, value, size_ret);
    if (status == CL_SUCCESS) virtualise_device_info(real, device, what, size, value);
    return status;
  }

  static void* CL_API_CALL clGetExtensionFunctionAddress(const char* name) {
    const Table& real = Door::real(nullptr);
    return hook_by_name<Door>(&real, name, real.clGetExtensionFunctionAddress(name));
  }

  static void* CL_API_CALL clGetExtensionFunctionAddressForPlatform(cl_platform_id platform,
                                                                    const char* name) {
    const Table& real = Door::real(platform);
    return hook_by_name<Door>(&real, name,
                              real.clGetExtensionFunctionAddressForPlatform(platform, name));
  }

 private:
  static const void* platform_of(const cl_context_properties* properties) {
    for (; properties != nullptr && *properties != 0; properties += 2) {
      if (*properties == CL_CONTEXT_PLATFORM) return reinterpret_cast<const void*>(properties[1]);
    }
    return nullptr;
  }
};

// Where an entry point stands in a dispatch table, and since which OpenCL version (times ten). The
// names are in place and the hooks in code: pointers would be relocated in every process that the
// shim rides in.
struct HookedEntry {
  char name[48];
  Call call;
  std::uint16_t index;
  std::uint16_t since;
};
inline constexpr HookedEntry kHookedEntries[] = {
#define CHRONOS_ENTRY(name, since, ...) \
  {#name, Call::name, static_cast<std::uint16_t>(offsetof(Table, name) / sizeof(void*)), since},
#include "shim/entry_points.def"
};

// What is shared with GL and EGL stands in tables of drivers that have none of it as null.
inline bool is_optional(const HookedEntry& entry) {
  return std::strncmp(entry.name, "clCreateFrom", 12) == 0;
}

// Whether `real` has what hooks call beside the function that each stands for, as every library
// does that means its functions to be used. What does not is left alone by every door.
inline bool serves_hooks(const Table& real) {
  const bool objects = real.clGetPlatformInfo != nullptr && real.clGetDeviceIDs != nullptr &&
                       real.clGetDeviceInfo != nullptr && real.clCreateContext != nullptr &&
                       real.clGetContextInfo != nullptr && real.clGetMemObjectInfo != nullptr &&
                       real.clReleaseMemObject != nullptr;
  const bool programs = real.clGetProgramInfo != nullptr && real.clGetProgramBuildInfo != nullptr &&
                        real.clReleaseProgram != nullptr;
  const bool has_programs = real.clCreateProgramWithSource != nullptr ||
                            real.clCreateProgramWithBinary != nullptr ||
                            real.clCreateProgramWithIL != nullptr ||
                            real.clBuildProgram != nullptr || real.clLinkProgram != nullptr;
  return objects && (programs || !has_programs);
}

struct HookedExtension {
  char name[48];
  Call call;
  Extension extension;
};
inline constexpr HookedExtension kHookedExtensions[] = {
#define CHRONOS_EXTENSION(name, ...) {#name, Call::name, Extension::name},
#include "shim/extensions.def"
};

// A door's hook for what is in the lists. Whether there is a trace is decided before any door
// opens: without one, its wrapper is not even there.
template <class Door, Call kCall, auto kHook>
void* plain_or_traced() {
  return trace::on() ? reinterpret_cast<void*>(&trace::Named<Door::kKind, kCall, kHook>::call)
                     : reinterpret_cast<void*>(kHook);
}
template <class Door>
void* hook_of(Call call) {
  switch (call) {
#define CHRONOS_ENTRY(name, ...) \
  case Call::name:               \
    return plain_or_traced<Door, Call::name, &Hooks<Door>::name>();
#include "shim/entry_points.def"
#define CHRONOS_EXTENSION(name, ...) \
  case Call::name:                   \
    return plain_or_traced<Door, Call::name, &Hooks<Door>::name>();
#include "shim/extensions.def"
    case Call::kCount:
      break;
  }
  return nullptr;
}

template <class Door>
void* hook_by_name(const Table* table, const char* name, void* real) {
  if (name == nullptr || real == nullptr) return real;
  for (const HookedExtension& hooked : kHookedExtensions) {
    if (std::strcmp(name, hooked.name) != 0) continue;
    remember_extension(door_id<Door>(), hooked.extension, real);
    return hook_of<Door>(hooked.call);
  }
  // Some drivers hand out core functions by name too.
  for (const HookedEntry& hooked : kHookedEntries) {
    if (std::strcmp(name, hooked.name) != 0) continue;
    const bool has =
        table != nullptr && reinterpret_cast<void* const*>(table)[hooked.index] != nullptr;
    return has ? hook_of<Door>(hooked.call) : real;
  }
  if (trace::on()) trace::asked_for(name);
  return real;
}

}  // namespace chronos::shim
