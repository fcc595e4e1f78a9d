#include "tests/fake_driver/memory.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "tests/fake_driver/call.hpp"
#include "tests/fake_driver/driver.hpp"
#include "tests/fake_driver/entries.hpp"
#include "tests/fake_driver/info.hpp"
#include "tests/fake_driver/pointers.hpp"

namespace chronos::fake {
namespace {

constexpr cl_mem_flags kAccess = CL_MEM_READ_WRITE | CL_MEM_READ_ONLY | CL_MEM_WRITE_ONLY;
constexpr cl_mem_flags kHostAccess =
    CL_MEM_HOST_READ_ONLY | CL_MEM_HOST_WRITE_ONLY | CL_MEM_HOST_NO_ACCESS;
constexpr cl_mem_flags kHostPtr =
    CL_MEM_USE_HOST_PTR | CL_MEM_ALLOC_HOST_PTR | CL_MEM_COPY_HOST_PTR;

bool at_most_one(cl_mem_flags flags) { return (flags & (flags - 1)) == 0; }

void destroy(cl_mem mem) {
  // As in PoCL and Intel's driver, the memory is gone before the callbacks tell of it.
  if (mem->parent == nullptr) {
    if (char* memory = mem->storage.load()) munmap(memory, mem->size);
    if (!mem->over_svm && !mem->imported)
      uncount(mem->context->charged, mem->size, mem->generation);
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

}  // namespace

bool good_flags(cl_mem_flags flags) {
  return (flags & ~(kAccess | kHostAccess | kHostPtr)) == 0 && at_most_one(flags & kAccess) &&
         at_most_one(flags & kHostAccess) &&
         ((flags & CL_MEM_USE_HOST_PTR) == 0 ||
          (flags & (CL_MEM_ALLOC_HOST_PTR | CL_MEM_COPY_HOST_PTR)) == 0);
}

bool fits(const _cl_device_id& device, std::size_t size) {
  const DeviceConfig& config = *device.config;
  return size <= (config.max_alloc_bytes != 0 ? config.max_alloc_bytes : config.memory_bytes);
}

bool fits_some_device(const _cl_context& context, std::size_t size) {
  return std::any_of(context.devices.begin(), context.devices.end(),
                     [&](cl_device_id device) { return fits(*device, size); });
}

bool count(const std::vector<std::uint32_t>& devices, std::uint64_t bytes) {
  Driver& self = *driver();
  for (std::size_t i = 0; i < devices.size(); ++i) {
    const std::uint32_t device = devices[i];
    const std::uint64_t cap =
        self.config.enforce_device_memory ? self.config.devices[device].memory_bytes : UINT64_MAX;
    if (self.witness.add(device, bytes, cap)) continue;
    while (i-- > 0) self.witness.remove(devices[i], bytes);
    return false;
  }
  return true;
}

void uncount(const std::vector<std::uint32_t>& devices, std::uint64_t bytes,
             std::uint32_t generation) {
  Witness& witness = driver()->witness;
  // What was inherited through fork is held by the parent, which will free it itself.
  if (generation != witness.generation()) return;
  for (const std::uint32_t device : devices) witness.remove(device, bytes);
}

cl_mem make_mem(const NewMem& wanted, cl_int* errcode_ret) {
  const std::uint32_t generation = driver()->witness.generation();
  const bool over_svm = (wanted.flags & CL_MEM_USE_HOST_PTR) != 0 &&
                        is_svm(wanted.context, wanted.host_ptr, wanted.size);
  if (!over_svm && !count(wanted.context->charged, wanted.size)) {
    return refuse<cl_mem>(errcode_ret, CL_MEM_OBJECT_ALLOCATION_FAILURE);
  }
  auto* const mem = new _cl_mem;
  mem->context = retain(wanted.context);
  mem->flags = (wanted.flags & kAccess) != 0 ? wanted.flags : wanted.flags | CL_MEM_READ_WRITE;
  mem->size = wanted.size;
  mem->host_ptr = wanted.host_ptr;
  mem->over_svm = over_svm;
  mem->generation = generation;
  mem->properties = copy_properties(wanted.properties);
  const bool copies = (wanted.flags & CL_MEM_COPY_HOST_PTR) != 0;
  if (copies || driver()->config.back_memory) {
    char* const memory = storage(mem);
    if (memory == nullptr) {
      destroy(mem);
      return refuse<cl_mem>(errcode_ret, CL_OUT_OF_HOST_MEMORY);
    }
    if (copies) {
      std::memcpy(memory, wanted.host_ptr, wanted.size);
    } else if ((wanted.flags & CL_MEM_USE_HOST_PTR) == 0) {
      std::memset(memory, 0, wanted.size);  // makes it resident
    }
  }
  return give(mem, errcode_ret, CL_SUCCESS);
}

cl_mem make_view(cl_mem parent, cl_mem_flags flags, std::size_t origin, std::size_t size) {
  auto* const mem = new _cl_mem;
  mem->context = retain(parent->context);
  mem->parent = retain(parent);
  mem->flags = flags | (parent->flags & kHostPtr);
  if ((flags & kAccess) == 0) mem->flags |= parent->flags & kAccess;
  if ((flags & kHostAccess) == 0) mem->flags |= parent->flags & kHostAccess;
  mem->size = size;
  mem->origin = origin;
  mem->over_svm = parent->over_svm;
  if (parent->host_ptr != nullptr) mem->host_ptr = static_cast<char*>(parent->host_ptr) + origin;
  return mem;
}

cl_mem make_import(const NewMem& wanted) {
  auto* const mem = new _cl_mem;
  mem->context = retain(wanted.context);
  mem->flags = wanted.flags;
  mem->size = wanted.size;
  mem->imported = true;
  return mem;
}

// Handles for one device only, after a list of devices, are known too.
bool has_external_handle(const cl_mem_properties* properties) {
  constexpr cl_mem_properties kDeviceList = 0x2051;
  if (properties != nullptr && *properties == kDeviceList) {
    while (*properties != 0) ++properties;
    ++properties;
  }
  return properties != nullptr && *properties >= CL_EXTERNAL_MEMORY_HANDLE_OPAQUE_FD_KHR &&
         *properties <= CL_EXTERNAL_MEMORY_HANDLE_DMA_BUF_KHR;
}

cl_mem make_buffer(const NewMem& wanted, cl_int* errcode_ret) {
  if (const cl_int error =
          check_buffer(wanted.context, wanted.flags, wanted.size, wanted.host_ptr)) {
    return refuse<cl_mem>(errcode_ret, error);
  }
  if (has_external_handle(wanted.properties)) {
    return give(make_import(wanted), errcode_ret, CL_SUCCESS);
  }
  return make_mem(wanted, errcode_ret);
}

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
  return make_buffer({context, flags, size, host_ptr, nullptr}, errcode_ret);
}

cl_mem clCreateBufferWithProperties(cl_context context, const cl_mem_properties* properties,
                                    cl_mem_flags flags, size_t size, void* host_ptr,
                                    cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_mem>(errcode_ret, error);
  // No property is defined for buffers without an extension (OpenCL 3.0, 5.2.1).
  if (properties != nullptr && *properties != 0 && !has_external_handle(properties) &&
      check_buffer(context, flags, size, host_ptr) == CL_SUCCESS) {
    return refuse<cl_mem>(errcode_ret, CL_INVALID_PROPERTY);
  }
  return make_buffer({context, flags, size, host_ptr, properties}, errcode_ret);
}

cl_mem clCreateSubBuffer(cl_mem buffer, cl_mem_flags flags, cl_buffer_create_type type,
                         const void* info, cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_mem>(errcode_ret, error);
  if (!valid(buffer) || buffer->type != CL_MEM_OBJECT_BUFFER || buffer->parent != nullptr) {
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
  return give(make_view(buffer, flags, region.origin, region.size), errcode_ret, CL_SUCCESS);
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
      return answer.value(mem->type);
    case CL_MEM_FLAGS:
      return answer.value(mem->flags);
    case CL_MEM_SIZE:
      return answer.value(mem->size);
    case CL_MEM_HOST_PTR:
      return answer.value((mem->flags & CL_MEM_USE_HOST_PTR) != 0 ? mem->host_ptr : nullptr);
    case CL_MEM_MAP_COUNT:
      return answer.value(mem->map_count.load());
    case CL_MEM_REFERENCE_COUNT:
      return answer.value(driver()->config.stale_reference_counts ? cl_uint{1}
                                                                  : mem->references.load());
    case CL_MEM_CONTEXT:
      return answer.value(mem->context);
    case CL_MEM_ASSOCIATED_MEMOBJECT:
      return answer.value(mem->parent);
    case CL_MEM_OFFSET:
      return answer.value(mem->origin);
    case CL_MEM_USES_SVM_POINTER:
      return answer.value<cl_bool>(mem->over_svm);
    case CL_MEM_PROPERTIES:
      return answer.list(mem->properties);
    default:
      return CL_INVALID_VALUE;
  }
}

}  // namespace chronos::fake
