/* gemm EDGE PRODUCTS: CLBlast's product of two square matrices, again and again, each into a new
   buffer. A whole program to be timed from outside. */
#include <CL/cl.h>
#include <clblast_c.h>
#include <stdio.h>
#include <stdlib.h>

static void must(const char* what, int error) {
  if (error == 0) return;
  fprintf(stderr, "bench: %s failed (%d)\n", what, error);
  exit(1);
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const size_t edge = strtoul(argv[1], NULL, 10);
  const size_t bytes = edge * edge * sizeof(float);
  cl_int error = CL_SUCCESS;
  cl_platform_id platform;
  cl_device_id device;
  must("clGetPlatformIDs", clGetPlatformIDs(1, &platform, NULL));
  must("clGetDeviceIDs", clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 1, &device, NULL));
  cl_context context = clCreateContext(NULL, 1, &device, NULL, NULL, &error);
  must("clCreateContext", error);
  cl_command_queue queue = clCreateCommandQueue(context, device, 0, &error);
  must("clCreateCommandQueue", error);
  float* values = malloc(bytes);
  if (values == NULL) return 1;
  for (size_t i = 0; i < edge * edge; ++i) values[i] = (float)(i % 7) * 0.25F;
  cl_mem factor = clCreateBuffer(context, CL_MEM_COPY_HOST_PTR, bytes, values, &error);
  must("clCreateBuffer", error);
  for (int left = atoi(argv[2]); left > 0; --left) {
    cl_mem product = clCreateBuffer(context, CL_MEM_READ_WRITE, bytes, NULL, &error);
    must("clCreateBuffer", error);
    must("CLBlastSgemm", CLBlastSgemm(CLBlastLayoutRowMajor, CLBlastTransposeNo,
                                      CLBlastTransposeYes, edge, edge, edge, 1.0F, factor, 0, edge,
                                      factor, 0, edge, 0.0F, product, 0, edge, &queue, NULL));
    must("clEnqueueReadBuffer",
         clEnqueueReadBuffer(queue, product, CL_TRUE, 0, sizeof(float), values, 0, NULL, NULL));
    must("clReleaseMemObject", clReleaseMemObject(product));
  }
  free(values);
  clReleaseMemObject(factor);
  clReleaseCommandQueue(queue);
  clReleaseContext(context);
  return 0;
}
