// Memory that programs know by address, in the core and in extensions: shared virtual memory (also
// ARM's, AMD's and Khronos's own extension) and Intel's unified shared memory.
#pragma once

#include "shim/extensions.hpp"
#include "shim/hooks/charged.hpp"

namespace chronos::shim {

using SvmFreeNotify = void(CL_CALLBACK*)(cl_command_queue, cl_uint, void**, void*);

template <class Door>
struct AddressHooks {
  static void* CL_API_CALL clSVMAlloc(cl_context context, cl_svm_mem_flags flags, size_t size,
                                      cl_uint alignment) {
    const Table& real = Door::real(context);
    return allocate_charged(
        real, context, nullptr, size, nullptr,
        [&] { return real.clSVMAlloc(context, flags, size, alignment); },
        [&](void* address) {
          if (real.clSVMFree != nullptr) real.clSVMFree(context, address);
        });
  }

  static void CL_API_CALL clSVMFree(cl_context context, void* address) {
    free_charged(address, [&] {
      Door::real(context).clSVMFree(context, address);
      return CL_SUCCESS;
    });
  }

  // With a callback of the program's, that callback frees, and the runtime does not.
  static cl_int CL_API_CALL clEnqueueSVMFree(cl_command_queue queue, cl_uint count,
                                             void* addresses[], SvmFreeNotify notify,
                                             void* user_data, cl_uint num_waits,
                                             const cl_event* waits, cl_event* event) {
    const Table& real = Door::real(queue);
    auto enqueue = [&](cl_event* made) {
      return real.clEnqueueSVMFree(queue, count, addresses, notify, user_data, num_waits, waits,
                                   made);
    };
    if (notify != nullptr) return enqueue(event);
    return free_when_complete(real, count, addresses, event, enqueue);
  }

  static void* CL_API_CALL clDeviceMemAllocINTEL(cl_context context, cl_device_id device,
                                                 const cl_bitfield* properties, size_t size,
                                                 cl_uint alignment, cl_int* errcode_ret) {
    return allocate_usm(Extension::clDeviceMemAllocINTEL, context, device, properties, size,
                        alignment, errcode_ret);
  }

  static void* CL_API_CALL clSharedMemAllocINTEL(cl_context context, cl_device_id device,
                                                 const cl_bitfield* properties, size_t size,
                                                 cl_uint alignment, cl_int* errcode_ret) {
    return allocate_usm(Extension::clSharedMemAllocINTEL, context, device, properties, size,
                        alignment, errcode_ret);
  }

  static cl_int CL_API_CALL clMemFreeINTEL(cl_context context, void* address) {
    return free_usm(Extension::clMemFreeINTEL, context, address);
  }

  static cl_int CL_API_CALL clMemBlockingFreeINTEL(cl_context context, void* address) {
    return free_usm(Extension::clMemBlockingFreeINTEL, context, address);
  }

  static void* CL_API_CALL clSVMAllocWithPropertiesKHR(cl_context context,
                                                       const cl_bitfield* properties,
                                                       cl_uint type_index, size_t size,
                                                       cl_int* errcode_ret) {
    using Real = void*(CL_API_CALL*)(cl_context, const cl_bitfield*, cl_uint, size_t, cl_int*);
    const Table& table = Door::real(context);
    auto real = find_extension<Door, Real>(table, context, Extension::clSVMAllocWithPropertiesKHR);
    if (real == nullptr) return none(errcode_ret);
    auto undo = [&](void* address) {
      using Free = cl_int(CL_API_CALL*)(cl_context, const cl_bitfield*, cl_bitfield, void*);
      auto release =
          find_extension<Door, Free>(table, context, Extension::clSVMFreeWithPropertiesKHR);
      if (release != nullptr) release(context, nullptr, 0, address);
    };
    return allocate_charged(
        table, context, nullptr, size, errcode_ret,
        [&] { return real(context, properties, type_index, size, errcode_ret); }, undo);
  }

  static cl_int CL_API_CALL clSVMFreeWithPropertiesKHR(cl_context context,
                                                       const cl_bitfield* properties,
                                                       cl_bitfield flags, void* address) {
    using Real = cl_int(CL_API_CALL*)(cl_context, const cl_bitfield*, cl_bitfield, void*);
    auto real = find_extension<Door, Real>(Door::real(context), context,
                                           Extension::clSVMFreeWithPropertiesKHR);
    if (real == nullptr) return CL_INVALID_OPERATION;
    return free_charged(address, [&] { return real(context, properties, flags, address); });
  }

  static void* CL_API_CALL clSVMAllocARM(cl_context context, cl_bitfield flags, size_t size,
                                         cl_uint alignment) {
    return allocate_svm(Extension::clSVMAllocARM, Extension::clSVMFreeARM, context, flags, size,
                        alignment);
  }
  static void* CL_API_CALL clSVMAllocAMD(cl_context context, cl_bitfield flags, size_t size,
                                         cl_uint alignment) {
    return allocate_svm(Extension::clSVMAllocAMD, Extension::clSVMFreeAMD, context, flags, size,
                        alignment);
  }

