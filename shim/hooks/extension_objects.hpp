// Memory objects that extensions make.
#pragma once

#include "shim/extensions.hpp"
#include "shim/hooks/charged.hpp"
#include "shim/hooks/image_estimate.hpp"

namespace chronos::shim {

template <class Door>
struct ExtensionObjectHooks {
  // cl_intel_create_buffer_with_properties
  static cl_mem CL_API_CALL clCreateBufferWithPropertiesINTEL(cl_context context,
                                                              const cl_bitfield* properties,
                                                              cl_mem_flags flags, size_t size,
                                                              void* host_ptr, cl_int* errcode_ret) {
    using Real =
        cl_mem(CL_API_CALL*)(cl_context, const cl_bitfield*, cl_mem_flags, size_t, void*, cl_int*);
    const Table& table = Door::real(context);
    auto real =
        find_extension<Door, Real>(table, context, Extension::clCreateBufferWithPropertiesINTEL);
    if (real == nullptr) return none(errcode_ret);
    return create_buffer(
        table, context, properties, flags, size, host_ptr, errcode_ret,
        [&](cl_int* error) { return real(context, properties, flags, size, host_ptr, error); });
  }

  static cl_mem CL_API_CALL clCreateImageWithPropertiesINTEL(cl_context context,
                                                             const cl_bitfield* properties,
                                                             cl_mem_flags flags,
                                                             const cl_image_format* format,
                                                             const cl_image_desc* desc,
                                                             void* host_ptr, cl_int* errcode_ret) {
    using Real = cl_mem(CL_API_CALL*)(cl_context, const cl_bitfield*, cl_mem_flags,
                                      const cl_image_format*, const cl_image_desc*, void*, cl_int*);
    const Table& table = Door::real(context);
    auto real =
        find_extension<Door, Real>(table, context, Extension::clCreateImageWithPropertiesINTEL);
    if (real == nullptr) return none(errcode_ret);
    const std::uint64_t estimate =
        estimate_image<Door>(table, context, properties, flags, format, desc);
    return create_image(table, context, properties, estimate,
                        desc != nullptr ? desc->mem_object : nullptr, errcode_ret,
                        [&](cl_int* error) {
                          return real(context, properties, flags, format, desc, host_ptr, error);
                        });
  }

  // cl_nv_create_buffer
  static cl_mem CL_API_CALL clCreateBufferNV(cl_context context, cl_mem_flags flags,
                                             cl_bitfield flags_nv, size_t size, void* host_ptr,
                                             cl_int* errcode_ret) {
    using Real =
        cl_mem(CL_API_CALL*)(cl_context, cl_mem_flags, cl_bitfield, size_t, void*, cl_int*);
    const Table& table = Door::real(context);
    auto real = find_extension<Door, Real>(table, context, Extension::clCreateBufferNV);
    if (real == nullptr) return none(errcode_ret);
    return create_buffer(
        table, context, nullptr, flags, size, host_ptr, errcode_ret,
        [&](cl_int* error) { return real(context, flags, flags_nv, size, host_ptr, error); });
  }

 private:
  static cl_mem none(cl_int* errcode_ret) {
    if (errcode_ret != nullptr) *errcode_ret = CL_INVALID_OPERATION;
    return nullptr;
  }
};

}  // namespace chronos::shim
