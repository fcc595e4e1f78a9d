#include "core/probe/through_loader.hpp"

#define CL_TARGET_OPENCL_VERSION 300
#include <CL/cl.h>
#include <dlfcn.h>
#include <limits.h>

#include <array>
#include <cstdlib>
#include <string>

#include "core/text.hpp"

namespace chronos {
namespace {

constexpr cl_uint kMost = 64;

// cl_loader_info, which ocl-icd and the Khronos loader have.
enum LoaderInfo : cl_uint { kLoaderVersion = 2, kLoaderName = 3, kLoaderVendor = 4 };

template <class F>
F symbol(void* library, const char* name) {
  return reinterpret_cast<F>(::dlsym(library, name));
}

std::string path_of(void* address) {
  Dl_info info{};
  char resolved[PATH_MAX];
  if (::dladdr(address, &info) == 0 || info.dli_fname == nullptr) return {};
  return ::realpath(info.dli_fname, resolved) != nullptr ? resolved : info.dli_fname;
}

void tell_loader(void* library, nlohmann::json& answer) {
  using GetAddress = void*(CL_API_CALL*)(const char*);
  auto get_address = symbol<GetAddress>(library, "clGetExtensionFunctionAddress");
  if (get_address == nullptr) return;
  using GetInfo = cl_int(CL_API_CALL*)(cl_uint, size_t, void*, size_t*);
  auto get = reinterpret_cast<GetInfo>(get_address("clGetICDLoaderInfoOCLICD"));
  if (get == nullptr) return;
  auto text = [&](LoaderInfo what) {
    char value[256] = "";
    return get(what, sizeof value - 1, value, nullptr) == CL_SUCCESS ? escaped(value, 100)
                                                                     : std::string();
  };
  answer["name"] = text(kLoaderName);
  answer["version"] = text(kLoaderVersion);
  answer["vendor"] = text(kLoaderVendor);
}

}  // namespace

nlohmann::json use_loader(const char* loader) {
  nlohmann::json answer;
  void* library = ::dlopen(loader, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* why = ::dlerror();
    answer["error"] =
        escaped(std::string("cannot be loaded: ") + (why != nullptr ? why : "?"), 300);
    return answer;
  }
  auto platforms_of = symbol<decltype(&::clGetPlatformIDs)>(library, "clGetPlatformIDs");
  auto devices_of = symbol<decltype(&::clGetDeviceIDs)>(library, "clGetDeviceIDs");
  auto info_of = symbol<decltype(&::clGetDeviceInfo)>(library, "clGetDeviceInfo");
  if (platforms_of == nullptr || devices_of == nullptr || info_of == nullptr) {
    answer["error"] = "is not an OpenCL loader";
    return answer;
  }
  answer["path"] = path_of(reinterpret_cast<void*>(platforms_of));
  std::array<cl_platform_id, kMost> platforms{};
  cl_uint platform_count = 0;
  unsigned devices_seen = 0;
  if (platforms_of(kMost, platforms.data(), &platform_count) != CL_SUCCESS) platform_count = 0;
  for (cl_uint i = 0; i < platform_count && i < kMost; ++i) {
    std::array<cl_device_id, kMost> devices{};
    cl_uint count = 0;
    if (devices_of(platforms[i], CL_DEVICE_TYPE_ALL, kMost, devices.data(), &count) != CL_SUCCESS) {
      continue;
    }
    for (cl_uint j = 0; j < count && j < kMost; ++j) {
      cl_ulong bytes = 0;
      info_of(devices[j], CL_DEVICE_GLOBAL_MEM_SIZE, sizeof bytes, &bytes, nullptr);
      ++devices_seen;
    }
  }
  tell_loader(library, answer);
  answer["platforms"] = platform_count;
  answer["devices"] = devices_seen;
  return answer;
}

}  // namespace chronos
