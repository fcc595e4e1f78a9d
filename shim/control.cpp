#include "shim/control.hpp"

#include <dlfcn.h>
#include <link.h>

#include <mutex>
#include <string>
#include <vector>

#include "shim/copies.hpp"
#include "shim/doors/dlsym.hpp"
#include "shim/message.hpp"
#include "shim/process.hpp"
#include "shim/trace.hpp"

namespace chronos::shim {
namespace {

constexpr int kNoMemory = -1;
constexpr int kTooOld = -2;

void use(const char* partitions) {
  Process& self = process();
  std::lock_guard lock(self.mutex);
  self.partitions.use(partitions);
  self.devices.clear();
  self.contexts.clear();
  detail::contexts_version.fetch_add(1);
  say_anew();
}

// Loaders open a driver with their first call, and nobody else has a reason to.
bool is_driver(const char* path) {
  void* handle = ::dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
  if (handle == nullptr) return false;
  Dl_info info{};
  auto defines = [&](const char* name) {
    void* found = real_dlsym()(handle, name);
    return found != nullptr && ::dladdr(found, &info) != 0 && info.dli_fname != nullptr &&
           std::string(info.dli_fname) == path;
  };
  // A loader has the second too, but beside all of OpenCL.
  const bool answer = defines("clIcdGetPlatformIDsKHR") ||
                      (defines("clGetExtensionFunctionAddress") && !defines("clCreateContext"));
  ::dlclose(handle);
  return answer;
}

bool a_driver_is_loaded() {
  std::vector<std::string> paths;
  ::dl_iterate_phdr(
      [](dl_phdr_info* object, std::size_t, void* out) {
        const auto* base = reinterpret_cast<const void*>(object->dlpi_addr);
        if (object->dlpi_name != nullptr && *object->dlpi_name != '\0' && !is_copy(base)) {
          static_cast<std::vector<std::string>*>(out)->emplace_back(object->dlpi_name);
        }
        return 0;
      },
      &paths);
  for (const std::string& path : paths) {
    if (is_driver(path.c_str())) return true;
  }
  return false;
}

template <class Body>
int guarded(Body&& body) {
  try {
    return body();
  } catch (...) {
    return kNoMemory;
  }
}

}  // namespace
}  // namespace chronos::shim

using namespace chronos::shim;

int chronos_shim_use(const char* partitions) {
  return guarded([&] {
    if (!is_active_copy()) {
      auto forward =
          reinterpret_cast<decltype(&chronos_shim_use)>(active_copy_symbol("chronos_shim_use"));
      return forward != nullptr ? forward(partitions) : kTooOld;
    }
    use(partitions);
    return 0;
  });
}

int chronos_shim_reach(void) {
  return guarded([&]() -> int {
    if (!is_active_copy()) {
      auto forward =
          reinterpret_cast<decltype(&chronos_shim_reach)>(active_copy_symbol("chronos_shim_reach"));
      return forward != nullptr ? forward() : kTooOld;
    }
    if (trace::any_door_opened()) return kChronosShimReached;
    return a_driver_is_loaded() ? kChronosShimPassedBy : kChronosShimNotStarted;
  });
}
