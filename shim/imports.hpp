// Memory that others own and OpenCL is only shown: GL and EGL objects, media surfaces, external
// memory handles, ARM's imports. It is charged to nobody here, but counted, so that `chronos
// doctor` can say that there is some. Any thread.
#pragma once

#include <cstdint>

#include "shim/opencl.hpp"

namespace chronos::shim {

// Since this process began (a forked child goes on from its parent's); nothing is taken off when an
// import is released.
struct Imports {
  std::uint64_t objects = 0;
  std::uint64_t bytes = 0;  // as CL_MEM_SIZE said
};
Imports imports();

void note_import(const Table& real, cl_mem object);

// Whether `properties` of clCreateBufferWithProperties or its like hand over an external memory
// handle (cl_khr_external_memory).
namespace detail {
bool names_import(const cl_bitfield* properties);
}
inline bool is_import(const cl_bitfield* properties) {
  return properties != nullptr && detail::names_import(properties);
}

}  // namespace chronos::shim
