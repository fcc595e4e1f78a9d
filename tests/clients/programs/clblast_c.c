/* CLBlast's C interface, as its samples use it: `axpy` is y = 2x + y on long vectors and the sum of
 * one, `gemm` the product of two square matrices. Three buffers share the size. */
#include <clblast_c.h>
#include <string.h>

#include "scale.h"

enum { kEdge = 64 };

static void must(const char* what, int error) {
  if (error == 0) return;
  if (error == CL_MEM_OBJECT_ALLOCATION_FAILURE || error == CL_OUT_OF_RESOURCES) {
    printf("out of memory: %s %d\n", what, error);
    exit(kExitRefused);
  }
  fprintf(stderr, "%s failed: %d\n", what, error);
  exit(kExitUnexpected);
}

static cl_context context;

static cl_mem vector(cl_command_queue queue, size_t count, float value) {
  cl_int error = CL_SUCCESS;
  cl_mem memory = clCreateBuffer(context, CL_MEM_READ_WRITE, count * sizeof value, NULL, &error);
  must("clCreateBuffer", error);
  must("fill", clEnqueueFillBuffer(queue, memory, &value, sizeof value, 0, count * sizeof value, 0,
                                   NULL, NULL));
  return memory;
}

static float at(cl_command_queue queue, cl_mem memory, size_t index) {
  float value = 0;
  must("read", clEnqueueReadBuffer(queue, memory, CL_TRUE, index * sizeof value, sizeof value,
                                   &value, 0, NULL, NULL));
  return value;
}

static void vectors(cl_command_queue queue, size_t count) {
  cl_mem x = vector(queue, count, 1.5F);
  cl_mem y = vector(queue, count, 0.25F);
  cl_mem sum = vector(queue, count, 0.0F);
  must("CLBlastSaxpy", CLBlastSaxpy(count, 2.0F, x, 0, 1, y, 0, 1, &queue, NULL));
  printf("axpy %g %g\n", at(queue, y, 0), at(queue, y, count - 1));
  must("CLBlastSasum", CLBlastSasum(kEdge, sum, 0, y, 0, 1, &queue, NULL));
  printf("sum %g\n", at(queue, sum, 0));
  clReleaseMemObject(sum);
  clReleaseMemObject(y);
  clReleaseMemObject(x);
}

/* The matrices lie in buffers of the whole size, so that memory, not time, grows with it. */
static void product(cl_command_queue queue, size_t count) {
  cl_mem a = vector(queue, count, 1.5F);
  cl_mem b = vector(queue, count, 2.0F);
  cl_mem c = vector(queue, count, 0.0F);
  must("CLBlastSgemm",
       CLBlastSgemm(CLBlastLayoutRowMajor, CLBlastTransposeNo, CLBlastTransposeYes, kEdge, kEdge,
                    kEdge, 1.0F, a, 0, kEdge, b, 0, kEdge, 0.0F, c, 0, kEdge, &queue, NULL));
  printf("gemm %g\n", at(queue, c, (size_t)kEdge * kEdge - 1));
  clReleaseMemObject(c);
  clReleaseMemObject(b);
  clReleaseMemObject(a);
}

int main(int argc, char** argv) {
  const int products = argc == 3 && strcmp(argv[2], "gemm") == 0;
  const int known = products || (argc == 3 && strcmp(argv[2], "axpy") == 0);
  const size_t count = mebibytes(known ? 2 : 0, argv) / 3 / sizeof(float);
  cl_int error = CL_SUCCESS;
  cl_platform_id platform;
  cl_device_id device;
  must("clGetPlatformIDs", clGetPlatformIDs(1, &platform, NULL));
  must("clGetDeviceIDs", clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 1, &device, NULL));
  context = clCreateContext(NULL, 1, &device, NULL, NULL, &error);
  must("clCreateContext", error);
  cl_command_queue queue = clCreateCommandQueue(context, device, 0, &error);
  must("clCreateCommandQueue", error);

  if (products) {
    product(queue, count);
  } else {
    vectors(queue, count);
  }
  must("CLBlastClearCache", CLBlastClearCache());
  clReleaseCommandQueue(queue);
  clReleaseContext(context);
  wait_after_release();
  return 0;
}
