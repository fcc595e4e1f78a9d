#include "tests/bench/mini_loader.hpp"

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>

#include "core/opencl_facts.hpp"

namespace chronos::bench {
namespace {

[[noreturn]] void give_up(const char* what) {
  std::fprintf(stderr, "bench: %s\n", what);
  std::exit(1);
}

void* open_library(const std::string& path) {
  void* handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) give_up(::dlerror());
  return handle;
}

template <class Function>
Function symbol(void* handle, const char* name) {
  auto found = reinterpret_cast<Function>(::dlsym(handle, name));
  if (found == nullptr) give_up(::dlerror());
  return found;
}

// Makes `entry` of a table call the same entry in the table of its first argument's driver.
template <auto Member, class Result, class Object, class... More>
void dispatch(Table& table, Result (CL_API_CALL* Table::* /*member*/)(Object, More...)) {
  table.*Member = [](Object object, More... more) -> Result {
    return (MiniLoader::table_of(object).*Member)(object, more...);
  };
}

// The end of a chain of layers: the call goes to the table of the object's driver.
Table terminator(const Table& driver) {
  Table table = driver;
#define CHRONOS_BENCH_DISPATCH(name) dispatch<&Table::name>(table, &Table::name)
  CHRONOS_BENCH_DISPATCH(clCreateBuffer);
  CHRONOS_BENCH_DISPATCH(clReleaseMemObject);
  CHRONOS_BENCH_DISPATCH(clSetMemObjectDestructorCallback);
  CHRONOS_BENCH_DISPATCH(clSVMAlloc);
  CHRONOS_BENCH_DISPATCH(clSVMFree);
  CHRONOS_BENCH_DISPATCH(clEnqueueWriteBuffer);
  CHRONOS_BENCH_DISPATCH(clEnqueueNDRangeKernel);
  CHRONOS_BENCH_DISPATCH(clFinish);
#undef CHRONOS_BENCH_DISPATCH
  return table;
}

const Table* init_layer(const std::string& path, const Table& next) {
  using Init = cl_int(CL_API_CALL*)(cl_uint, const Table*, cl_uint*, const Table**);
  cl_uint count = 0;
  const Table* table = nullptr;
  if (symbol<Init>(open_library(path), "clInitLayer")(shim::kTableEntries, &next, &count, &table) !=
          CL_SUCCESS ||
      count < shim::kTableEntries) {
    give_up("a layer did not start");
  }
  return table;
}

// The real functions under the names that core/opencl_facts.hpp calls them by.
struct DriverFacts {
  decltype(Table::clGetPlatformInfo) get_platform_info;
  decltype(Table::clGetDeviceIDs) get_device_ids;
  decltype(Table::clGetDeviceInfo) get_device_info;
};

using GetAddress = void*(CL_API_CALL*)(const char*);
using GetPlatforms = cl_int(CL_API_CALL*)(cl_uint, cl_platform_id*, cl_uint*);

cl_platform_id first_platform(GetAddress get_address) {
  auto get_platforms = reinterpret_cast<GetPlatforms>(get_address("clIcdGetPlatformIDsKHR"));
  cl_platform_id platform = nullptr;
  if (get_platforms == nullptr || get_platforms(1, &platform, nullptr) != CL_SUCCESS) {
    give_up("the driver has no platform");
  }
  return platform;
}

}  // namespace

MiniLoader::MiniLoader(const std::string& driver, const std::string& shim,
                       const std::string& empty_layer, const std::string& callback_layer) {
  constexpr char kGetAddress[] = "clGetExtensionFunctionAddress";
  void* handle = open_library(driver);
  platform_ = first_platform(symbol<GetAddress>(handle, kGetAddress));
  driver_ = &table_of(platform_);
  bare_ = *driver_;
  cl_device_id device = nullptr;
  if (bare_.clGetDeviceIDs(platform_, CL_DEVICE_TYPE_ALL, 1, &device, nullptr) != CL_SUCCESS) {
    give_up("the driver has no device");
  }
  cl_int error = CL_SUCCESS;
  context_ = bare_.clCreateContext(nullptr, 1, &device, nullptr, nullptr, &error);
  if (context_ == nullptr) give_up("no context");
  queue_ = bare_.clCreateCommandQueue(context_, device, 0, &error);
  if (queue_ == nullptr) give_up("no queue");
  device_ = opencl::describe_device(
      DriverFacts{bare_.clGetPlatformInfo, bare_.clGetDeviceIDs, bare_.clGetDeviceInfo}, device);

  static Table next;
  next = terminator(bare_);
  empty_layer_ = init_layer(empty_layer, next);
  callback_layer_ = init_layer(callback_layer, next);
  shim_layer_ = init_layer(shim, next);

  // A loader asks for the driver's entry with the dlsym that is preloaded.
  using Dlsym = void* (*)(void*, const char*);
  auto preloaded = symbol<Dlsym>(open_library(shim), "dlsym");
  first_platform(reinterpret_cast<GetAddress>(preloaded(handle, kGetAddress)));
  patched_ = *driver_;
  if (patched_.clCreateBuffer == bare_.clCreateBuffer) give_up("the driver door did not open");
}

void MiniLoader::open_doors(Layer layer, bool driver_door) {
  const Table* const layers[] = {nullptr, empty_layer_, callback_layer_, shim_layer_};
  first_layer_ = layers[static_cast<int>(layer)];
  *driver_ = driver_door ? patched_ : bare_;
}

}  // namespace chronos::bench
