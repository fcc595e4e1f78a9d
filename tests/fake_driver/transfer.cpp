#include <algorithm>
#include <cstring>

#include "tests/fake_driver/call.hpp"
#include "tests/fake_driver/driver.hpp"
#include "tests/fake_driver/entries.hpp"
#include "tests/fake_driver/memory.hpp"
#include "tests/fake_driver/queue.hpp"

namespace chronos::fake {
namespace {

// Memory is looked for when a command is enqueued, since its failure can be reported only then.
cl_int locate(const Request& request, cl_mem mem, std::size_t offset, std::size_t size,
              char** where) {
  if (const cl_int error = check(request, {mem})) return error;
  if (mem->type != CL_MEM_OBJECT_BUFFER) return CL_INVALID_MEM_OBJECT;
  if (size == 0 || !within(*mem, offset, size)) return CL_INVALID_VALUE;
  char* const memory = storage(mem);
  if (memory == nullptr) return CL_MEM_OBJECT_ALLOCATION_FAILURE;
  *where = memory + offset;
  return CL_SUCCESS;
}

}  // namespace

cl_int clEnqueueReadBuffer(cl_command_queue queue, cl_mem mem, cl_bool blocking, size_t offset,
                           size_t size, void* out, cl_uint wait_count, const cl_event* wait_list,
                           cl_event* event) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  const Request request{queue, CL_COMMAND_READ_BUFFER, wait_count, wait_list, event, blocking != 0};
  char* memory = nullptr;
  if (const cl_int error = locate(request, mem, offset, size, &memory)) return error;
  if (out == nullptr) return CL_INVALID_VALUE;
  if ((mem->flags & (CL_MEM_HOST_WRITE_ONLY | CL_MEM_HOST_NO_ACCESS)) != 0) {
    return CL_INVALID_OPERATION;
  }
  return submit(request, {mem}, [=] { std::memcpy(out, memory, size); });
}

cl_int clEnqueueWriteBuffer(cl_command_queue queue, cl_mem mem, cl_bool blocking, size_t offset,
                            size_t size, const void* from, cl_uint wait_count,
                            const cl_event* wait_list, cl_event* event) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  const Request request{queue,        CL_COMMAND_WRITE_BUFFER, wait_count, wait_list, event,
                        blocking != 0};
  char* memory = nullptr;
  if (const cl_int error = locate(request, mem, offset, size, &memory)) return error;
  if (from == nullptr) return CL_INVALID_VALUE;
  if ((mem->flags & (CL_MEM_HOST_READ_ONLY | CL_MEM_HOST_NO_ACCESS)) != 0) {
    return CL_INVALID_OPERATION;
  }
  return submit(request, {mem}, [=] { std::memcpy(memory, from, size); });
}

cl_int clEnqueueCopyBuffer(cl_command_queue queue, cl_mem from, cl_mem to, size_t from_offset,
                           size_t to_offset, size_t size, cl_uint wait_count,
                           const cl_event* wait_list, cl_event* event) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  const Request request{queue, CL_COMMAND_COPY_BUFFER, wait_count, wait_list, event};
  char* source = nullptr;
  char* target = nullptr;
  if (const cl_int error = locate(request, from, from_offset, size, &source)) return error;
  if (const cl_int error = locate(request, to, to_offset, size, &target)) return error;
  if (source < target + size && target < source + size) return CL_MEM_COPY_OVERLAP;
  return submit(request, {from, to}, [=] { std::memcpy(target, source, size); });
}

cl_int clEnqueueFillBuffer(cl_command_queue queue, cl_mem mem, const void* pattern,
                           size_t pattern_size, size_t offset, size_t size, cl_uint wait_count,
                           const cl_event* wait_list, cl_event* event) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  const Request request{queue, CL_COMMAND_FILL_BUFFER, wait_count, wait_list, event};
  char* memory = nullptr;
  if (const cl_int error = locate(request, mem, offset, size, &memory)) return error;
  const bool power_of_two = pattern_size != 0 && (pattern_size & (pattern_size - 1)) == 0;
  if (pattern == nullptr || !power_of_two || pattern_size > 128 || offset % pattern_size != 0 ||
      size % pattern_size != 0) {
    return CL_INVALID_VALUE;
  }
  const auto* const bytes = static_cast<const char*>(pattern);
  const std::vector<char> copy(bytes, bytes + pattern_size);
  return submit(request, {mem}, [=] {
    for (std::size_t at = 0; at < size; at += copy.size()) {
      std::memcpy(memory + at, copy.data(), copy.size());
    }
  });
}

void* clEnqueueMapBuffer(cl_command_queue queue, cl_mem mem, cl_bool blocking, cl_map_flags flags,
                         size_t offset, size_t size, cl_uint wait_count, const cl_event* wait_list,
                         cl_event* event, cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<void*>(errcode_ret, error);
  const Request request{queue, CL_COMMAND_MAP_BUFFER, wait_count, wait_list, event, blocking != 0};
  char* memory = nullptr;
  if (const cl_int error = locate(request, mem, offset, size, &memory)) {
    return refuse<void*>(errcode_ret, error);
  }
  constexpr cl_map_flags kKnown = CL_MAP_READ | CL_MAP_WRITE | CL_MAP_WRITE_INVALIDATE_REGION;
  if ((flags & ~kKnown) != 0) return refuse<void*>(errcode_ret, CL_INVALID_VALUE);
  if (const cl_int error = submit(request, {mem}, {})) return refuse<void*>(errcode_ret, error);
  mem->map_count.fetch_add(1);
  return give<void*>(memory, errcode_ret, CL_SUCCESS);
}

cl_int clEnqueueUnmapMemObject(cl_command_queue queue, cl_mem mem, void* mapped, cl_uint wait_count,
                               const cl_event* wait_list, cl_event* event) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  const Request request{queue, CL_COMMAND_UNMAP_MEM_OBJECT, wait_count, wait_list, event};
  if (const cl_int error = check(request, {mem})) return error;
  char* const memory = storage(mem);
  auto* const place = static_cast<char*>(mapped);
  if (memory == nullptr || place < memory || place >= memory + mem->size) return CL_INVALID_VALUE;
  cl_uint maps = mem->map_count.load();
  do {
    if (maps == 0) return CL_INVALID_VALUE;
  } while (!mem->map_count.compare_exchange_weak(maps, maps - 1));
  return submit(request, {mem}, {});
}

cl_int clEnqueueMigrateMemObjects(cl_command_queue queue, cl_uint count, const cl_mem* mems,
                                  cl_mem_migration_flags flags, cl_uint wait_count,
                                  const cl_event* wait_list, cl_event* event) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  constexpr cl_mem_migration_flags kKnown =
      CL_MIGRATE_MEM_OBJECT_HOST | CL_MIGRATE_MEM_OBJECT_CONTENT_UNDEFINED;
  if (count == 0 || mems == nullptr || (flags & ~kKnown) != 0) return CL_INVALID_VALUE;
  return submit({queue, CL_COMMAND_MIGRATE_MEM_OBJECTS, wait_count, wait_list, event},
                {mems, mems + count}, {});
}

}  // namespace chronos::fake
