/* A program with a loader of its own, as old static ones are: it opens the driver that
 * TEST_DRIVER names, asks it for its platforms, and calls
 * through the objects' dispatch tables. No layers, no libOpenCL. With TEST_DIRECT it finds the
 * platforms' function with dlsym, as ocl-icd does for some drivers; otherwise through the driver's
 * clGetExtensionFunctionAddress. With TEST_PATIENCE it asks again while there is no platform.
 * Compiled with LINKED_TO_DRIVER the driver is linked, and dlsym plays no part. */
#include <CL/cl.h>
#include <CL/cl_icd.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

struct object {
  const cl_icd_dispatch* dispatch;
};
#define ENTRY(thing, name) (((const struct object*)(const void*)(thing))->dispatch->name)

typedef cl_int(CL_API_CALL* platforms_function)(cl_uint, cl_platform_id*, cl_uint*);
typedef void*(CL_API_CALL* address_function)(const char*);
static platforms_function get_platforms;

#ifdef LINKED_TO_DRIVER
CL_API_ENTRY cl_int CL_API_CALL clIcdGetPlatformIDsKHR(cl_uint, cl_platform_id*, cl_uint*);
#endif

static cl_int own_clGetPlatformIDs(cl_uint room, cl_platform_id* platforms, cl_uint* count) {
  cl_int error = get_platforms(room, platforms, count);
  while (error != CL_SUCCESS && getenv("TEST_PATIENCE") != NULL) {
    error = get_platforms(room, platforms, count);
  }
  return error;
}
static cl_int own_clGetDeviceIDs(cl_platform_id platform, cl_device_type type, cl_uint room,
                                 cl_device_id* devices, cl_uint* count) {
  return ENTRY(platform, clGetDeviceIDs)(platform, type, room, devices, count);
}
static cl_context own_clCreateContext(
    const cl_context_properties* properties, cl_uint count, const cl_device_id* devices,
    void(CL_CALLBACK* notify)(const char*, const void*, size_t, void*), void* data, cl_int* error) {
  return ENTRY(devices[0], clCreateContext)(properties, count, devices, notify, data, error);
}
static cl_int own_clReleaseContext(cl_context context) {
  return ENTRY(context, clReleaseContext)(context);
}
static cl_mem own_clCreateBuffer(cl_context context, cl_mem_flags flags, size_t size, void* host,
                                 cl_int* error) {
  return ENTRY(context, clCreateBuffer)(context, flags, size, host, error);
}
static cl_int own_clReleaseMemObject(cl_mem object) {
  return ENTRY(object, clReleaseMemObject)(object);
}

#define CL_CALL(name) own_##name
#include "hold_buffers.h"

#ifndef LINKED_TO_DRIVER
static void find(void* library, const char* name, void* out) {
  void* found = dlsym(library, name);
  if (found == NULL) {
    fprintf(stderr, "dlsym %s: %s\n", name, dlerror());
    exit(kExitUnexpected);
  }
  memcpy(out, &found, sizeof found);
}

#endif

int main(int argc, char** argv) {
#ifdef LINKED_TO_DRIVER
  get_platforms = clIcdGetPlatformIDsKHR;
#else
  const char* path = getenv("TEST_DRIVER");
  if (path == NULL) return kExitUsage;
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return kExitUnexpected;
  }
  if (getenv("TEST_DIRECT") != NULL) {
    find(library, "clIcdGetPlatformIDsKHR", &get_platforms);
  } else {
    address_function address = NULL;
    find(library, "clGetExtensionFunctionAddress", &address);
    void* found = address("clIcdGetPlatformIDsKHR");
    if (found == NULL) return kExitUnexpected;
    memcpy(&get_platforms, &found, sizeof found);
  }
#endif
  return hold_buffers(argc, argv);
}
