#include "tests/fake_driver/call.hpp"
#include "tests/fake_driver/device_features.hpp"
#include "tests/fake_driver/driver.hpp"
#include "tests/fake_driver/entries.hpp"
#include "tests/fake_driver/info.hpp"
#include "tests/fake_driver/memory.hpp"

namespace chronos::fake {

cl_mem clCreatePipe(cl_context context, cl_mem_flags flags, cl_uint packet_size,
                    cl_uint max_packets, const cl_pipe_properties* properties,
                    cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_mem>(errcode_ret, error);
  if (!valid(context)) return refuse<cl_mem>(errcode_ret, CL_INVALID_CONTEXT);
  constexpr cl_mem_flags kKnown = CL_MEM_READ_WRITE | CL_MEM_HOST_NO_ACCESS;
  if ((flags & ~kKnown) != 0 || properties != nullptr) {
    return refuse<cl_mem>(errcode_ret, CL_INVALID_VALUE);
  }
  if (packet_size == 0 || packet_size > kMaxPacketSize || max_packets == 0) {
    return refuse<cl_mem>(errcode_ret, CL_INVALID_PIPE_SIZE);
  }
  const std::size_t size = std::size_t{packet_size} * max_packets;
  if (!fits_some_device(*context, size)) {
    return refuse<cl_mem>(errcode_ret, CL_MEM_OBJECT_ALLOCATION_FAILURE);
  }
  if (flags == 0) flags = kKnown;  // OpenCL 3.0, 5.4.1
  cl_mem const mem = make_mem({context, flags, size, nullptr, nullptr}, errcode_ret);
  if (mem == nullptr) return nullptr;
  mem->type = CL_MEM_OBJECT_PIPE;
  mem->pipe = {packet_size, max_packets};
  return mem;
}

cl_int clGetPipeInfo(cl_mem pipe, cl_pipe_info name, size_t capacity, void* out, size_t* needed) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(pipe) || pipe->type != CL_MEM_OBJECT_PIPE) return CL_INVALID_MEM_OBJECT;
  const Answer answer(capacity, out, needed);
  switch (name) {
    case CL_PIPE_PACKET_SIZE:
      return answer.value(pipe->pipe.packet_size);
    case CL_PIPE_MAX_PACKETS:
      return answer.value(pipe->pipe.max_packets);
    case CL_PIPE_PROPERTIES:
      return answer.bytes(nullptr, 0);
    default:
      return CL_INVALID_VALUE;
  }
}

}  // namespace chronos::fake
