#include "tests/fake_driver/memory.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "tests/fake_driver/call.hpp"
#include "tests/fake_driver/driver.hpp"
#include "tests/fake_driver/entries.hpp"
#include "tests/fake_driver/info.hpp"

namespace chronos::fake {
namespace {

constexpr cl_mem_flags kAccess = CL_MEM_READ_WRITE | CL_MEM_READ_ONLY | CL_MEM_WRITE_ONLY;
constexpr cl_mem_flags kHostAccess =
    CL_MEM_HOST_READ_ONLY | CL_MEM_HOST_WRITE_ONLY | CL_MEM_HOST_NO_ACCESS;
constexpr cl_mem_flags kHostPtr =
    CL_MEM_USE_HOST_PTR | CL_MEM_ALLOC_HOST_PTR | CL_MEM_COPY_HOST_PTR;

bool at_most_one(cl_mem_flags flags) { return (flags & (flags - 1)) == 0; }

bool good_flags(cl_mem_flags flags) {
  return (flags & ~(kAccess | kHostAccess | kHostPtr)) == 0 && at_most_one(flags & kAccess) &&
         at_most_one(flags & kHostAccess) &&
         ((flags & CL_MEM_USE_HOST_PTR) == 0 ||
          (flags & (CL_MEM_ALLOC_HOST_PTR | CL_MEM_COPY_HOST_PTR)) == 0);
}

bool fits_some_device(const _cl_context& context, std::size_t size) {
  return std::any_of(context.devices.begin(), context.devices.end(), [&](cl_device_id device) {
    const DeviceConfig& config = *device->config;
    return size <= (config.max_alloc_bytes != 0 ? config.max_alloc_bytes : config.memory_bytes);
  });
}

// Records the buffer with the witness, on every device of its context or on none.
bool charge(const _cl_context& context, std::size_t size) {
  Driver& self = *driver();
  for (std::size_t i = 0; i < context.charged.size(); ++i) {
    const std::uint32_t device = context.charged[i];
    const std::uint64_t cap =
        self.config.enforce_device_memory ? self.config.devices[device].memory_bytes : UINT64_MAX;
    if (self.witness.add(device, size, cap)) continue;
    while (i-- > 0) self.witness.remove(context.charged[i], size);
    return false;
  }
  return true;
}

void uncharge(const _cl_mem& mem) {
  Witness& witness = driver()->witness;
  // A buffer inherited through fork is held by the parent, which will free it itself.
  if (mem.generation != witness.generation()) return;
  for (const std::uint32_t device : mem.context->charged) witness.remove(device, mem.size);
}

void destroy(cl_mem mem) {
  // As in PoCL and Intel's driver, the memory is gone before the callbacks tell of it.
  if (mem->parent == nullptr) {
    if (char* memory = mem->storage.load()) munmap(memory, mem->size);
    uncharge(*mem);
  }
  for (auto last = mem->callbacks.rbegin(); last != mem->callbacks.rend(); ++last) {
    last->first(mem, last->second);
  }
  cl_mem parent = mem->parent;
  cl_context context = mem->context;
  delete mem;
  if (parent != nullptr) release(parent);
  release(context);
}

cl_int check_buffer(const _cl_context* context, cl_mem_flags flags, std::size_t size,
                    const void* host_ptr) {
  if (!valid(context)) return CL_INVALID_CONTEXT;
  if (!good_flags(flags)) return CL_INVALID_VALUE;
  if (size == 0 || !fits_some_device(*context, size)) return CL_INVALID_BUFFER_SIZE;
  const bool wants_host_ptr = (flags & (CL_MEM_USE_HOST_PTR | CL_MEM_COPY_HOST_PTR)) != 0;
  if (wants_host_ptr != (host_ptr != nullptr)) return CL_INVALID_HOST_PTR;
  return CL_SUCCESS;
}

cl_mem create(cl_context context, const cl_mem_properties* properties, cl_mem_flags flags,
              std::size_t size, void* host_ptr, cl_int* errcode_ret) {
  if (const cl_int error = check_buffer(context, flags, size, host_ptr)) {
    return refuse<cl_mem>(errcode_ret, error);
  }
  // No property is defined for buffers without an extension (OpenCL 3.0, 5.2.1).
  if (properties != nullptr && *properties != 0) {
    return refuse<cl_mem>(errcode_ret, CL_INVALID_PROPERTY);
  }
  const std::uint32_t generation = driver()->witness.generation();
  if (!charge(*context, size)) {
    return refuse<cl_mem>(errcode_ret, CL_MEM_OBJECT_ALLOCATION_FAILURE);
  }
  auto* const mem = new _cl_mem;
  mem->context = retain(context);
  mem->flags = (flags & kAccess) != 0 ? flags : flags | CL_MEM_READ_WRITE;
  mem->size = size;
  mem->host_ptr = host_ptr;
  mem->generation = generation;
  mem->properties = copy_properties(properties);
  const bool copies = (flags & CL_MEM_COPY_HOST_PTR) != 0;
  if (copies || driver()->config.back_memory) {
    char* const memory = storage(mem);
    if (memory == nullptr) {
      destroy(mem);
      return refuse<cl_mem>(errcode_ret, CL_OUT_OF_HOST_MEMORY);
    }
    if (copies) {
      std::memcpy(memory, host_ptr, size);
    } else if ((flags & CL_MEM_USE_HOST_PTR) == 0) {
      std::memset(memory, 0, size);  // makes it resident
    }
  }
  return give(mem, errcode_ret, CL_SUCCESS);
}

}  // namespace

void release(cl_mem mem) {
  if (drop(mem)) destroy(mem);
}

char* storage(cl_mem mem) {
  if (mem->parent != nullptr) {
    char* const memory = storage(mem->parent);
    return memory != nullptr ? memory + mem->origin : nullptr;
  }
  if ((mem->flags & CL_MEM_USE_HOST_PTR) != 0) return static_cast<char*>(mem->host_ptr);
  char* current = mem->storage.load(std::memory_order_acquire);
  if (current != nullptr) return current;
  void* fresh = mmap(nullptr, mem->size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (fresh == MAP_FAILED) return nullptr;
  if (mem->storage.compare_exchange_strong(current, static_cast<char*>(fresh))) {
    return static_cast<char*>(fresh);
  }
  munmap(fresh, mem->size);
  return current;
}

cl_mem clCreateBuffer(cl_context context, cl_mem_flags flags, size_t size, void* host_ptr,
                      cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_mem>(errcode_ret, error);
  return create(context, nullptr, flags, size, host_ptr, errcode_ret);
}

cl_mem clCreateBufferWithProperties(cl_context context, const cl_mem_properties* properties,
                                    cl_mem_flags flags, size_t size, void* host_ptr,
                                    cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_mem>(errcode_ret, error);
  return create(context, properties, flags, size, host_ptr, errcode_ret);
}

cl_mem clCreateSubBuffer(cl_mem buffer, cl_mem_flags flags, cl_buffer_create_type type,
                         const void* info, cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_mem>(errcode_ret, error);
  if (!valid(buffer) || buffer->parent != nullptr) {
    return refuse<cl_mem>(errcode_ret, CL_INVALID_MEM_OBJECT);
  }
  if (!good_flags(flags) || (flags & kHostPtr) != 0 || type != CL_BUFFER_CREATE_TYPE_REGION ||
      info == nullptr) {
    return refuse<cl_mem>(errcode_ret, CL_INVALID_VALUE);
  }
  const auto& region = *static_cast<const cl_buffer_region*>(info);
  if (region.size == 0) return refuse<cl_mem>(errcode_ret, CL_INVALID_BUFFER_SIZE);
  if (!within(*buffer, region.origin, region.size)) {
    return refuse<cl_mem>(errcode_ret, CL_INVALID_VALUE);
  }
  if (region.origin % 128 != 0) {  // CL_DEVICE_MEM_BASE_ADDR_ALIGN is 1024 bits
    return refuse<cl_mem>(errcode_ret, CL_MISALIGNED_SUB_BUFFER_OFFSET);
  }
  auto* const mem = new _cl_mem;
  mem->context = retain(buffer->context);
  mem->parent = retain(buffer);
  mem->flags = flags | (buffer->flags & kHostPtr);
  if ((flags & kAccess) == 0) mem->flags |= buffer->flags & kAccess;
  if ((flags & kHostAccess) == 0) mem->flags |= buffer->flags & kHostAccess;
  mem->size = region.size;
  mem->origin = region.origin;
  if (buffer->host_ptr != nullptr)
    mem->host_ptr = static_cast<char*>(buffer->host_ptr) + region.origin;
  return give(mem, errcode_ret, CL_SUCCESS);
}

cl_int clRetainMemObject(cl_mem mem) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(mem)) return CL_INVALID_MEM_OBJECT;
  retain(mem);
  return CL_SUCCESS;
}

