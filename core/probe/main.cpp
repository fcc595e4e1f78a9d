// chronos-probe LIBRARY: asks one OpenCL driver for its platforms and devices.
//
// A process of its own, so that a driver that crashes, hangs or ends the process takes nothing else
// with it. A small ICD loader: it loads the driver itself, so that no loader, layer or other driver
// is in the way. Writes one JSON object a line to what was its standard output (see
// core/inventory_format.hpp), the step first, so that the parent knows where a driver failed.
#include <dlfcn.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/facts/nvml.hpp"
#include "core/inventory_format.hpp"
#include "core/opencl_facts.hpp"
#include "core/posix.hpp"
#include "core/probe/through_loader.hpp"

namespace chronos {
namespace {

constexpr cl_uint kMaxPlatforms = 64;
constexpr cl_int kPlatformNotFoundKhr = -1001;

using GetPlatformIds = cl_int(CL_API_CALL*)(cl_uint, cl_platform_id*, cl_uint*);
using GetPlatformInfo = cl_int(CL_API_CALL*)(cl_platform_id, cl_platform_info, std::size_t, void*,
                                             std::size_t*);
using GetDeviceIds = cl_int(CL_API_CALL*)(cl_platform_id, cl_device_type, cl_uint, cl_device_id*,
                                          cl_uint*);
using GetDeviceInfo = cl_int(CL_API_CALL*)(cl_device_id, cl_device_info, std::size_t, void*,
                                           std::size_t*);
using GetExtensionAddress = void*(CL_API_CALL*)(const char*);
using GetAddressForPlatform = void*(CL_API_CALL*)(cl_platform_id, const char*);

struct PlatformFunctions {
  GetPlatformInfo get_platform_info = nullptr;
  GetDeviceIds get_device_ids = nullptr;
  GetDeviceInfo get_device_info = nullptr;
};

class Answer {
 public:
  explicit Answer(int fd) : fd_(fd) {}

  void write(const nlohmann::json& line) const {
    std::string text = line.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace) + "\n";
    for (std::size_t at = 0; at < text.size();) {
      ssize_t put = retry_eintr([&] { return ::write(fd_, text.data() + at, text.size() - at); });
      if (put <= 0) ::_exit(3);  // nobody listens any more
      at += static_cast<std::size_t>(put);
    }
  }

  void step(const std::string& what, const std::string& platform = {}) const {
    write({{probe_line::kStep, what}, {probe_line::kPlatform, platform}});
  }

  [[noreturn]] void fail(const std::string& why) const {
    write({{probe_line::kError, escaped(why, kMaxProblem)}});
    ::_exit(0);
  }

 private:
  int fd_;
};

// The dynamic linker's own. Where enforcement is on, the shim is in this process too, and its dlsym
// comes first; but the devices are asked for as they are, not as a partition shows them.
void* plain_dlsym(void* handle, const char* name) {
  using Dlsym = void* (*)(void*, const char*);
  static const Dlsym plain = [] {
    for (const char* version : {"GLIBC_2.34", "GLIBC_2.2.5", "GLIBC_2.17"}) {
      if (void* found = ::dlvsym(RTLD_DEFAULT, "dlsym", version)) {
        return reinterpret_cast<Dlsym>(found);
      }
    }
    return static_cast<Dlsym>(&::dlsym);
  }();
  return plain(handle, name);
}

// A driver that answers with the address of a function which it exports gives away the shim's, if
// that exports the same name: then the driver's own is asked for by its handle.
bool is_of_shim(const void* function) {
  constexpr std::string_view kShim = "/libchronos_shim.so";
  Dl_info info{};
  return function != nullptr && ::dladdr(function, &info) != 0 && info.dli_fname != nullptr &&
         std::string_view(info.dli_fname).ends_with(kShim);
}

class DriverLibrary {
 public:
  explicit DriverLibrary(void* handle) : handle_(handle) {
    extension_ = symbol<GetExtensionAddress>("clGetExtensionFunctionAddress");
    for_platform_ = extension<GetAddressForPlatform>("clIcdGetFunctionAddressForPlatformKHR");
  }

  // The driver's own list, or that of a library without the ICD interface.
  GetPlatformIds get_platform_ids() {
    auto list = extension<GetPlatformIds>("clIcdGetPlatformIDsKHR");
    if (list == nullptr) list = symbol<GetPlatformIds>("clIcdGetPlatformIDsKHR");
    has_icd_ = list != nullptr;
    return has_icd_ ? list : symbol<GetPlatformIds>("clGetPlatformIDs");
  }

  PlatformFunctions functions_of(cl_platform_id platform) const {
    PlatformFunctions functions;
    // The places 1 to 3 of the dispatch table: every version of the table has them.
    find(functions.get_platform_info, platform, "clGetPlatformInfo", 1);
    find(functions.get_device_ids, platform, "clGetDeviceIDs", 2);
    find(functions.get_device_info, platform, "clGetDeviceInfo", 3);
    return functions;
  }

