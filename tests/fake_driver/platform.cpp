// The library's exported entries, and the platform's own.
#include <CL/cl.h>
#include <CL/cl_ext.h>

#include <algorithm>
#include <cstring>

#include "tests/fake_driver/call.hpp"
#include "tests/fake_driver/driver.hpp"
#include "tests/fake_driver/entries.hpp"
#include "tests/fake_driver/info.hpp"

namespace chronos::fake {
namespace {

cl_int list_platform(cl_uint capacity, cl_platform_id* out, cl_uint* count) {
  if ((out == nullptr && count == nullptr) || (out != nullptr && capacity == 0)) {
    return CL_INVALID_VALUE;
  }
  Driver* const self = driver();
  if (count != nullptr) *count = self != nullptr ? 1 : 0;
  if (self == nullptr) return CL_PLATFORM_NOT_FOUND_KHR;
  if (out != nullptr) out[0] = self->platform.get();
  return CL_SUCCESS;
}

cl_int CL_API_CALL clIcdGetPlatformIDsKHR(cl_uint capacity, cl_platform_id* out, cl_uint* count) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  return list_platform(capacity, out, count);
}

// cl_khr_icd 2.0
void* CL_API_CALL clIcdGetFunctionAddressForPlatformKHR(cl_platform_id platform, const char* name) {
  if (!valid(platform) || name == nullptr) return nullptr;
#define CHRONOS_FAKE_HAND_OUT(entry) \
  if (std::strcmp(name, #entry) == 0) return reinterpret_cast<void*>(&fake::entry);
  CHRONOS_FAKE_ENTRIES(CHRONOS_FAKE_HAND_OUT)
#undef CHRONOS_FAKE_HAND_OUT
  return nullptr;
}

cl_int CL_API_CALL clIcdSetPlatformDispatchDataKHR(cl_platform_id platform, void* data) {
  if (!valid(platform)) return CL_INVALID_PLATFORM;
  platform->dispatch_data = data;
  driver()->dispatch_data = data;
  for (const auto& device : driver()->devices) device->dispatch_data = data;
  return CL_SUCCESS;
}

}  // namespace

cl_int clGetPlatformIDs(cl_uint capacity, cl_platform_id* out, cl_uint* count) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  return list_platform(capacity, out, count);
}

cl_int clGetPlatformInfo(cl_platform_id platform, cl_platform_info name, size_t capacity, void* out,
                         size_t* needed) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(platform)) return CL_INVALID_PLATFORM;
  const Answer answer(capacity, out, needed);
  const Config& config = driver()->config;
  switch (name) {
    case CL_PLATFORM_PROFILE:
      return answer.text("FULL_PROFILE");
    case CL_PLATFORM_VERSION:
      return answer.text(config.platform_version);
    case CL_PLATFORM_NUMERIC_VERSION:
      return answer.value<cl_version>(CL_MAKE_VERSION(3, 0, 0));
    case CL_PLATFORM_NAME:
      return answer.text(config.platform_name);
    case CL_PLATFORM_VENDOR:
      return answer.text(config.platform_vendor);
    case CL_PLATFORM_EXTENSIONS:
      return answer.text("cl_khr_icd");
    case CL_PLATFORM_EXTENSIONS_WITH_VERSION: {
      cl_name_version icd{CL_MAKE_VERSION(1, 0, 0), "cl_khr_icd"};
      return answer.value(icd);
    }
    case CL_PLATFORM_HOST_TIMER_RESOLUTION:
      return answer.value<cl_ulong>(1);
    case CL_PLATFORM_ICD_SUFFIX_KHR:
      return answer.text("FAKE");
    default:
      return CL_INVALID_VALUE;
  }
}

void* clGetExtensionFunctionAddress(const char* name) {
  if (name == nullptr) return nullptr;
  if (std::strcmp(name, "clIcdGetPlatformIDsKHR") == 0) {
    return reinterpret_cast<void*>(&clIcdGetPlatformIDsKHR);
  }
  const Config* config = driver_config();
  if (config != nullptr && config->table_managed) {
    if (std::strcmp(name, "clIcdGetFunctionAddressForPlatformKHR") == 0) {
      return reinterpret_cast<void*>(&clIcdGetFunctionAddressForPlatformKHR);
    }
    if (std::strcmp(name, "clIcdSetPlatformDispatchDataKHR") == 0) {
      return reinterpret_cast<void*>(&clIcdSetPlatformDispatchDataKHR);
    }
  }
  if (std::strcmp(name, "clGetPlatformInfo") == 0) {
    return reinterpret_cast<void*>(&fake::clGetPlatformInfo);
  }
#define CHRONOS_FAKE_HAND_OUT(entry) \
  if (std::strcmp(name, #entry) == 0) return reinterpret_cast<void*>(&fake::entry);
  CHRONOS_FAKE_EXTENSIONS(CHRONOS_FAKE_HAND_OUT)
#undef CHRONOS_FAKE_HAND_OUT
  return nullptr;
}

void* clGetExtensionFunctionAddressForPlatform(cl_platform_id platform, const char* name) {
  return valid(platform) ? fake::clGetExtensionFunctionAddress(name) : nullptr;
}

cl_int clUnloadCompiler() { return CL_SUCCESS; }

cl_int clUnloadPlatformCompiler(cl_platform_id platform) {
  return valid(platform) ? CL_SUCCESS : CL_INVALID_PLATFORM;
}

}  // namespace chronos::fake

#ifndef CHRONOS_FAKE_DIRECT  // direct.cpp exports more than these
#define CHRONOS_FAKE_EXPORT extern "C" __attribute__((visibility("default")))

CHRONOS_FAKE_EXPORT void* CL_API_CALL clGetExtensionFunctionAddress(const char* name) {
  return chronos::fake::clGetExtensionFunctionAddress(name);
}

CHRONOS_FAKE_EXPORT cl_int CL_API_CALL clIcdGetPlatformIDsKHR(cl_uint capacity, cl_platform_id* out,
                                                              cl_uint* count) {
  return chronos::fake::clIcdGetPlatformIDsKHR(capacity, out, count);
}

CHRONOS_FAKE_EXPORT cl_int CL_API_CALL clGetPlatformInfo(cl_platform_id platform,
                                                         cl_platform_info name, size_t capacity,
                                                         void* out, size_t* needed) {
  return chronos::fake::clGetPlatformInfo(platform, name, capacity, out, needed);
}
#endif
