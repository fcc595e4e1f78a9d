// How much memory an image takes at least, before the driver has made it. What the driver says
// afterwards (CL_MEM_SIZE) is what counts.
#pragma once

#include <cstdint>

#include "shim/opencl.hpp"

namespace chronos::shim {

// Bytes of one element (OpenCL 3.0 section 5.3.1.1); 16, the largest there is, if unknown.
std::uint64_t element_size(const cl_image_format& format);

// 0 if there is nothing to charge: no description, or an image of another object's memory.
std::uint64_t image_size(const cl_image_format* format, const cl_image_desc* desc);

// a * b, or the largest number there is.
constexpr std::uint64_t saturating_product(std::uint64_t a, std::uint64_t b) {
  return b != 0 && a > ~std::uint64_t{0} / b ? ~std::uint64_t{0} : a * b;
}

}  // namespace chronos::shim