 private:
  template <class F>
  F symbol(const char* name) const {
    return reinterpret_cast<F>(plain_dlsym(handle_, name));
  }

  template <class F>
  F extension(const char* name) const {
    void* found = extension_ == nullptr ? nullptr : extension_(name);
    return is_of_shim(found) ? nullptr : reinterpret_cast<F>(found);
  }

  // cl_khr_icd 2.0 first (its table may be empty), then the table that is the first word of every
  // object of a driver, then what the library exports.
  template <class F>
  void find(F& function, cl_platform_id platform, const char* name, std::size_t place) const {
    void* found = for_platform_ != nullptr ? for_platform_(platform, name) : nullptr;
    if (!is_of_shim(found)) function = reinterpret_cast<F>(found);
    if (function == nullptr && has_icd_) {
      void* const* table = *reinterpret_cast<void* const* const*>(platform);
      if (table != nullptr) function = reinterpret_cast<F>(table[place]);
    }
    if (function == nullptr) function = symbol<F>(name);
  }

  void* handle_;
  bool has_icd_ = false;
  GetExtensionAddress extension_ = nullptr;
  GetAddressForPlatform for_platform_ = nullptr;
};

void tell_platform(const Answer& answer, const DriverLibrary& library, cl_platform_id platform) {
  PlatformFunctions cl = library.functions_of(platform);
  if (cl.get_platform_info == nullptr || cl.get_device_ids == nullptr ||
      cl.get_device_info == nullptr) {
    answer.fail("lacks the functions that name its devices");
  }
  std::string name = opencl::platform_name(cl, platform);
  answer.step("naming its devices", name);
  cl_int status = CL_SUCCESS;
  std::vector<Device> devices = opencl::describe_platform(cl, platform, nullptr, &status);
  if (status != CL_SUCCESS) {
    answer.fail("answered error " + std::to_string(status) + " to clGetDeviceIDs of platform '" +
                name + "'");
  }
  nlohmann::json list = nlohmann::json::array();
  for (const Device& device : devices) list.push_back(device_to_json(device));
  answer.write({{probe_line::kDevices, std::move(list)}});
}

void ask(const Answer& answer, const char* path) {
  answer.step("being loaded");
  // Lazily and locally, as the ICD loaders do: a driver may miss symbols that are never used.
  void* handle = ::dlopen(path, RTLD_LAZY | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* why = ::dlerror();
    answer.fail(std::string("cannot be loaded: ") + (why == nullptr ? "unknown error" : why));
  }
  answer.step("naming its platforms");
  DriverLibrary library(handle);
  GetPlatformIds get_platform_ids = library.get_platform_ids();
  if (get_platform_ids == nullptr) answer.fail("is not an OpenCL driver");
  std::array<cl_platform_id, kMaxPlatforms> platforms{};
  cl_uint count = 0;
  cl_int status = get_platform_ids(kMaxPlatforms, platforms.data(), &count);
  if (status == kPlatformNotFoundKhr) count = 0;
  if (status != CL_SUCCESS && status != kPlatformNotFoundKhr) {
    answer.fail("answered error " + std::to_string(status) + " when asked for its platforms");
  }
  for (cl_uint i = 0; i < count && i < kMaxPlatforms; ++i) {
    if (platforms[i] != nullptr) tell_platform(answer, library, platforms[i]);
  }
  answer.write({{probe_line::kDone, true}});
}

// What drivers print goes to /dev/null; the answer has a descriptor that they do not know.
int take_over_stdout() {
  int fd = ::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 10);
  int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (fd < 0 || null < 0) ::_exit(3);
  for (int target : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(null, target);
  return fd;
}

}  // namespace
}  // namespace chronos

int main(int argc, char** argv) {
  const bool through = argc >= 3 && std::strcmp(argv[1], "--through") == 0;
  const bool nvml = argc == 3 && std::strcmp(argv[1], "--nvml") == 0;
  if (!through && !nvml && (argc != 2 || argv[1][0] == '-')) {
    std::fputs(
        "usage: chronos-probe LIBRARY | --through LOADER [--without-layers] | --nvml LIBRARY\n"
        "Asks one OpenCL driver for its devices, or uses OpenCL through an ICD loader, or asks\n"
        "NVIDIA's management library.\n",
        stderr);
    return 2;
  }
  // The parent kills a driver that hangs; if the parent is killed itself, the kernel does.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  chronos::Answer answer(chronos::take_over_stdout());
  if (through) {
    if (argc > 3) ::unsetenv("OPENCL_LAYERS");  // the shim has put itself there
    answer.write(chronos::use_loader(argv[2]));
  } else if (nvml) {
    answer.write(chronos::nvml::ask(argv[2]));
  } else {
    chronos::ask(answer, argv[1]);
  }
  // Not exit(): the destructors of drivers crash as well as their other parts.
  ::_exit(0);
}
