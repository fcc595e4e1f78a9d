// Buffers, images, pipes, and the lives of all of them.
#pragma once

#include "shim/hooks/charged.hpp"
#include "shim/hooks/image_estimate.hpp"

namespace chronos::shim {

template <class Door>
struct MemoryObjectHooks {
  static cl_mem CL_API_CALL clCreateBuffer(cl_context context, cl_mem_flags flags, size_t size,
                                           void* host_ptr, cl_int* errcode_ret) {
    const Table& real = Door::real(context);
    return create_buffer(
        real, context, nullptr, flags, size, host_ptr, errcode_ret,
        [&](cl_int* error) { return real.clCreateBuffer(context, flags, size, host_ptr, error); });
  }

  static cl_mem CL_API_CALL clCreateBufferWithProperties(cl_context context,
                                                         const cl_mem_properties* properties,
                                                         cl_mem_flags flags, size_t size,
                                                         void* host_ptr, cl_int* errcode_ret) {
    const Table& real = Door::real(context);
    return create_buffer(real, context, properties, flags, size, host_ptr, errcode_ret,
                         [&](cl_int* error) {
                           return real.clCreateBufferWithProperties(context, properties, flags,
                                                                    size, host_ptr, error);
                         });
  }

  static cl_mem CL_API_CALL clCreateSubBuffer(cl_mem buffer, cl_mem_flags flags,
                                              cl_buffer_create_type type, const void* info,
                                              cl_int* errcode_ret) {
    const Table& real = Door::real(buffer);
    if (!counting() || Guard::inside()) {
      return real.clCreateSubBuffer(buffer, flags, type, info, errcode_ret);
    }
    Guard guard;
    cl_mem part = real.clCreateSubBuffer(buffer, flags, type, info, errcode_ret);
    if (part != nullptr) follow_child(part, buffer);
    return part;
  }

  static cl_int CL_API_CALL clRetainMemObject(cl_mem object) {
    const Table& real = Door::real(object);
    if (!counting() || Guard::inside()) return real.clRetainMemObject(object);
    Guard guard;
    const cl_int status = real.clRetainMemObject(object);
    if (status == CL_SUCCESS) note_retain(object);
    return status;
  }

  static cl_int CL_API_CALL clReleaseMemObject(cl_mem object) {
    if (!counting() || Guard::inside()) return Door::real(object).clReleaseMemObject(object);
    Guard guard;
    const Table& real = Door::real(object);
    const Released released = note_release(object);
    CHRONOS_POINT(shim_release_counted);
    const bool later = follow_commands(real, object, released);
    const cl_int status = real.clReleaseMemObject(object);
    CHRONOS_POINT(shim_object_released);
    if (!later) give_back(released.receipt);
    return status;
  }

  static cl_int CL_API_CALL clSetMemObjectDestructorCallback(
      cl_mem object, void(CL_CALLBACK* notify)(cl_mem, void*), void* user_data) {
    const Table& real = Door::real(object);
    if (Guard::inside()) return real.clSetMemObjectDestructorCallback(object, notify, user_data);
    return set_program_callback(real, object, notify, user_data);
  }

  static cl_mem CL_API_CALL clCreateImage(cl_context context, cl_mem_flags flags,
                                          const cl_image_format* format, const cl_image_desc* desc,
                                          void* host_ptr, cl_int* errcode_ret) {
    const Table& real = Door::real(context);
    const std::uint64_t estimate =
        estimate_image<Door>(real, context, nullptr, flags, format, desc);
    return create_image(real, context, nullptr, estimate, parent_of(desc), errcode_ret,
                        [&](cl_int* error) {
                          return real.clCreateImage(context, flags, format, desc, host_ptr, error);
                        });
  }

  static cl_mem CL_API_CALL clCreateImageWithProperties(cl_context context,
                                                        const cl_mem_properties* properties,
                                                        cl_mem_flags flags,
                                                        const cl_image_format* format,
                                                        const cl_image_desc* desc, void* host_ptr,
                                                        cl_int* errcode_ret) {
    const Table& real = Door::real(context);
    const std::uint64_t estimate =
        estimate_image<Door>(real, context, properties, flags, format, desc);
    return create_image(real, context, properties, estimate, parent_of(desc), errcode_ret,
                        [&](cl_int* error) {
                          return real.clCreateImageWithProperties(context, properties, flags,
                                                                  format, desc, host_ptr, error);
                        });
  }

  static cl_mem CL_API_CALL clCreateImage2D(cl_context context, cl_mem_flags flags,
                                            const cl_image_format* format, size_t width,
                                            size_t height, size_t row_pitch, void* host_ptr,
                                            cl_int* errcode_ret) {
    const Table& real = Door::real(context);
    const cl_image_desc desc = description(CL_MEM_OBJECT_IMAGE2D, width, height, 0);
    const std::uint64_t estimate =
        estimate_image<Door>(real, context, nullptr, flags, format, &desc);
    return create_image(real, context, nullptr, estimate, nullptr, errcode_ret, [&](cl_int* error) {
      return real.clCreateImage2D(context, flags, format, width, height, row_pitch, host_ptr,
                                  error);
    });
  }

  static cl_mem CL_API_CALL clCreateImage3D(cl_context context, cl_mem_flags flags,
                                            const cl_image_format* format, size_t width,
                                            size_t height, size_t depth, size_t row_pitch,
                                            size_t slice_pitch, void* host_ptr,
                                            cl_int* errcode_ret) {
    const Table& real = Door::real(context);
    const cl_image_desc desc = description(CL_MEM_OBJECT_IMAGE3D, width, height, depth);
    const std::uint64_t estimate =
        estimate_image<Door>(real, context, nullptr, flags, format, &desc);
    return create_image(real, context, nullptr, estimate, nullptr, errcode_ret, [&](cl_int* error) {
      return real.clCreateImage3D(context, flags, format, width, height, depth, row_pitch,
                                  slice_pitch, host_ptr, error);
    });
  }

  static cl_mem CL_API_CALL clCreatePipe(cl_context context, cl_mem_flags flags,
                                         cl_uint packet_size, cl_uint max_packets,
                                         const cl_pipe_properties* properties,
                                         cl_int* errcode_ret) {
    const Table& real = Door::real(context);
    const std::uint64_t size = saturating_product(packet_size, max_packets);
    return create_charged(real, context, size, errcode_ret, [&](cl_int* error) {
      return real.clCreatePipe(context, flags, packet_size, max_packets, properties, error);
    });
  }

 private:
  static cl_mem parent_of(const cl_image_desc* desc) {
    return desc != nullptr ? desc->mem_object : nullptr;
  }
  static cl_image_desc description(cl_mem_object_type type, size_t width, size_t height,
                                   size_t depth) {
    cl_image_desc desc{};
    desc.image_type = type;
    desc.image_width = width;
    desc.image_height = height;
    desc.image_depth = depth;
    return desc;
  }
};

}  // namespace chronos::shim
