// Images: made, counted and asked about. They have no commands: nothing reads or writes them but
// through the buffer they may be made from.
#include "tests/fake_driver/image.hpp"

#include <algorithm>
#include <array>

#include "tests/fake_driver/call.hpp"
#include "tests/fake_driver/device_features.hpp"
#include "tests/fake_driver/driver.hpp"
#include "tests/fake_driver/entries.hpp"
#include "tests/fake_driver/info.hpp"
#include "tests/fake_driver/memory.hpp"

namespace chronos::fake {
namespace {

struct Format {
  cl_image_format format;
  std::size_t element_size;
};

constexpr std::array kFormats{
    Format{{CL_R, CL_UNORM_INT8}, 1},     Format{{CL_R, CL_UNSIGNED_INT8}, 1},
    Format{{CL_R, CL_FLOAT}, 4},          Format{{CL_RGBA, CL_UNORM_INT8}, 4},
    Format{{CL_RGBA, CL_SIGNED_INT8}, 4}, Format{{CL_RGBA, CL_UNSIGNED_INT8}, 4},
    Format{{CL_BGRA, CL_UNORM_INT8}, 4},  Format{{CL_RGBA, CL_HALF_FLOAT}, 8},
    Format{{CL_RGBA, CL_FLOAT}, 16},
};

cl_int element_size(const cl_image_format* format, std::size_t* size) {
  if (format == nullptr) return CL_INVALID_IMAGE_FORMAT_DESCRIPTOR;
  for (const Format& known : kFormats) {
    if (known.format.image_channel_order == format->image_channel_order &&
        known.format.image_channel_data_type == format->image_channel_data_type) {
      *size = known.element_size;
      return CL_SUCCESS;
    }
  }
  const bool meaningful = format->image_channel_order >= CL_R &&
                          format->image_channel_order <= CL_ABGR &&
                          format->image_channel_data_type >= CL_SNORM_INT8 &&
                          format->image_channel_data_type <= CL_UNORM_INT_101010_2;
  return meaningful ? CL_IMAGE_FORMAT_NOT_SUPPORTED : CL_INVALID_IMAGE_FORMAT_DESCRIPTOR;
}

bool is_image_type(cl_mem_object_type type) {
  return type >= CL_MEM_OBJECT_IMAGE2D && type <= CL_MEM_OBJECT_IMAGE1D_BUFFER;
}

bool is_array(cl_mem_object_type type) {
  return type == CL_MEM_OBJECT_IMAGE1D_ARRAY || type == CL_MEM_OBJECT_IMAGE2D_ARRAY;
}

bool has_height(cl_mem_object_type type) {
  return type == CL_MEM_OBJECT_IMAGE2D || type == CL_MEM_OBJECT_IMAGE2D_ARRAY ||
         type == CL_MEM_OBJECT_IMAGE3D;
}

// 1 to `most`.
bool in_range(std::size_t value, std::size_t most) { return value - 1 < most; }

cl_int check_extents(const cl_image_desc& wanted) {
  const bool deep = wanted.image_type == CL_MEM_OBJECT_IMAGE3D;
  const std::size_t side = deep ? kMaxImage3dSide : kMaxImageSide;
  const bool of_buffer = wanted.image_type == CL_MEM_OBJECT_IMAGE1D_BUFFER;
  const bool good =
      in_range(wanted.image_width, of_buffer ? kMaxImageBufferPixels : side) &&
      (!has_height(wanted.image_type) || in_range(wanted.image_height, side)) &&
      (!deep || in_range(wanted.image_depth, side)) &&
      (!is_array(wanted.image_type) || in_range(wanted.image_array_size, kMaxImageArray));
  return good ? CL_SUCCESS : CL_INVALID_IMAGE_SIZE;
}

// Pitches as the caller gave them, else without gaps: PoCL's layout, and so its sizes.
cl_int lay_out(const cl_image_desc& wanted, bool may_give_pitch, ImageShape* shape) {
  const std::size_t row = wanted.image_width * shape->element_size;
  if ((wanted.image_row_pitch != 0 || wanted.image_slice_pitch != 0) && !may_give_pitch) {
    return CL_INVALID_IMAGE_DESCRIPTOR;
  }
  shape->width = wanted.image_width;
  shape->row_pitch = wanted.image_row_pitch != 0 ? wanted.image_row_pitch : row;
  if (shape->row_pitch < row || shape->row_pitch % shape->element_size != 0) {
    return CL_INVALID_IMAGE_DESCRIPTOR;
  }
  if (has_height(wanted.image_type)) shape->height = wanted.image_height;
  if (wanted.image_type == CL_MEM_OBJECT_IMAGE3D) shape->depth = wanted.image_depth;
  if (is_array(wanted.image_type)) shape->array_size = wanted.image_array_size;
  if (shape->depth == 0 && shape->array_size == 0) return CL_SUCCESS;
  const std::size_t slice = shape->row_pitch * std::max<std::size_t>(shape->height, 1);
  shape->slice_pitch = wanted.image_slice_pitch != 0 ? wanted.image_slice_pitch : slice;
  if (shape->slice_pitch < slice || shape->slice_pitch % shape->row_pitch != 0) {
    return CL_INVALID_IMAGE_DESCRIPTOR;
  }
  return CL_SUCCESS;
}

std::size_t bytes_of(const ImageShape& shape) {
  const std::size_t slices = std::max(shape.depth, shape.array_size);
  if (slices != 0) return shape.slice_pitch * slices;
  return shape.row_pitch * std::max<std::size_t>(shape.height, 1);
}

// What an image may be made from: a 1D image of a buffer must have one; a 2D image may be made from
// a buffer or from another 2D image (OpenCL 3.0, 5.3.1.2).
cl_int check_origin(const _cl_context& context, const cl_image_desc& wanted,
                    const ImageShape& shape) {
  const cl_mem from = wanted.mem_object;
  const bool needs_buffer = wanted.image_type == CL_MEM_OBJECT_IMAGE1D_BUFFER;
  if (from == nullptr) return needs_buffer ? CL_INVALID_IMAGE_DESCRIPTOR : CL_SUCCESS;
  if (!valid(from) || (!needs_buffer && wanted.image_type != CL_MEM_OBJECT_IMAGE2D)) {
    return CL_INVALID_IMAGE_DESCRIPTOR;
  }
  if (from->context != &context) return CL_INVALID_CONTEXT;
  if (from->type == CL_MEM_OBJECT_BUFFER) {
    return bytes_of(shape) <= from->size ? CL_SUCCESS : CL_INVALID_IMAGE_SIZE;
  }
  if (needs_buffer || from->type != CL_MEM_OBJECT_IMAGE2D) return CL_INVALID_IMAGE_DESCRIPTOR;
  if (from->image.element_size != shape.element_size) return CL_INVALID_IMAGE_FORMAT_DESCRIPTOR;
  const bool same = from->image.width == shape.width && from->image.height == shape.height;
  return same ? CL_SUCCESS : CL_INVALID_IMAGE_DESCRIPTOR;
}

cl_int check_image(const NewMem& wanted, const cl_image_format* format, const cl_image_desc* desc,
                   ImageShape* shape) {
  if (!valid(wanted.context)) return CL_INVALID_CONTEXT;
  if (!good_flags(wanted.flags)) return CL_INVALID_VALUE;
  if (wanted.properties != nullptr && *wanted.properties != 0 &&
      !has_external_handle(wanted.properties)) {
    return CL_INVALID_PROPERTY;
  }
  if (const cl_int error = element_size(format, &shape->element_size)) return error;
  if (desc == nullptr || !is_image_type(desc->image_type) || desc->num_mip_levels != 0 ||
      desc->num_samples != 0) {
    return CL_INVALID_IMAGE_DESCRIPTOR;
  }
  if (const cl_int error = check_extents(*desc)) return error;
  const bool may_give_pitch = wanted.host_ptr != nullptr || desc->mem_object != nullptr;
  if (const cl_int error = lay_out(*desc, may_give_pitch, shape)) return error;
  shape->format = *format;
  if (const cl_int error = check_origin(*wanted.context, *desc, *shape)) return error;
  const bool wants_host_ptr = (wanted.flags & (CL_MEM_USE_HOST_PTR | CL_MEM_COPY_HOST_PTR)) != 0;
  if (wants_host_ptr != (wanted.host_ptr != nullptr)) return CL_INVALID_HOST_PTR;
  if (desc->mem_object != nullptr && wants_host_ptr) return CL_INVALID_VALUE;
  return CL_SUCCESS;
}

cl_mem make_image(NewMem wanted, const cl_image_format* format, const cl_image_desc* desc,
                  cl_int* errcode_ret) {
  ImageShape shape;
  if (const cl_int error = check_image(wanted, format, desc, &shape)) {
    return refuse<cl_mem>(errcode_ret, error);
  }
  wanted.size = bytes_of(shape);
  if (desc->mem_object == nullptr) wanted.size += driver()->config.image_padding_bytes;
  cl_mem mem = nullptr;
  if (desc->mem_object != nullptr) {
    mem = give(make_view(desc->mem_object, wanted.flags, 0, wanted.size), errcode_ret, CL_SUCCESS);
    mem->properties = copy_properties(wanted.properties);
  } else if (has_external_handle(wanted.properties)) {
    mem = give(make_import(wanted), errcode_ret, CL_SUCCESS);
  } else if (!fits_some_device(*wanted.context, wanted.size)) {
    return refuse<cl_mem>(errcode_ret, CL_MEM_OBJECT_ALLOCATION_FAILURE);
  } else {
    mem = make_mem(wanted, errcode_ret);
  }
  if (mem == nullptr) return nullptr;
  mem->type = desc->image_type;
  mem->image = shape;
  return mem;
}

}  // namespace

cl_int image_bytes(const NewMem& wanted, const cl_image_format* format, const cl_image_desc* desc,
                   std::size_t* bytes) {
  ImageShape shape;
  if (const cl_int error = check_image(wanted, format, desc, &shape)) return error;
  *bytes = bytes_of(shape) + driver()->config.image_padding_bytes;
  return CL_SUCCESS;
}

cl_mem clCreateImage(cl_context context, cl_mem_flags flags, const cl_image_format* format,
                     const cl_image_desc* desc, void* host_ptr, cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_mem>(errcode_ret, error);
  return make_image({context, flags, 0, host_ptr, nullptr}, format, desc, errcode_ret);
}

cl_mem clCreateImageWithProperties(cl_context context, const cl_mem_properties* properties,
                                   cl_mem_flags flags, const cl_image_format* format,
                                   const cl_image_desc* desc, void* host_ptr, cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_mem>(errcode_ret, error);
  return make_image({context, flags, 0, host_ptr, properties}, format, desc, errcode_ret);
}

cl_mem clCreateImage2D(cl_context context, cl_mem_flags flags, const cl_image_format* format,
                       size_t width, size_t height, size_t row_pitch, void* host_ptr,
                       cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_mem>(errcode_ret, error);
  cl_image_desc desc = {};
  desc.image_type = CL_MEM_OBJECT_IMAGE2D;
  desc.image_width = width;
  desc.image_height = height;
  desc.image_row_pitch = row_pitch;
  return make_image({context, flags, 0, host_ptr, nullptr}, format, &desc, errcode_ret);
}

cl_mem clCreateImage3D(cl_context context, cl_mem_flags flags, const cl_image_format* format,
                       size_t width, size_t height, size_t depth, size_t row_pitch,
                       size_t slice_pitch, void* host_ptr, cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_mem>(errcode_ret, error);
  cl_image_desc desc = {};
  desc.image_type = CL_MEM_OBJECT_IMAGE3D;
  desc.image_width = width;
  desc.image_height = height;
  desc.image_depth = depth;
  desc.image_row_pitch = row_pitch;
  desc.image_slice_pitch = slice_pitch;
  return make_image({context, flags, 0, host_ptr, nullptr}, format, &desc, errcode_ret);
}

cl_int clGetImageInfo(cl_mem image, cl_image_info name, size_t capacity, void* out,
                      size_t* needed) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(image) || !is_image_type(image->type)) return CL_INVALID_MEM_OBJECT;
  const Answer answer(capacity, out, needed);
  const ImageShape& shape = image->image;
  switch (name) {
    case CL_IMAGE_FORMAT:
      return answer.value(shape.format);
    case CL_IMAGE_ELEMENT_SIZE:
      return answer.value(shape.element_size);
    case CL_IMAGE_ROW_PITCH:
      return answer.value(shape.row_pitch);
    case CL_IMAGE_SLICE_PITCH:
      return answer.value(shape.slice_pitch);
    case CL_IMAGE_WIDTH:
      return answer.value(shape.width);
    case CL_IMAGE_HEIGHT:
      return answer.value(shape.height);
    case CL_IMAGE_DEPTH:
      return answer.value(shape.depth);
    case CL_IMAGE_ARRAY_SIZE:
      return answer.value(shape.array_size);
    case CL_IMAGE_BUFFER: {
      const cl_mem from = image->parent;
      const bool is_buffer = from != nullptr && from->type == CL_MEM_OBJECT_BUFFER;
      return answer.value(is_buffer ? from : nullptr);
    }
    case CL_IMAGE_NUM_MIP_LEVELS:
    case CL_IMAGE_NUM_SAMPLES:
      return answer.value<cl_uint>(0);
    default:
      return CL_INVALID_VALUE;
  }
}

cl_int clGetSupportedImageFormats(cl_context context, cl_mem_flags flags, cl_mem_object_type type,
                                  cl_uint capacity, cl_image_format* out, cl_uint* count) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(context)) return CL_INVALID_CONTEXT;
  // CL_MEM_KERNEL_READ_AND_WRITE is known to this query alone.
  if (!good_flags(flags & ~cl_mem_flags{CL_MEM_KERNEL_READ_AND_WRITE}) || !is_image_type(type) ||
      (capacity == 0 && out != nullptr)) {
    return CL_INVALID_VALUE;
  }
  if (count != nullptr) *count = static_cast<cl_uint>(kFormats.size());
  for (std::size_t i = 0; out != nullptr && i < kFormats.size() && i < capacity; ++i) {
    out[i] = kFormats[i].format;
  }
  return CL_SUCCESS;
}

}  // namespace chronos::fake
