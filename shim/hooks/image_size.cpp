#include "shim/hooks/image_size.hpp"

#include <algorithm>

namespace chronos::shim {
namespace {

unsigned channels_of(cl_channel_order order) {
  switch (order) {
    case CL_R:
    case CL_A:
    case CL_INTENSITY:
    case CL_LUMINANCE:
    case CL_DEPTH:
      return 1;
    case CL_RG:
    case CL_RA:
    case CL_Rx:
      return 2;
    case CL_RGB:
    case CL_RGx:
    case CL_sRGB:
      return 3;
    default:
      return 4;
  }
}

}  // namespace

std::uint64_t element_size(const cl_image_format& format) {
  const std::uint64_t channels = channels_of(format.image_channel_order);
  switch (format.image_channel_data_type) {
    case CL_SNORM_INT8:
    case CL_UNORM_INT8:
    case CL_SIGNED_INT8:
    case CL_UNSIGNED_INT8:
      return channels;
    case CL_SNORM_INT16:
    case CL_UNORM_INT16:
    case CL_SIGNED_INT16:
    case CL_UNSIGNED_INT16:
    case CL_HALF_FLOAT:
      return 2 * channels;
    case CL_SIGNED_INT32:
    case CL_UNSIGNED_INT32:
    case CL_FLOAT:
      return 4 * channels;
    case CL_UNORM_SHORT_565:
    case CL_UNORM_SHORT_555:
      return 2;
    case CL_UNORM_INT_101010:
      return 4;
    default:
      return 16;
  }
}

std::uint64_t image_size(const cl_image_format* format, const cl_image_desc* desc) {
  if (format == nullptr || desc == nullptr || desc->mem_object != nullptr) return 0;
  auto at_least_one = [](std::size_t n) { return std::max<std::uint64_t>(n, 1); };
  std::uint64_t size = saturating_product(element_size(*format), desc->image_width);
  switch (desc->image_type) {
    case CL_MEM_OBJECT_IMAGE1D:
    case CL_MEM_OBJECT_IMAGE1D_BUFFER:
      return size;
    case CL_MEM_OBJECT_IMAGE1D_ARRAY:
      return saturating_product(size, at_least_one(desc->image_array_size));
    case CL_MEM_OBJECT_IMAGE2D_ARRAY:
      size = saturating_product(size, at_least_one(desc->image_height));
      return saturating_product(size, at_least_one(desc->image_array_size));
    case CL_MEM_OBJECT_IMAGE3D:
      size = saturating_product(size, at_least_one(desc->image_height));
      return saturating_product(size, at_least_one(desc->image_depth));
    default:
      return saturating_product(size, at_least_one(desc->image_height));
  }
}

}  // namespace chronos::shim