cl_int clReleaseMemObject(cl_mem mem) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(mem)) return CL_INVALID_MEM_OBJECT;
  release(mem);
  return CL_SUCCESS;
}

cl_int clSetMemObjectDestructorCallback(cl_mem mem, void(CL_CALLBACK* notify)(cl_mem, void*),
                                        void* user_data) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(mem)) return CL_INVALID_MEM_OBJECT;
  if (notify == nullptr) return CL_INVALID_VALUE;
  const std::lock_guard<std::mutex> guard(mem->mutex);
  mem->callbacks.emplace_back(notify, user_data);
  return CL_SUCCESS;
}

cl_int clGetMemObjectInfo(cl_mem mem, cl_mem_info name, size_t capacity, void* out,
                          size_t* needed) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(mem)) return CL_INVALID_MEM_OBJECT;
  const Answer answer(capacity, out, needed);
  switch (name) {
    case CL_MEM_TYPE:
      return answer.value<cl_mem_object_type>(CL_MEM_OBJECT_BUFFER);
    case CL_MEM_FLAGS:
      return answer.value(mem->flags);
    case CL_MEM_SIZE:
      return answer.value(mem->size);
    case CL_MEM_HOST_PTR:
      return answer.value((mem->flags & CL_MEM_USE_HOST_PTR) != 0 ? mem->host_ptr : nullptr);
    case CL_MEM_MAP_COUNT:
      return answer.value(mem->map_count.load());
    case CL_MEM_REFERENCE_COUNT:
      return answer.value(mem->references.load());
    case CL_MEM_CONTEXT:
      return answer.value(mem->context);
    case CL_MEM_ASSOCIATED_MEMOBJECT:
      return answer.value(mem->parent);
    case CL_MEM_OFFSET:
      return answer.value(mem->origin);
    case CL_MEM_USES_SVM_POINTER:
      return answer.value<cl_bool>(CL_FALSE);
    case CL_MEM_PROPERTIES:
      return answer.list(mem->properties);
    default:
      return CL_INVALID_VALUE;
  }
}

cl_int clGetSupportedImageFormats(cl_context context, cl_mem_flags, cl_mem_object_type, cl_uint,
                                  cl_image_format*, cl_uint* count) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(context)) return CL_INVALID_CONTEXT;
  if (count != nullptr) *count = 0;
  return CL_SUCCESS;
}

}  // namespace chronos::fake
