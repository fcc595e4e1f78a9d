#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <type_traits>

#include "tests/fake_driver/driver.hpp"
#include "tests/fake_driver/entries.hpp"

namespace chronos::fake {
namespace {

// Says that the loader is to make the table (cl_khr_icd 2.0, CL_ICD2_TAG_KHR).
constexpr std::uintptr_t kTag = 0x4f50454e434c3331;

// What an entry without an implementation does: the error of its kind of signature.
template <class Result, class... Parameters>
struct Refuser {
  static Result CL_API_CALL call(Parameters... parameters) {
    if constexpr (std::is_same_v<Result, cl_int>) {
      return CL_INVALID_OPERATION;
    } else if constexpr (!std::is_void_v<Result>) {
      (report(parameters), ...);
      return nullptr;
    }
  }
  // errcode_ret (and binary_status) are the only parameters of their type.
  template <class Parameter>
  static void report(Parameter parameter) {
    if constexpr (std::is_same_v<Parameter, cl_int*>) {
      if (parameter != nullptr) *parameter = CL_INVALID_OPERATION;
    }
  }
};

template <class Result, class... Parameters>
void fill_with_refusal(Result(CL_API_CALL*& entry)(Parameters...)) {
  entry = &Refuser<Result, Parameters...>::call;
}

// Entries of extensions that this driver does not offer (GL, EGL, Direct3D, device fission) stay
// NULL, as in real drivers.
void fill(cl_icd_dispatch& table) {
#define CHRONOS_FAKE_REFUSE(name) fill_with_refusal(table.name);
  CHRONOS_FAKE_REFUSE(clSetCommandQueueProperty)
  CHRONOS_FAKE_REFUSE(clCreateSampler)
  CHRONOS_FAKE_REFUSE(clCreateSamplerWithProperties)
  CHRONOS_FAKE_REFUSE(clRetainSampler)
  CHRONOS_FAKE_REFUSE(clReleaseSampler)
  CHRONOS_FAKE_REFUSE(clGetSamplerInfo)
  CHRONOS_FAKE_REFUSE(clCreateProgramWithSource)
  CHRONOS_FAKE_REFUSE(clCreateProgramWithBinary)
  CHRONOS_FAKE_REFUSE(clCreateProgramWithBuiltInKernels)
  CHRONOS_FAKE_REFUSE(clCreateProgramWithIL)
  CHRONOS_FAKE_REFUSE(clRetainProgram)
  CHRONOS_FAKE_REFUSE(clReleaseProgram)
  CHRONOS_FAKE_REFUSE(clBuildProgram)
  CHRONOS_FAKE_REFUSE(clCompileProgram)
  CHRONOS_FAKE_REFUSE(clLinkProgram)
  CHRONOS_FAKE_REFUSE(clGetProgramInfo)
  CHRONOS_FAKE_REFUSE(clGetProgramBuildInfo)
  CHRONOS_FAKE_REFUSE(clSetProgramReleaseCallback)
  CHRONOS_FAKE_REFUSE(clSetProgramSpecializationConstant)
  CHRONOS_FAKE_REFUSE(clCreateKernel)
  CHRONOS_FAKE_REFUSE(clCreateKernelsInProgram)
  CHRONOS_FAKE_REFUSE(clCloneKernel)
  CHRONOS_FAKE_REFUSE(clRetainKernel)
  CHRONOS_FAKE_REFUSE(clReleaseKernel)
  CHRONOS_FAKE_REFUSE(clSetKernelArg)
  CHRONOS_FAKE_REFUSE(clSetKernelArgSVMPointer)
  CHRONOS_FAKE_REFUSE(clSetKernelExecInfo)
  CHRONOS_FAKE_REFUSE(clGetKernelInfo)
  CHRONOS_FAKE_REFUSE(clGetKernelArgInfo)
  CHRONOS_FAKE_REFUSE(clGetKernelWorkGroupInfo)
  CHRONOS_FAKE_REFUSE(clGetKernelSubGroupInfo)
  CHRONOS_FAKE_REFUSE(clEnqueueReadImage)
  CHRONOS_FAKE_REFUSE(clEnqueueWriteImage)
  CHRONOS_FAKE_REFUSE(clEnqueueCopyImage)
  CHRONOS_FAKE_REFUSE(clEnqueueCopyImageToBuffer)
  CHRONOS_FAKE_REFUSE(clEnqueueCopyBufferToImage)
  CHRONOS_FAKE_REFUSE(clEnqueueMapImage)
  CHRONOS_FAKE_REFUSE(clEnqueueFillImage)
  CHRONOS_FAKE_REFUSE(clEnqueueNDRangeKernel)
  CHRONOS_FAKE_REFUSE(clEnqueueTask)
  CHRONOS_FAKE_REFUSE(clEnqueueNativeKernel)
  CHRONOS_FAKE_REFUSE(clEnqueueSVMMigrateMem)
  CHRONOS_FAKE_REFUSE(clSetDefaultDeviceCommandQueue)
#undef CHRONOS_FAKE_REFUSE
#define CHRONOS_FAKE_SET(name) table.name = name;
  CHRONOS_FAKE_ENTRIES(CHRONOS_FAKE_SET)
#undef CHRONOS_FAKE_SET
}

std::size_t round_up(std::size_t size, std::size_t unit) { return (size + unit - 1) / unit * unit; }

}  // namespace

cl_icd_dispatch* make_dispatch_table(const Config& config) {
  static cl_icd_dispatch full{};
  fill(full);
  const std::size_t all = sizeof full / sizeof(void*);
  const std::size_t entries =
      config.table_entries == 0 || config.table_entries > all ? all : config.table_entries;
  const std::size_t size = entries * sizeof(void*);
  // On pages of its own that end with the table, so that reading past a short table is noticed
  // and a read-only one takes nothing else with it.
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t usable = round_up(size, page);
  void* pages =
      mmap(nullptr, usable + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) {
    std::fprintf(stderr, "fake driver: no memory for the dispatch table\n");
    return nullptr;
  }
  char* const first = static_cast<char*>(pages);
  char* const table = first + usable - size;
  if (config.table_managed) {
    const auto tag = reinterpret_cast<void*>(kTag);
    auto** words = reinterpret_cast<void**>(&full);
    if (config.table_empty) std::fill_n(words, entries, nullptr);
    words[offsetof(cl_icd_dispatch, clGetPlatformIDs) / sizeof(void*)] = tag;
    words[offsetof(cl_icd_dispatch, clUnloadCompiler) / sizeof(void*)] = tag;
  }
  std::memcpy(table, &full, size);
  mprotect(first + usable, page, PROT_NONE);
  if (config.table_read_only) mprotect(first, usable, PROT_READ);
  return reinterpret_cast<cl_icd_dispatch*>(table);
}

}  // namespace chronos::fake
