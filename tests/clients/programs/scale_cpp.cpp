// Buffers and a kernel through opencl.hpp, which turns errors into exceptions.
#define CL_HPP_ENABLE_EXCEPTIONS
#define CL_HPP_TARGET_OPENCL_VERSION 300
#define CL_HPP_MINIMUM_OPENCL_VERSION 200
#include <CL/opencl.hpp>
#include <cstdio>
#include <numeric>
#include <vector>

#include "scale.h"

namespace {

void compute(std::size_t half) {
  std::vector<cl_uint> values(half / sizeof(cl_uint));
  std::iota(values.begin(), values.end(), 0U);
  const cl::Context context(CL_DEVICE_TYPE_ALL);
  cl::CommandQueue queue(context);
  cl::Program program(context, kScaleSource);
  program.build("");
  cl::Buffer in(context, values.begin(), values.end(), true);
  cl::Buffer out(context, CL_MEM_WRITE_ONLY, half);
  cl::KernelFunctor<cl::Buffer, cl::Buffer, cl_uint> scale(program, "scale");
  scale(cl::EnqueueArgs(queue, cl::NDRange(values.size())), in, out, 3);
  cl::copy(queue, out, values.begin(), values.end());
  std::printf("result %08x\n", checksum(values.data(), values.size()));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    compute(mebibytes(argc, argv) / 2);
  } catch (const cl::Error& error) {
    if (error.err() != CL_MEM_OBJECT_ALLOCATION_FAILURE) throw;
    std::printf("out of memory: %s %d\n", error.what(), error.err());
    return kExitRefused;
  }
  wait_after_release();
  return 0;
}
