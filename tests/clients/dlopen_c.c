/* A C program that opens OpenCL itself, as ctypes and many C programs do: dlopen, then dlsym by
 * handle. Preloaded symbols never reach such a program. TEST_LIBOPENCL names another library. */
#include <CL/cl.h>
#include <dlfcn.h>

static struct {
  cl_int(CL_API_CALL* clGetPlatformIDs)(cl_uint, cl_platform_id*, cl_uint*);
  cl_int(CL_API_CALL* clGetDeviceIDs)(cl_platform_id, cl_device_type, cl_uint, cl_device_id*,
                                      cl_uint*);
  cl_context(CL_API_CALL* clCreateContext)(
      const cl_context_properties*, cl_uint, const cl_device_id*,
      void(CL_CALLBACK*)(const char*, const void*, size_t, void*), void*, cl_int*);
  cl_int(CL_API_CALL* clReleaseContext)(cl_context);
  cl_mem(CL_API_CALL* clCreateBuffer)(cl_context, cl_mem_flags, size_t, void*, cl_int*);
  cl_int(CL_API_CALL* clReleaseMemObject)(cl_mem);
} api;

#define CL_CALL(name) api.name
#include "hold_buffers.h"

static void load(void* library, const char* name, void* entry) {
  void* found = dlsym(library, name);
  if (found == NULL) {
    fprintf(stderr, "dlsym %s: %s\n", name, dlerror());
    exit(kExitUnexpected);
  }
  memcpy(entry, &found, sizeof found); /* ISO C has no cast from object to function pointer */
}

int main(int argc, char** argv) {
  const char* path = getenv("TEST_LIBOPENCL");
  void* library = dlopen(path != NULL ? path : "libOpenCL.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) {
    fprintf(stderr, "dlopen: %s\n", dlerror());
    return kExitUnexpected;
  }
#define LOAD(name) load(library, #name, &api.name)
  LOAD(clGetPlatformIDs);
  LOAD(clGetDeviceIDs);
  LOAD(clCreateContext);
  LOAD(clReleaseContext);
  LOAD(clCreateBuffer);
  LOAD(clReleaseMemObject);
#undef LOAD
  return hold_buffers(argc, argv);
}
