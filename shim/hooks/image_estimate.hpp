// What to reserve for an image before it is made: what the driver says it will take
// (cl_ext_image_requirements_info), else what its pixels take.
#pragma once

#include "shim/contexts.hpp"
#include "shim/extensions.hpp"
#include "shim/guard.hpp"
#include "shim/hooks/image_size.hpp"

namespace chronos::shim {

template <class Door>
std::uint64_t estimate_image(const Table& table, cl_context context, const cl_bitfield* properties,
                             cl_mem_flags flags, const cl_image_format* format,
                             const cl_image_desc* desc) {
  using Real =
      cl_int(CL_API_CALL*)(cl_context, const cl_bitfield*, cl_mem_flags, const cl_image_format*,
                           const cl_image_desc*, cl_uint, size_t, void*, size_t*);
  constexpr cl_uint kRequiredSize = 0x12B2;  // CL_IMAGE_REQUIREMENTS_SIZE_EXT
  const std::uint64_t pixels = image_size(format, desc);
  if (pixels == 0 || Guard::inside() || context == nullptr ||
      assignment_of(table, context).is_free()) {
    return pixels;
  }
  Guard guard;
  auto real = find_extension<Door, Real>(table, context, Extension::clGetImageRequirementsInfoEXT);
  std::size_t required = 0;
  const bool told = real != nullptr && real(context, properties, flags, format, desc, kRequiredSize,
                                            sizeof required, &required, nullptr) == CL_SUCCESS;
  return told && required != 0 ? std::uint64_t{required} : pixels;
}

}  // namespace chronos::shim
