// What all memory objects share: how they come to be, how they are counted, where their bytes are.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/fake_driver/objects.hpp"

namespace chronos::fake {

// The host memory behind `mem`, made at the first use so that a buffer nobody touches costs
// nothing. NULL if there is none to be had.
char* storage(cl_mem mem);

bool good_flags(cl_mem_flags flags);
bool fits(const _cl_device_id& device, std::size_t size);
bool fits_some_device(const _cl_context& context, std::size_t size);

// Records `bytes` with the witness on all of `devices`, or on none and answers false.
bool count(const std::vector<std::uint32_t>& devices, std::uint64_t bytes);
// Takes back what count() recorded when the witness was at `generation`.
void uncount(const std::vector<std::uint32_t>& devices, std::uint64_t bytes,
             std::uint32_t generation);

struct NewMem {
  cl_context context;
  cl_mem_flags flags;
  std::size_t size;
  void* host_ptr;
  const cl_mem_properties* properties;
};

// A memory object of checked arguments with memory of its own, counted. NULL after reporting.
cl_mem make_mem(const NewMem& wanted, cl_int* errcode_ret);
// One that shares the memory of `parent`, from `origin` on.
cl_mem make_view(cl_mem parent, cl_mem_flags flags, std::size_t origin, std::size_t size);
// One of memory that somebody else owns: not counted.
cl_mem make_import(const NewMem& wanted);
// Whether external memory is handed over (cl_khr_external_memory).
bool has_external_handle(const cl_mem_properties* properties);
// What all calls that make buffers do.
cl_mem make_buffer(const NewMem& wanted, cl_int* errcode_ret);

// Whether [offset, offset + size) lies within `mem`.
inline bool within(const _cl_mem& mem, std::size_t offset, std::size_t size) {
  return offset <= mem.size && size <= mem.size - offset;
}

}  // namespace chronos::fake
