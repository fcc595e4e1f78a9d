#include "tests/bench/operations.hpp"

#include <CL/cl_ext.h>

#include <cstdio>
#include <cstdlib>

namespace chronos::bench {
namespace {

constexpr std::size_t kSize = 4096;

[[noreturn]] void give_up(const char* what, cl_int error) {
  std::fprintf(stderr, "bench: %s (%d)\n", what, error);
  std::exit(1);
}

Operation buffers(MiniLoader& loader) {
  Operation operation;
  operation.run = [&loader](int count) {
    for (int i = 0; i < count; ++i) {
      cl_int error = CL_SUCCESS;
      cl_mem buffer =
          loader.entries(loader.context())
              .clCreateBuffer(loader.context(), CL_MEM_READ_WRITE, kSize, nullptr, &error);
      if (buffer == nullptr || loader.entries(buffer).clReleaseMemObject(buffer) != CL_SUCCESS) {
        give_up("a buffer was refused", error);
      }
    }
  };
  operation.refuses = [&loader](std::size_t size) {
    cl_int error = CL_SUCCESS;
    cl_mem buffer = loader.entries(loader.context())
                        .clCreateBuffer(loader.context(), CL_MEM_READ_WRITE, size, nullptr, &error);
    if (buffer == nullptr) return error == CL_MEM_OBJECT_ALLOCATION_FAILURE;
    loader.entries(buffer).clReleaseMemObject(buffer);
    return false;
  };
  return operation;
}

Operation shared_virtual_memory(MiniLoader& loader) {
  const auto allocate = [&loader](std::size_t size) {
    return loader.entries(loader.context())
        .clSVMAlloc(loader.context(), CL_MEM_READ_WRITE, size, 0);
  };
  const auto free = [&loader](void* memory) {
    loader.entries(loader.context()).clSVMFree(loader.context(), memory);
  };
  Operation operation;
  operation.run = [=](int count) {
    for (int i = 0; i < count; ++i) {
      void* memory = allocate(kSize);
      if (memory == nullptr) give_up("SVM was refused", 0);
      free(memory);
    }
  };
  operation.refuses = [=](std::size_t size) {
    void* memory = allocate(size);
    if (memory != nullptr) free(memory);
    return memory == nullptr;
  };
  return operation;
}

// A program asks the loader for these once and calls them straight.
struct Unified {
  clDeviceMemAllocINTEL_fn allocate = nullptr;
  clMemFreeINTEL_fn free = nullptr;
};

Operation unified_shared_memory(MiniLoader& loader) {
  auto functions = std::make_shared<Unified>();
  cl_device_id device = nullptr;
  loader.bare().clGetDeviceIDs(loader.platform(), CL_DEVICE_TYPE_ALL, 1, &device, nullptr);
  Operation operation;
  operation.prepare = [&loader, functions] {
    const auto find = [&loader](const char* name) {
      return loader.entries(loader.platform())
          .clGetExtensionFunctionAddressForPlatform(loader.platform(), name);
    };
    functions->allocate = reinterpret_cast<clDeviceMemAllocINTEL_fn>(find("clDeviceMemAllocINTEL"));
    functions->free = reinterpret_cast<clMemFreeINTEL_fn>(find("clMemFreeINTEL"));
    if (functions->allocate == nullptr || functions->free == nullptr) {
      give_up("the driver has no unified shared memory", 0);
    }
  };
  operation.run = [&loader, functions, device](int count) {
    for (int i = 0; i < count; ++i) {
      cl_int error = CL_SUCCESS;
      void* memory = functions->allocate(loader.context(), device, nullptr, kSize, 0, &error);
      if (memory == nullptr || functions->free(loader.context(), memory) != CL_SUCCESS) {
        give_up("USM was refused", error);
      }
    }
  };
  operation.refuses = [&loader, functions, device](std::size_t size) {
    cl_int error = CL_SUCCESS;
    void* memory = functions->allocate(loader.context(), device, nullptr, size, 0, &error);
    if (memory != nullptr) functions->free(loader.context(), memory);
    return memory == nullptr;
  };
  return operation;
}

void finish(MiniLoader& loader) {
  const cl_int error = loader.entries(loader.queue()).clFinish(loader.queue());
  if (error != CL_SUCCESS) give_up("clFinish failed", error);
}

// A command's enqueueing and, once a batch, the wait for all.
Operation writes(MiniLoader& loader) {
  cl_int error = CL_SUCCESS;
  cl_mem buffer =
      loader.bare().clCreateBuffer(loader.context(), CL_MEM_READ_WRITE, kSize, nullptr, &error);
  if (buffer == nullptr) give_up("no buffer to write to", error);
  Operation operation;
  operation.batch = 200;
  operation.run = [&loader, buffer](int count) {
    static const char bytes[64] = {};
    for (int i = 0; i < count; ++i) {
      const cl_int failed = loader.entries(loader.queue())
                                .clEnqueueWriteBuffer(loader.queue(), buffer, CL_FALSE, 0,
                                                      sizeof bytes, bytes, 0, nullptr, nullptr);
      if (failed != CL_SUCCESS) give_up("a write was refused", failed);
    }
    finish(loader);
  };
  return operation;
}

Operation kernels(MiniLoader& loader) {
  const Table& bare = loader.bare();
  cl_int error = CL_SUCCESS;
  const char* source = "kernel void nothing() {}";
  cl_program program =
      bare.clCreateProgramWithSource(loader.context(), 1, &source, nullptr, &error);
  if (program == nullptr ||
      bare.clBuildProgram(program, 0, nullptr, "", nullptr, nullptr) != CL_SUCCESS) {
    give_up("no program", error);
  }
  cl_kernel kernel = bare.clCreateKernel(program, "nothing", &error);
  if (kernel == nullptr) give_up("no kernel", error);
  Operation operation;
  operation.batch = 200;
  operation.run = [&loader, kernel](int count) {
    const std::size_t one = 1;
    for (int i = 0; i < count; ++i) {
      const cl_int failed = loader.entries(loader.queue())
                                .clEnqueueNDRangeKernel(loader.queue(), kernel, 1, nullptr, &one,
                                                        &one, 0, nullptr, nullptr);
      if (failed != CL_SUCCESS) give_up("a kernel was refused", failed);
    }
    finish(loader);
  };
  return operation;
}

}  // namespace

Operation make_operation(const std::string& name, MiniLoader& loader) {
  if (name == "buffer") return buffers(loader);
  if (name == "svm") return shared_virtual_memory(loader);
  if (name == "usm") return unified_shared_memory(loader);
  if (name == "write") return writes(loader);
  if (name == "kernel") return kernels(loader);
  std::fprintf(stderr, "bench: no operation %s\n", name.c_str());
  std::exit(2);
}

}  // namespace chronos::bench
