// The limits of images, pipes, SVM and USM, which are the same on every device, and the queries
// that tell them.
#pragma once

#include <CL/cl.h>

#include <cstddef>

#include "tests/fake_driver/info.hpp"

namespace chronos::fake {

inline constexpr std::size_t kMaxImageSide = 32768;
inline constexpr std::size_t kMaxImage3dSide = 16384;
inline constexpr std::size_t kMaxImageArray = 2048;
inline constexpr std::size_t kMaxImageBufferPixels = std::size_t{1} << 28;
inline constexpr cl_uint kMaxPacketSize = 1024;

// CL_INVALID_VALUE to what is not a query of these.
cl_int feature_info(cl_device_info name, const Answer& answer);

}  // namespace chronos::fake
