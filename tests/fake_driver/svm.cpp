// Shared virtual memory: the core calls, and those of cl_arm_shared_virtual_memory, which differ in
// name only. Coarse and fine-grained buffers; no atomics, no system allocations.
#include <cstring>

#include "tests/fake_driver/call.hpp"
#include "tests/fake_driver/driver.hpp"
#include "tests/fake_driver/entries.hpp"
#include "tests/fake_driver/memory.hpp"
#include "tests/fake_driver/pointers.hpp"
#include "tests/fake_driver/queue.hpp"

namespace chronos::fake {
namespace {

using FreeCallback = void(CL_CALLBACK*)(cl_command_queue, cl_uint, void**, void*);

constexpr std::size_t kLargestType = 128;  // long16, the largest alignment and pattern

bool power_of_two(std::size_t value) { return value != 0 && (value & (value - 1)) == 0; }

bool good_svm_flags(cl_svm_mem_flags flags) {
  constexpr cl_svm_mem_flags kAccess = CL_MEM_READ_WRITE | CL_MEM_READ_ONLY | CL_MEM_WRITE_ONLY;
  const cl_svm_mem_flags access = flags & kAccess;
  return (flags & ~(kAccess | CL_MEM_SVM_FINE_GRAIN_BUFFER)) == 0 && (access & (access - 1)) == 0;
}

void* allocate_svm(cl_context context, cl_svm_mem_flags flags, std::size_t size,
                   cl_uint alignment) {
  if (!valid(context) || !good_svm_flags(flags) || size == 0 || !fits_some_device(*context, size) ||
      (alignment != 0 && (!power_of_two(alignment) || alignment > kLargestType))) {
    return nullptr;
  }
  Allocation wanted;
  wanted.context = context;
  wanted.size = size;
  wanted.counted_on = context->charged;
  return allocate(std::move(wanted));
}

// With a callback the driver frees nothing itself (OpenCL 3.0, 5.6.1).
cl_int enqueue_free(const Request& request, cl_uint count, void* const* pointers,
                    FreeCallback notify, void* user_data) {
  if (!valid(request.queue)) return CL_INVALID_COMMAND_QUEUE;
  if ((count == 0) != (pointers == nullptr)) return CL_INVALID_VALUE;
  // The caller may use its list anew at once.
  std::vector<void*> list;
  if (count != 0) list.assign(pointers, pointers + count);
  cl_command_queue const queue = request.queue;
  return submit(request, {}, [=]() mutable {
    if (notify != nullptr) {
      notify(queue, count, list.data(), user_data);
      return;
    }
    for (void* pointer : list) free_allocation(Family::kSvm, queue->context, pointer);
  });
}

}  // namespace

void* clSVMAlloc(cl_context context, cl_svm_mem_flags flags, size_t size, cl_uint alignment) {
  static CallSite site(__func__);
  if (site.enter() != CL_SUCCESS) return nullptr;
  return allocate_svm(context, flags, size, alignment);
}

void* clSVMAllocARM(cl_context context, cl_svm_mem_flags_arm flags, size_t size,
                    cl_uint alignment) {
  static CallSite site(__func__);
  if (site.enter() != CL_SUCCESS) return nullptr;
  return allocate_svm(context, flags, size, alignment);
}

void clSVMFree(cl_context context, void* pointer) {
  static CallSite site(__func__);
  if (site.enter() != CL_SUCCESS) return;
  free_allocation(Family::kSvm, context, pointer);
}

void clSVMFreeARM(cl_context context, void* pointer) {
  static CallSite site(__func__);
  if (site.enter() != CL_SUCCESS) return;
  free_allocation(Family::kSvm, context, pointer);
}

cl_int clEnqueueSVMFree(cl_command_queue queue, cl_uint count, void* pointers[],
                        FreeCallback notify, void* user_data, cl_uint wait_count,
                        const cl_event* wait_list, cl_event* event) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  return enqueue_free({queue, CL_COMMAND_SVM_FREE, wait_count, wait_list, event}, count, pointers,
                      notify, user_data);
}

cl_int clEnqueueSVMFreeARM(cl_command_queue queue, cl_uint count, void* pointers[],
                           FreeCallback notify, void* user_data, cl_uint wait_count,
                           const cl_event* wait_list, cl_event* event) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  return enqueue_free({queue, CL_COMMAND_SVM_FREE_ARM, wait_count, wait_list, event}, count,
                      pointers, notify, user_data);
}

cl_int clEnqueueSVMMap(cl_command_queue queue, cl_bool blocking, cl_map_flags flags, void* pointer,
                       size_t size, cl_uint wait_count, const cl_event* wait_list,
                       cl_event* event) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(queue)) return CL_INVALID_COMMAND_QUEUE;
  constexpr cl_map_flags kKnown = CL_MAP_READ | CL_MAP_WRITE | CL_MAP_WRITE_INVALIDATE_REGION;
  if (pointer == nullptr || size == 0 || (flags & ~kKnown) != 0) return CL_INVALID_VALUE;
  return submit({queue, CL_COMMAND_SVM_MAP, wait_count, wait_list, event, blocking != 0}, {}, {});
}

cl_int clEnqueueSVMUnmap(cl_command_queue queue, void* pointer, cl_uint wait_count,
                         const cl_event* wait_list, cl_event* event) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(queue)) return CL_INVALID_COMMAND_QUEUE;
  if (pointer == nullptr) return CL_INVALID_VALUE;
  return submit({queue, CL_COMMAND_SVM_UNMAP, wait_count, wait_list, event}, {}, {});
}

cl_int clEnqueueSVMMemcpy(cl_command_queue queue, cl_bool blocking, void* to, const void* from,
                          size_t size, cl_uint wait_count, const cl_event* wait_list,
                          cl_event* event) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(queue)) return CL_INVALID_COMMAND_QUEUE;
  if (to == nullptr || from == nullptr) return CL_INVALID_VALUE;
  auto* const target = static_cast<char*>(to);
  const auto* const source = static_cast<const char*>(from);
  if (source < target + size && target < source + size) return CL_MEM_COPY_OVERLAP;
  return submit({queue, CL_COMMAND_SVM_MEMCPY, wait_count, wait_list, event, blocking != 0}, {},
                [=] { std::memcpy(target, source, size); });
}

cl_int clEnqueueSVMMemFill(cl_command_queue queue, void* pointer, const void* pattern,
                           size_t pattern_size, size_t size, cl_uint wait_count,
                           const cl_event* wait_list, cl_event* event) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(queue)) return CL_INVALID_COMMAND_QUEUE;
  if (pointer == nullptr || pattern == nullptr || !power_of_two(pattern_size) ||
      pattern_size > kLargestType || size % pattern_size != 0 ||
      reinterpret_cast<std::uintptr_t>(pointer) % pattern_size != 0) {
    return CL_INVALID_VALUE;
  }
  const auto* const bytes = static_cast<const char*>(pattern);
  const std::vector<char> copy(bytes, bytes + pattern_size);
  auto* const target = static_cast<char*>(pointer);
  return submit({queue, CL_COMMAND_SVM_MEMFILL, wait_count, wait_list, event}, {}, [=] {
    for (std::size_t at = 0; at < size; at += copy.size()) {
      std::memcpy(target + at, copy.data(), copy.size());
    }
  });
}

}  // namespace chronos::fake
