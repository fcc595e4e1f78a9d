/* A user's own OpenCL layer: writes a line to TEST_LAYER_LOG for each buffer that is made. */
#include <CL/cl.h>
#include <CL/cl_icd.h>
#include <CL/cl_layer.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static cl_icd_dispatch table;
static const cl_icd_dispatch* next;

static cl_mem CL_API_CALL counted_create(cl_context context, cl_mem_flags flags, size_t size,
                                         void* host, cl_int* error) {
  const char* path = getenv("TEST_LAYER_LOG");
  int file = path != NULL ? open(path, O_WRONLY | O_CREAT | O_APPEND, 0644) : -1;
  if (file >= 0) {
    if (write(file, "clCreateBuffer\n", 15) != 15) abort();
    close(file);
  }
  return next->clCreateBuffer(context, flags, size, host, error);
}

CL_API_ENTRY cl_int CL_API_CALL clGetLayerInfo(cl_layer_info what, size_t size, void* value,
                                               size_t* size_ret) {
  static const char name[] = "Counting";
  static const cl_layer_api_version version = CL_LAYER_API_VERSION_100;
  const void* answer = what == CL_LAYER_API_VERSION ? (const void*)&version : (const void*)name;
  const size_t length = what == CL_LAYER_API_VERSION ? sizeof version : sizeof name;
  if (value != NULL) {
    if (size < length) return CL_INVALID_VALUE;
    memcpy(value, answer, length);
  }
  if (size_ret != NULL) *size_ret = length;
  return CL_SUCCESS;
}

CL_API_ENTRY cl_int CL_API_CALL clInitLayer(cl_uint count, const cl_icd_dispatch* target,
                                            cl_uint* count_ret, const cl_icd_dispatch** table_ret) {
  const cl_uint known = sizeof table / sizeof(void*);
  const cl_uint shared = count < known ? count : known;
  memcpy((void*)&table, (const void*)target, shared * sizeof(void*));
  next = target;
  table.clCreateBuffer = counted_create;
  *count_ret = shared;
  *table_ret = &table;
  return CL_SUCCESS;
}
