/* linked_buffers BATCHES [no-layers]: the fewest nanoseconds that a buffer's creation and release
   took, through the ICD loader that is installed. Prints one number. With `no-layers` the layer
   that a preloaded library has announced is taken back, so that its driver door is alone. */
#include <CL/cl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { kPairs = 1000, kSize = 4096 };

static double now(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  if (argc > 2 && strcmp(argv[2], "no-layers") == 0) unsetenv("OPENCL_LAYERS");
  cl_platform_id platform;
  cl_device_id device;
  if (clGetPlatformIDs(1, &platform, NULL) != CL_SUCCESS ||
      clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 1, &device, NULL) != CL_SUCCESS) {
    return 1;
  }
  cl_int error = CL_SUCCESS;
  cl_context context = clCreateContext(NULL, 1, &device, NULL, NULL, &error);
  if (context == NULL) return 1;
  double least = 1e18;
  for (int batch = atoi(argv[1]); batch > 0; --batch) {
    const double start = now();
    for (int i = 0; i < kPairs; ++i) {
      cl_mem buffer = clCreateBuffer(context, CL_MEM_READ_WRITE, kSize, NULL, &error);
      if (buffer == NULL) return 1;
      clReleaseMemObject(buffer);
    }
    const double taken = (now() - start) / kPairs;
    if (taken < least) least = taken;
  }
  printf("%.2f\n", least);
  return 0;
}
