/* Buffers and a kernel through the C interface. */
#include <CL/cl.h>

#include "scale.h"

static void must(const char* what, cl_int error) {
  if (error == CL_SUCCESS) return;
  if (error == CL_MEM_OBJECT_ALLOCATION_FAILURE || error == CL_OUT_OF_RESOURCES) {
    printf("out of memory: %d\n", error);
    exit(kExitRefused);
  }
  fprintf(stderr, "%s failed: %d\n", what, error);
  exit(kExitUnexpected);
}

int main(int argc, char** argv) {
  const size_t half = mebibytes(argc, argv) / 2;
  const size_t count = half / sizeof(cl_uint);
  cl_int error = CL_SUCCESS;
  cl_platform_id platform;
  cl_device_id device;
  must("clGetPlatformIDs", clGetPlatformIDs(1, &platform, NULL));
  must("clGetDeviceIDs", clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 1, &device, NULL));
  cl_context context = clCreateContext(NULL, 1, &device, NULL, NULL, &error);
  must("clCreateContext", error);
  cl_command_queue queue = clCreateCommandQueue(context, device, 0, &error);
  must("clCreateCommandQueue", error);
  cl_program program =
      clCreateProgramWithSource(context, 1, (const char**)&kScaleSource, NULL, &error);
  must("clCreateProgramWithSource", error);
  must("clBuildProgram", clBuildProgram(program, 1, &device, "", NULL, NULL));
  cl_kernel kernel = clCreateKernel(program, "scale", &error);
  must("clCreateKernel", error);

  cl_uint* values = malloc(half);
  if (values == NULL) return kExitUnexpected;
  for (size_t i = 0; i < count; ++i) values[i] = (cl_uint)i;
  cl_mem in =
      clCreateBuffer(context, CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR, half, values, &error);
  must("clCreateBuffer", error);
  cl_mem out = clCreateBuffer(context, CL_MEM_WRITE_ONLY, half, NULL, &error);
  must("clCreateBuffer", error);
  const cl_uint factor = 3;
  must("clSetKernelArg", clSetKernelArg(kernel, 0, sizeof(cl_mem), (const void*)&in));
  must("clSetKernelArg", clSetKernelArg(kernel, 1, sizeof(cl_mem), (const void*)&out));
  must("clSetKernelArg", clSetKernelArg(kernel, 2, sizeof factor, &factor));
  must("clEnqueueNDRangeKernel",
       clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &count, NULL, 0, NULL, NULL));
  must("clEnqueueReadBuffer",
       clEnqueueReadBuffer(queue, out, CL_TRUE, 0, half, values, 0, NULL, NULL));
  printf("result %08x\n", checksum(values, count));

  clReleaseMemObject(out);
  clReleaseMemObject(in);
  clReleaseKernel(kernel);
  clReleaseProgram(program);
  clReleaseCommandQueue(queue);
  clReleaseContext(context);
  free(values);
  wait_after_release();
  return 0;
}
