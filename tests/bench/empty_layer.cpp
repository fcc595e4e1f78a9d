// An OpenCL layer that does nothing but hand on the calls that Chronos hooks: what the layer
// interface itself costs. With BENCH_CALLBACK it also registers a destructor callback for each
// buffer, which is what the driver takes for telling when memory is free.
#include <algorithm>
#include <cstring>

#include "shim/opencl.hpp"

namespace {

using chronos::shim::Table;

Table target;
Table own;

cl_mem CL_API_CALL create_buffer(cl_context context, cl_mem_flags flags, size_t size, void* host,
                                 cl_int* error) {
  cl_mem buffer = target.clCreateBuffer(context, flags, size, host, error);
#ifdef BENCH_CALLBACK
  if (buffer != nullptr) {
    target.clSetMemObjectDestructorCallback(
        buffer, [](cl_mem, void*) {}, nullptr);
  }
#endif
  return buffer;
}
cl_int CL_API_CALL release(cl_mem object) { return target.clReleaseMemObject(object); }
cl_int CL_API_CALL set_callback(cl_mem object, void(CL_CALLBACK* notify)(cl_mem, void*),
                                void* data) {
  return target.clSetMemObjectDestructorCallback(object, notify, data);
}

cl_int init(cl_uint count, const Table* next, cl_uint* count_ret, const Table** table_ret) {
  const std::size_t size =
      std::min<std::size_t>(count, chronos::shim::kTableEntries) * sizeof(void*);
  std::memcpy(static_cast<void*>(&target), static_cast<const void*>(next), size);
  own = target;
  own.clCreateBuffer = create_buffer;
  own.clReleaseMemObject = release;
  own.clSetMemObjectDestructorCallback = set_callback;
  *count_ret = std::min(count, chronos::shim::kTableEntries);
  *table_ret = &own;
  return CL_SUCCESS;
}

}  // namespace

#define BENCH_EXPORT extern "C" __attribute__((visibility("default")))

BENCH_EXPORT cl_int CL_API_CALL clGetLayerInfo(cl_uint what, size_t size, void* value,
                                               size_t* size_ret) {
  constexpr cl_uint kLayerApiVersion = 0x4240;
  constexpr cl_uint kVersion100 = 100;
  if (what != kLayerApiVersion || (value != nullptr && size < sizeof kVersion100)) {
    return CL_INVALID_VALUE;
  }
  if (value != nullptr) std::memcpy(value, &kVersion100, sizeof kVersion100);
  if (size_ret != nullptr) *size_ret = sizeof kVersion100;
  return CL_SUCCESS;
}

BENCH_EXPORT cl_int CL_API_CALL clInitLayer(cl_uint count, const Table* next, cl_uint* count_ret,
                                            const Table** table_ret) {
  return init(count, next, count_ret, table_ret);
}

BENCH_EXPORT cl_int CL_API_CALL clInitLayerWithProperties(cl_uint count, const Table* next,
                                                          cl_uint* count_ret,
                                                          const Table** table_ret,
                                                          const intptr_t* /*properties*/) {
  return init(count, next, count_ret, table_ret);
}
