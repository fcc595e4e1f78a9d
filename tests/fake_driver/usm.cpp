// Intel's extensions, which programs reach through clGetExtensionFunctionAddress only:
// cl_intel_unified_shared_memory (allocating, freeing, asking) and
// cl_intel_create_buffer_with_properties.
#include <algorithm>

#include "tests/fake_driver/call.hpp"
#include "tests/fake_driver/driver.hpp"
#include "tests/fake_driver/entries.hpp"
#include "tests/fake_driver/info.hpp"
#include "tests/fake_driver/memory.hpp"
#include "tests/fake_driver/pointers.hpp"
#include "tests/fake_driver/queue.hpp"

namespace chronos::fake {
namespace {

constexpr cl_uint kLargestAlignment = 4096;

struct Wanted {
  cl_context context;
  cl_device_id device;
  const cl_mem_properties_intel* properties;
  std::size_t size;
  cl_uint alignment;
};

cl_int read_properties(const cl_mem_properties_intel* properties, cl_mem_alloc_flags_intel* flags) {
  if (properties == nullptr) return CL_SUCCESS;
  constexpr cl_mem_alloc_flags_intel kKnown = CL_MEM_ALLOC_WRITE_COMBINED_INTEL |
                                              CL_MEM_ALLOC_INITIAL_PLACEMENT_DEVICE_INTEL |
                                              CL_MEM_ALLOC_INITIAL_PLACEMENT_HOST_INTEL;
  for (; *properties != 0; properties += 2) {
    if (properties[0] != CL_MEM_ALLOC_FLAGS_INTEL || (properties[1] & ~kKnown) != 0) {
      return CL_INVALID_PROPERTY;
    }
    *flags = properties[1];
  }
  return CL_SUCCESS;
}

bool has_device(const _cl_context& context, cl_device_id device) {
  const auto& devices = context.devices;
  return std::find(devices.begin(), devices.end(), device) != devices.end();
}

// Host memory is counted on no device; device memory on its own; shared memory that names no
// device on all of the context, since it may come to lie on any.
void* allocate_usm(cl_unified_shared_memory_type_intel type, const Wanted& wanted,
                   cl_int* errcode_ret) {
  if (!valid(wanted.context)) return refuse<void*>(errcode_ret, CL_INVALID_CONTEXT);
  const bool needs_device = type == CL_MEM_TYPE_DEVICE_INTEL;
  if ((needs_device || wanted.device != nullptr) && !has_device(*wanted.context, wanted.device)) {
    return refuse<void*>(errcode_ret, CL_INVALID_DEVICE);
  }
  if ((wanted.alignment & (wanted.alignment - 1)) != 0 || wanted.alignment > kLargestAlignment) {
    return refuse<void*>(errcode_ret, CL_INVALID_VALUE);
  }
  Allocation made;
  if (const cl_int error = read_properties(wanted.properties, &made.flags)) {
    return refuse<void*>(errcode_ret, error);
  }
  const bool fitting = wanted.device != nullptr ? fits(*wanted.device, wanted.size)
                                                : fits_some_device(*wanted.context, wanted.size);
  if (wanted.size == 0 || !fitting) return refuse<void*>(errcode_ret, CL_INVALID_BUFFER_SIZE);
  made.family = Family::kUsm;
  made.context = wanted.context;
  made.size = wanted.size;
  made.type = type;
  made.device = wanted.device;
  if (wanted.device != nullptr) {
    made.counted_on = {wanted.device->index};
  } else if (type != CL_MEM_TYPE_HOST_INTEL) {
    made.counted_on = wanted.context->charged;
  }
  void* const pointer = allocate(std::move(made));
  return give(pointer, errcode_ret, pointer != nullptr ? CL_SUCCESS : CL_OUT_OF_RESOURCES);
}

cl_int free_usm(cl_context context, const void* pointer) {
  if (pointer == nullptr || free_allocation(Family::kUsm, context, pointer)) return CL_SUCCESS;
  return CL_INVALID_VALUE;
}

}  // namespace

void* clHostMemAllocINTEL(cl_context context, const cl_mem_properties_intel* properties,
                          size_t size, cl_uint alignment, cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<void*>(errcode_ret, error);
  return allocate_usm(CL_MEM_TYPE_HOST_INTEL, {context, nullptr, properties, size, alignment},
                      errcode_ret);
}

void* clDeviceMemAllocINTEL(cl_context context, cl_device_id device,
                            const cl_mem_properties_intel* properties, size_t size,
                            cl_uint alignment, cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<void*>(errcode_ret, error);
  return allocate_usm(CL_MEM_TYPE_DEVICE_INTEL, {context, device, properties, size, alignment},
                      errcode_ret);
}

void* clSharedMemAllocINTEL(cl_context context, cl_device_id device,
                            const cl_mem_properties_intel* properties, size_t size,
                            cl_uint alignment, cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<void*>(errcode_ret, error);
  return allocate_usm(CL_MEM_TYPE_SHARED_INTEL, {context, device, properties, size, alignment},
                      errcode_ret);
}

cl_int clMemFreeINTEL(cl_context context, void* pointer) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(context)) return CL_INVALID_CONTEXT;
  return free_usm(context, pointer);
}

// Waits for all commands, of which any may use the memory.
cl_int clMemBlockingFreeINTEL(cl_context context, void* pointer) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(context)) return CL_INVALID_CONTEXT;
  finish_all(context);
  return free_usm(context, pointer);
}

cl_int clGetMemAllocInfoINTEL(cl_context context, const void* pointer, cl_mem_info_intel name,
                              size_t capacity, void* out, size_t* needed) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(context)) return CL_INVALID_CONTEXT;
  const Answer answer(capacity, out, needed);
  // Of memory that is none of ours all values are 0.
  const Allocation found = find_allocation(Family::kUsm, context, pointer).value_or(Allocation{});
  switch (name) {
    case CL_MEM_ALLOC_TYPE_INTEL:
      return answer.value(found.type);
    case CL_MEM_ALLOC_BASE_PTR_INTEL:
      return answer.value<void*>(found.base);
    case CL_MEM_ALLOC_SIZE_INTEL:
      return answer.value(found.size);
    case CL_MEM_ALLOC_DEVICE_INTEL:
      return answer.value(found.device);
    case CL_MEM_ALLOC_FLAGS_INTEL:
      return answer.value(found.flags);
    default:
      return CL_INVALID_VALUE;
  }
}

cl_mem clCreateBufferWithPropertiesINTEL(cl_context context,
                                         const cl_mem_properties_intel* properties,
                                         cl_mem_flags flags, size_t size, void* host_ptr,
                                         cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_mem>(errcode_ret, error);
  cl_mem_alloc_flags_intel placement = 0;
  if (valid(context) && !has_external_handle(properties)) {
    if (const cl_int error = read_properties(properties, &placement)) {
      return refuse<cl_mem>(errcode_ret, error);
    }
  }
  return make_buffer({context, flags, size, host_ptr, properties}, errcode_ret);
}

}  // namespace chronos::fake
