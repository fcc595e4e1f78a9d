// Programs and kernels. There is no compiler: what a program holds on each of its devices is said
// by a comment in its source (or its binary, or IL), "globals: BYTES"; "fails" makes its build
// fail.
#pragma once

#include <string>

#include "tests/fake_driver/objects.hpp"

struct _cl_program : chronos::fake::Object<chronos::fake::Kind::kProgram> {
  cl_context context = nullptr;
  std::vector<cl_device_id> devices;
  std::string text;
  std::mutex mutex;  // guards what follows
  cl_uint kernels = 0;
  cl_build_status status = CL_BUILD_NONE;
  cl_program_binary_type type = CL_PROGRAM_BINARY_TYPE_NONE;
  std::uint64_t globals = 0;              // on each device, counted
  std::vector<std::uint32_t> counted_on;  // root devices
  std::uint32_t generation = 0;           // of the witness, when they were counted
  std::vector<std::pair<void(CL_CALLBACK*)(cl_program, void*), void*>> callbacks;
};

struct _cl_kernel : chronos::fake::Object<chronos::fake::Kind::kKernel> {
  cl_program program = nullptr;
  std::string name;
};

namespace chronos::fake {
void release(cl_program program);
void release(cl_kernel kernel);
}  // namespace chronos::fake