  static void CL_API_CALL clSVMFreeARM(cl_context context, void* address) {
    free_svm(Extension::clSVMFreeARM, context, address);
  }
  static void CL_API_CALL clSVMFreeAMD(cl_context context, void* address) {
    free_svm(Extension::clSVMFreeAMD, context, address);
  }

  static cl_int CL_API_CALL clEnqueueSVMFreeARM(cl_command_queue queue, cl_uint count,
                                                void* addresses[], SvmFreeNotify notify,
                                                void* user_data, cl_uint num_waits,
                                                const cl_event* waits, cl_event* event) {
    return enqueue_free(Extension::clEnqueueSVMFreeARM, queue, count, addresses, notify, user_data,
                        num_waits, waits, event);
  }
  static cl_int CL_API_CALL clEnqueueSVMFreeAMD(cl_command_queue queue, cl_uint count,
                                                void* addresses[], SvmFreeNotify notify,
                                                void* user_data, cl_uint num_waits,
                                                const cl_event* waits, cl_event* event) {
    return enqueue_free(Extension::clEnqueueSVMFreeAMD, queue, count, addresses, notify, user_data,
                        num_waits, waits, event);
  }

 private:
  static void* none(cl_int* errcode_ret) {
    if (errcode_ret != nullptr) *errcode_ret = CL_INVALID_OPERATION;
    return nullptr;
  }

  // Device and shared memory stay with one device, unless shared memory is given none.
  static void* allocate_usm(Extension extension, cl_context context, cl_device_id device,
                            const cl_bitfield* properties, size_t size, cl_uint alignment,
                            cl_int* errcode_ret) {
    using Real =
        void*(CL_API_CALL*)(cl_context, cl_device_id, const cl_bitfield*, size_t, cl_uint, cl_int*);
    const Table& table = Door::real(context);
    auto real = find_extension<Door, Real>(table, context, extension);
    if (real == nullptr) return none(errcode_ret);
    const Assignment* of_device =
        device != nullptr && !Guard::inside() ? &assignment_of(table, device) : nullptr;
    auto undo = [&](void* address) {
      using Free = cl_int(CL_API_CALL*)(cl_context, void*);
      auto release = find_extension<Door, Free>(table, context, Extension::clMemFreeINTEL);
      if (release != nullptr) release(context, address);
    };
    return allocate_charged(
        table, context, of_device, size, errcode_ret,
        [&] { return real(context, device, properties, size, alignment, errcode_ret); }, undo);
  }

  static cl_int free_usm(Extension extension, cl_context context, void* address) {
    using Real = cl_int(CL_API_CALL*)(cl_context, void*);
    auto real = find_extension<Door, Real>(Door::real(context), context, extension);
    if (real == nullptr) return CL_INVALID_OPERATION;
    return free_charged(address, [&] { return real(context, address); });
  }

  static void* allocate_svm(Extension extension, Extension free, cl_context context,
                            cl_bitfield flags, size_t size, cl_uint alignment) {
    using Real = void*(CL_API_CALL*)(cl_context, cl_bitfield, size_t, cl_uint);
    const Table& table = Door::real(context);
    auto real = find_extension<Door, Real>(table, context, extension);
    if (real == nullptr) return nullptr;
    auto undo = [&](void* address) {
      using Free = void(CL_API_CALL*)(cl_context, void*);
      if (auto release = find_extension<Door, Free>(table, context, free))
        release(context, address);
    };
    return allocate_charged(
        table, context, nullptr, size, nullptr,
        [&] { return real(context, flags, size, alignment); }, undo);
  }

  static void free_svm(Extension extension, cl_context context, void* address) {
    using Real = void(CL_API_CALL*)(cl_context, void*);
    auto real = find_extension<Door, Real>(Door::real(context), context, extension);
    if (real == nullptr) return;
    free_charged(address, [&] {
      real(context, address);
      return CL_SUCCESS;
    });
  }

  static cl_int enqueue_free(Extension extension, cl_command_queue queue, cl_uint count,
                             void* addresses[], SvmFreeNotify notify, void* user_data,
                             cl_uint num_waits, const cl_event* waits, cl_event* event) {
    using Real = cl_int(CL_API_CALL*)(cl_command_queue, cl_uint, void**, SvmFreeNotify, void*,
                                      cl_uint, const cl_event*, cl_event*);
    const Table& table = Door::real(queue);
    auto real = find_extension<Door, Real>(table, context_of(table, queue), extension);
    if (real == nullptr) return CL_INVALID_OPERATION;
    auto enqueue = [&](cl_event* made) {
      return real(queue, count, addresses, notify, user_data, num_waits, waits, made);
    };
    if (notify != nullptr) return enqueue(event);
    return free_when_complete(table, count, addresses, event, enqueue);
  }
};

}  // namespace chronos::shim
