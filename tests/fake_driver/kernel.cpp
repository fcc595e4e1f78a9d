// Kernels: they keep their program, and compute nothing. Every program has one of every name.
#include <algorithm>

#include "tests/fake_driver/call.hpp"
#include "tests/fake_driver/driver.hpp"
#include "tests/fake_driver/entries.hpp"
#include "tests/fake_driver/info.hpp"
#include "tests/fake_driver/program.hpp"

namespace chronos::fake {
namespace {

cl_kernel make_kernel(cl_program program, const char* name) {
  auto* const kernel = new _cl_kernel;
  kernel->program = retain(program);
  kernel->name = name;
  const std::lock_guard<std::mutex> guard(program->mutex);
  ++program->kernels;
  return kernel;
}

bool is_executable(cl_program program) {
  const std::lock_guard<std::mutex> guard(program->mutex);
  return program->type == CL_PROGRAM_BINARY_TYPE_EXECUTABLE;
}

}  // namespace

void release(cl_kernel kernel) {
  if (!drop(kernel)) return;
  cl_program program = kernel->program;
  delete kernel;
  {
    const std::lock_guard<std::mutex> guard(program->mutex);
    --program->kernels;
  }
  release(program);
}

cl_kernel clCreateKernel(cl_program program, const char* name, cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_kernel>(errcode_ret, error);
  if (!valid(program)) return refuse<cl_kernel>(errcode_ret, CL_INVALID_PROGRAM);
  if (name == nullptr) return refuse<cl_kernel>(errcode_ret, CL_INVALID_VALUE);
  if (!is_executable(program)) {
    return refuse<cl_kernel>(errcode_ret, CL_INVALID_PROGRAM_EXECUTABLE);
  }
  return give(make_kernel(program, name), errcode_ret, CL_SUCCESS);
}

// Two of them.
cl_int clCreateKernelsInProgram(cl_program program, cl_uint room, cl_kernel* kernels,
                                cl_uint* count) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(program)) return CL_INVALID_PROGRAM;
  if (!is_executable(program)) return CL_INVALID_PROGRAM_EXECUTABLE;
  if (kernels != nullptr && room < 2) return CL_INVALID_VALUE;
  if (count != nullptr) *count = 2;
  for (cl_uint i = 0; kernels != nullptr && i < 2; ++i) {
    kernels[i] = make_kernel(program, i == 0 ? "first" : "second");
  }
  return CL_SUCCESS;
}

cl_kernel clCloneKernel(cl_kernel source, cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_kernel>(errcode_ret, error);
  if (!valid(source)) return refuse<cl_kernel>(errcode_ret, CL_INVALID_KERNEL);
  return give(make_kernel(source->program, source->name.c_str()), errcode_ret, CL_SUCCESS);
}

cl_int clRetainKernel(cl_kernel kernel) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(kernel)) return CL_INVALID_KERNEL;
  retain(kernel);
  return CL_SUCCESS;
}

cl_int clReleaseKernel(cl_kernel kernel) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(kernel)) return CL_INVALID_KERNEL;
  release(kernel);
  return CL_SUCCESS;
}

cl_int clGetKernelInfo(cl_kernel kernel, cl_kernel_info name, size_t capacity, void* out,
                       size_t* needed) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(kernel)) return CL_INVALID_KERNEL;
  const Answer answer(capacity, out, needed);
  switch (name) {
    case CL_KERNEL_FUNCTION_NAME:
      return answer.text(kernel->name);
    case CL_KERNEL_NUM_ARGS:
      return answer.value<cl_uint>(0);
    case CL_KERNEL_REFERENCE_COUNT:
      return answer.value(kernel->references.load());
    case CL_KERNEL_CONTEXT:
      return answer.value(kernel->program->context);
    case CL_KERNEL_PROGRAM:
      return answer.value(kernel->program);
    default:
      return CL_INVALID_VALUE;
  }
}

}  // namespace chronos::fake
