// Where a buffer's bytes are.
#pragma once

#include "tests/fake_driver/objects.hpp"

namespace chronos::fake {

// The host memory behind `mem`, made at the first use so that a buffer nobody touches costs
// nothing. NULL if there is none to be had.
char* storage(cl_mem mem);

// Whether [offset, offset + size) lies within `mem`.
inline bool within(const _cl_mem& mem, std::size_t offset, std::size_t size) {
  return offset <= mem.size && size <= mem.size - offset;
}

}  // namespace chronos::fake
