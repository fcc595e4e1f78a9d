/* Memory by address: `svm` is two halves of the size as shared virtual memory, `usm` a third each
 * as Intel's unified shared memory of host, device and both. */
#include <CL/cl.h>
#include <CL/cl_ext.h>
#include <string.h>

#include "scale.h"

typedef void* (*AllocateHost)(cl_context, const cl_ulong*, size_t, cl_uint, cl_int*);
typedef void* (*AllocateDevice)(cl_context, cl_device_id, const cl_ulong*, size_t, cl_uint,
                                cl_int*);
typedef cl_int (*Free)(cl_context, void*);
typedef cl_int (*SetArgument)(cl_kernel, cl_uint, const void*);
typedef cl_int (*Copy)(cl_command_queue, cl_bool, void*, const void*, size_t, cl_uint,
                       const cl_event*, cl_event*);

static void must(const char* what, cl_int error) {
  if (error == CL_SUCCESS) return;
  if (error == CL_MEM_OBJECT_ALLOCATION_FAILURE || error == CL_OUT_OF_RESOURCES ||
      error == CL_OUT_OF_HOST_MEMORY) {
    printf("out of memory: %s %d\n", what, error);
    exit(kExitRefused);
  }
  fprintf(stderr, "%s failed: %d\n", what, error);
  exit(kExitUnexpected);
}

static cl_context context;
static cl_command_queue queue;
static cl_device_id device;

static cl_kernel build(cl_program* program) {
  cl_int error = CL_SUCCESS;
  *program = clCreateProgramWithSource(context, 1, (const char**)&kScaleSource, NULL, &error);
  must("clCreateProgramWithSource", error);
  must("clBuildProgram", clBuildProgram(*program, 1, &device, "", NULL, NULL));
  cl_kernel kernel = clCreateKernel(*program, "scale", &error);
  must("clCreateKernel", error);
  return kernel;
}

static void run(cl_kernel kernel, size_t count) {
  const cl_uint factor = 3;
  must("clSetKernelArg", clSetKernelArg(kernel, 2, sizeof factor, &factor));
  must("clEnqueueNDRangeKernel",
       clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &count, NULL, 0, NULL, NULL));
  must("clFinish", clFinish(queue));
}

static void* svm(cl_svm_mem_flags flags, size_t size) {
  void* memory = clSVMAlloc(context, flags, size, 0);
  if (memory == NULL) must("clSVMAlloc", CL_OUT_OF_RESOURCES);
  return memory;
}

static void shared_virtual_memory(cl_kernel kernel, size_t size) {
  const size_t count = size / sizeof(cl_uint);
  cl_uint* in = svm(CL_MEM_READ_WRITE, size);
  cl_uint* out = svm(CL_MEM_READ_WRITE, size);
  must("map", clEnqueueSVMMap(queue, CL_TRUE, CL_MAP_WRITE, in, size, 0, NULL, NULL));
  for (size_t i = 0; i < count; ++i) in[i] = (cl_uint)i;
  must("unmap", clEnqueueSVMUnmap(queue, in, 0, NULL, NULL));
  must("argument", clSetKernelArgSVMPointer(kernel, 0, in));
  must("argument", clSetKernelArgSVMPointer(kernel, 1, out));
  run(kernel, count);
  must("map", clEnqueueSVMMap(queue, CL_TRUE, CL_MAP_READ, out, size, 0, NULL, NULL));
  printf("shared virtual memory %08x\n", checksum(out, count));
  must("unmap", clEnqueueSVMUnmap(queue, out, 0, NULL, NULL));
  clSVMFree(context, in);
  void* rest[] = {out}; /* freed by the queue */
  must("clEnqueueSVMFree", clEnqueueSVMFree(queue, 1, rest, NULL, NULL, 0, NULL, NULL));
  must("clFinish", clFinish(queue));
}

typedef void (*AnyFunction)(void);

/* OpenCL hands out functions as void*, which ISO C will not convert. */
static AnyFunction entry(cl_platform_id platform, const char* name) {
  void* found = clGetExtensionFunctionAddressForPlatform(platform, name);
  AnyFunction function;
  memcpy(&function, &found, sizeof function);
  return function;
}

static void unified_shared_memory(cl_platform_id platform, cl_kernel kernel, size_t size) {
  AllocateHost host_alloc = (AllocateHost)entry(platform, "clHostMemAllocINTEL");
  AllocateDevice device_alloc = (AllocateDevice)entry(platform, "clDeviceMemAllocINTEL");
  AllocateDevice shared_alloc = (AllocateDevice)entry(platform, "clSharedMemAllocINTEL");
  Free release = (Free)entry(platform, "clMemFreeINTEL");
  Free release_blocking = (Free)entry(platform, "clMemBlockingFreeINTEL");
  SetArgument argument = (SetArgument)entry(platform, "clSetKernelArgMemPointerINTEL");
  Copy copy = (Copy)entry(platform, "clEnqueueMemcpyINTEL");
  if (host_alloc == NULL || device_alloc == NULL || shared_alloc == NULL || release == NULL ||
      release_blocking == NULL || argument == NULL || copy == NULL) {
    fputs("this driver has no unified shared memory\n", stderr);
    exit(kExitUnexpected);
  }
  cl_int error = CL_SUCCESS;
  const size_t count = size / sizeof(cl_uint);
  cl_uint* host = host_alloc(context, NULL, size, 0, &error);
  must("clHostMemAllocINTEL", error);
  cl_uint* in = device_alloc(context, device, NULL, size, 0, &error);
  must("clDeviceMemAllocINTEL", error);
  cl_uint* out = shared_alloc(context, device, NULL, size, 0, &error);
  must("clSharedMemAllocINTEL", error);
  for (size_t i = 0; i < count; ++i) host[i] = (cl_uint)i;
  must("copy", copy(queue, CL_TRUE, in, host, size, 0, NULL, NULL));
  must("argument", argument(kernel, 0, in));
  must("argument", argument(kernel, 1, out));
  run(kernel, count);
  printf("unified shared memory %08x\n", checksum(out, count));
  must("clMemFreeINTEL", release(context, host));
  must("clMemFreeINTEL", release(context, in));
  must("clMemBlockingFreeINTEL", release_blocking(context, out));
}

int main(int argc, char** argv) {
  const int unified = argc == 3 && strcmp(argv[2], "usm") == 0;
  const size_t size =
      mebibytes(unified || (argc == 3 && strcmp(argv[2], "svm") == 0) ? 2 : 0, argv);
  cl_int error = CL_SUCCESS;
  cl_platform_id platform;
  must("clGetPlatformIDs", clGetPlatformIDs(1, &platform, NULL));
  must("clGetDeviceIDs", clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 1, &device, NULL));
  context = clCreateContext(NULL, 1, &device, NULL, NULL, &error);
  must("clCreateContext", error);
  queue = clCreateCommandQueueWithProperties(context, device, NULL, &error);
  must("clCreateCommandQueueWithProperties", error);
  cl_program program;
  cl_kernel kernel = build(&program);

  if (unified) {
    unified_shared_memory(platform, kernel, size / 3 / sizeof(cl_uint) * sizeof(cl_uint));
  } else {
    shared_virtual_memory(kernel, size / 2);
  }

  clReleaseKernel(kernel);
  clReleaseProgram(program);
  clReleaseCommandQueue(queue);
  clReleaseContext(context);
  wait_after_release();
  return 0;
}
