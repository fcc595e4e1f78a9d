// Rectangular transfers: rows and slices of two pitches, copied row by row.
#include <cstring>

#include "tests/fake_driver/call.hpp"
#include "tests/fake_driver/driver.hpp"
#include "tests/fake_driver/entries.hpp"
#include "tests/fake_driver/memory.hpp"
#include "tests/fake_driver/queue.hpp"

namespace chronos::fake {
namespace {

struct Box {
  std::size_t start = 0;  // offset of the first byte
  std::size_t row_pitch = 0;
  std::size_t slice_pitch = 0;
};

struct Region {
  std::size_t width;
  std::size_t rows;
  std::size_t slices;
};

// Fills `box`; false if origin, region and pitches do not go together.
bool describe(const size_t* origin, const Region& region, size_t row_pitch, size_t slice_pitch,
              Box& box) {
  if (origin == nullptr) return false;
  box.row_pitch = row_pitch != 0 ? row_pitch : region.width;
  box.slice_pitch = slice_pitch != 0 ? slice_pitch : box.row_pitch * region.rows;
  box.start = origin[0] + origin[1] * box.row_pitch + origin[2] * box.slice_pitch;
  return box.row_pitch >= region.width && box.slice_pitch >= box.row_pitch * region.rows;
}

bool inside(const Box& box, const Region& region, const _cl_mem& mem) {
  const std::size_t extent =
      (region.slices - 1) * box.slice_pitch + (region.rows - 1) * box.row_pitch + region.width;
  return within(mem, box.start, extent);
}

bool describe_region(const size_t* sizes, Region& region) {
  if (sizes == nullptr || sizes[0] == 0 || sizes[1] == 0 || sizes[2] == 0) return false;
  region = {sizes[0], sizes[1], sizes[2]};
  return true;
}

void copy(char* to, const Box& to_box, const char* from, const Box& from_box,
          const Region& region) {
  for (std::size_t slice = 0; slice < region.slices; ++slice) {
    for (std::size_t row = 0; row < region.rows; ++row) {
      std::memmove(to + to_box.start + slice * to_box.slice_pitch + row * to_box.row_pitch,
                   from + from_box.start + slice * from_box.slice_pitch + row * from_box.row_pitch,
                   region.width);
    }
  }
}

}  // namespace

cl_int clEnqueueReadBufferRect(cl_command_queue queue, cl_mem mem, cl_bool blocking,
                               const size_t* buffer_origin, const size_t* host_origin,
                               const size_t* sizes, size_t buffer_row, size_t buffer_slice,
                               size_t host_row, size_t host_slice, void* out, cl_uint wait_count,
                               const cl_event* wait_list, cl_event* event) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  const Request request{queue,        CL_COMMAND_READ_BUFFER_RECT, wait_count, wait_list, event,
                        blocking != 0};
  if (const cl_int error = check(request, {mem})) return error;
  if (mem->type != CL_MEM_OBJECT_BUFFER) return CL_INVALID_MEM_OBJECT;
  Region region{};
  Box from;
  Box to;
  if (out == nullptr || !describe_region(sizes, region) ||
      !describe(buffer_origin, region, buffer_row, buffer_slice, from) ||
      !describe(host_origin, region, host_row, host_slice, to) || !inside(from, region, *mem)) {
    return CL_INVALID_VALUE;
  }
  const char* const memory = storage(mem);
  if (memory == nullptr) return CL_MEM_OBJECT_ALLOCATION_FAILURE;
  return submit(request, {mem}, [=] { copy(static_cast<char*>(out), to, memory, from, region); });
}

cl_int clEnqueueWriteBufferRect(cl_command_queue queue, cl_mem mem, cl_bool blocking,
                                const size_t* buffer_origin, const size_t* host_origin,
                                const size_t* sizes, size_t buffer_row, size_t buffer_slice,
                                size_t host_row, size_t host_slice, const void* data,
                                cl_uint wait_count, const cl_event* wait_list, cl_event* event) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  const Request request{queue,        CL_COMMAND_WRITE_BUFFER_RECT, wait_count, wait_list, event,
                        blocking != 0};
  if (const cl_int error = check(request, {mem})) return error;
  if (mem->type != CL_MEM_OBJECT_BUFFER) return CL_INVALID_MEM_OBJECT;
  Region region{};
  Box from;
  Box to;
  if (data == nullptr || !describe_region(sizes, region) ||
      !describe(buffer_origin, region, buffer_row, buffer_slice, to) ||
      !describe(host_origin, region, host_row, host_slice, from) || !inside(to, region, *mem)) {
    return CL_INVALID_VALUE;
  }
  char* const memory = storage(mem);
  if (memory == nullptr) return CL_MEM_OBJECT_ALLOCATION_FAILURE;
  return submit(request, {mem},
                [=] { copy(memory, to, static_cast<const char*>(data), from, region); });
}

cl_int clEnqueueCopyBufferRect(cl_command_queue queue, cl_mem source, cl_mem target,
                               const size_t* source_origin, const size_t* target_origin,
                               const size_t* sizes, size_t source_row, size_t source_slice,
                               size_t target_row, size_t target_slice, cl_uint wait_count,
                               const cl_event* wait_list, cl_event* event) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  const Request request{queue, CL_COMMAND_COPY_BUFFER_RECT, wait_count, wait_list, event};
  if (const cl_int error = check(request, {source, target})) return error;
  if (source->type != CL_MEM_OBJECT_BUFFER || target->type != CL_MEM_OBJECT_BUFFER) {
    return CL_INVALID_MEM_OBJECT;
  }
  Region region{};
  Box from;
  Box to;
  if (!describe_region(sizes, region) ||
      !describe(source_origin, region, source_row, source_slice, from) ||
      !describe(target_origin, region, target_row, target_slice, to) ||
      !inside(from, region, *source) || !inside(to, region, *target)) {
    return CL_INVALID_VALUE;
  }
  const char* const source_memory = storage(source);
  char* const target_memory = storage(target);
  if (source_memory == nullptr || target_memory == nullptr) return CL_MEM_OBJECT_ALLOCATION_FAILURE;
  return submit(request, {source, target},
                [=] { copy(target_memory, to, source_memory, from, region); });
}

}  // namespace chronos::fake
