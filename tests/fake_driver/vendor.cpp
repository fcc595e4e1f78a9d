// Functions of vendors' own drivers and of extensions that the headers do not all declare, each by
// way of what this driver does for the standard's.
#include "tests/fake_driver/call.hpp"
#include "tests/fake_driver/driver.hpp"
#include "tests/fake_driver/entries.hpp"
#include "tests/fake_driver/image.hpp"
#include "tests/fake_driver/info.hpp"
#include "tests/fake_driver/memory.hpp"
#include "tests/fake_driver/pointers.hpp"

namespace chronos::fake {

cl_mem clCreateImageWithPropertiesINTEL(cl_context context, const cl_bitfield* properties,
                                        cl_mem_flags flags, const cl_image_format* format,
                                        const cl_image_desc* desc, void* host_ptr,
                                        cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_mem>(errcode_ret, error);
  return fake::clCreateImageWithProperties(context, properties, flags, format, desc, host_ptr,
                                           errcode_ret);
}

cl_mem clCreateBufferNV(cl_context context, cl_mem_flags flags, cl_bitfield /*flags_nv*/,
                        size_t size, void* host_ptr, cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_mem>(errcode_ret, error);
  return make_buffer({context, flags, size, host_ptr, nullptr}, errcode_ret);
}

// cl_khr_unified_svm: memory of any type is counted like SVM.
void* clSVMAllocWithPropertiesKHR(cl_context context, const cl_bitfield* /*properties*/,
                                  cl_uint type_index, size_t size, cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<void*>(errcode_ret, error);
  if (!valid(context)) return refuse<void*>(errcode_ret, CL_INVALID_CONTEXT);
  if (type_index != 0) return refuse<void*>(errcode_ret, CL_INVALID_VALUE);
  if (size == 0) return refuse<void*>(errcode_ret, CL_INVALID_BUFFER_SIZE);
  void* const made = fake::clSVMAlloc(context, CL_MEM_READ_WRITE, size, 0);
  return give(made, errcode_ret, made != nullptr ? CL_SUCCESS : CL_OUT_OF_RESOURCES);
}

cl_int clSVMFreeWithPropertiesKHR(cl_context context, const cl_bitfield* /*properties*/,
                                  cl_bitfield /*flags*/, void* address) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(context)) return CL_INVALID_CONTEXT;
  if (address != nullptr && !free_allocation(Family::kSvm, context, address)) {
    return CL_INVALID_VALUE;
  }
  return CL_SUCCESS;
}

void* clSVMAllocAMD(cl_context context, cl_bitfield flags, size_t size, cl_uint alignment) {
  static CallSite site(__func__);
  if (site.enter() != CL_SUCCESS) return nullptr;
  return fake::clSVMAlloc(context, flags, size, alignment);
}

void clSVMFreeAMD(cl_context context, void* address) {
  static CallSite site(__func__);
  if (site.enter() != CL_SUCCESS) return;
  fake::clSVMFree(context, address);
}

cl_int clEnqueueSVMFreeAMD(cl_command_queue queue, cl_uint count, void* addresses[],
                           void(CL_CALLBACK* notify)(cl_command_queue, cl_uint, void**, void*),
                           void* user_data, cl_uint num_waits, const cl_event* waits,
                           cl_event* event) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  return fake::clEnqueueSVMFree(queue, count, addresses, notify, user_data, num_waits, waits,
                                event);
}

// cl_ext_image_requirements_info, the one query that matters here.
cl_int clGetImageRequirementsInfoEXT(cl_context context, const cl_bitfield* properties,
                                     cl_mem_flags flags, const cl_image_format* format,
                                     const cl_image_desc* desc, cl_uint name, size_t capacity,
                                     void* out, size_t* needed) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  std::size_t size = 0;
  if (const cl_int error =
          image_bytes({context, flags, 0, nullptr, properties}, format, desc, &size)) {
    return error;
  }
  constexpr cl_uint kSize = 0x12B2;  // CL_IMAGE_REQUIREMENTS_SIZE_EXT
  return name == kSize ? Answer(capacity, out, needed).value(size) : CL_INVALID_VALUE;
}

}  // namespace chronos::fake
