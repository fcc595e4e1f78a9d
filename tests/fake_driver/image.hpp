// What an image would take.
#pragma once

#include "tests/fake_driver/memory.hpp"

namespace chronos::fake {

// The bytes of an image of its own memory as it is `wanted`, or the error of the call that makes
// it.
cl_int image_bytes(const NewMem& wanted, const cl_image_format* format, const cl_image_desc* desc,
                   std::size_t* bytes);

}  // namespace chronos::fake
