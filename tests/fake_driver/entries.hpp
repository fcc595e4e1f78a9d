// Every OpenCL entry that this driver implements: the one list from which their declarations and
// the dispatch table are made, and beside it those that only clGetExtensionFunctionAddress hands
// out. All others refuse with CL_INVALID_OPERATION (dispatch.cpp).
#pragma once

#include <CL/cl.h>
#include <CL/cl_egl.h>
#include <CL/cl_ext.h>
#include <CL/cl_gl.h>
#include <CL/cl_icd.h>

#include <type_traits>

// clang-format off
#define CHRONOS_FAKE_ENTRIES(X)                                                                     \
  /* platform.cpp */                                                                                \
  X(clGetPlatformIDs) X(clGetPlatformInfo) X(clGetExtensionFunctionAddress)                         \
  X(clGetExtensionFunctionAddressForPlatform) X(clUnloadCompiler) X(clUnloadPlatformCompiler)       \
  /* device.cpp, device_info.cpp */                                                                 \
  X(clGetDeviceIDs) X(clGetDeviceInfo) X(clCreateSubDevices) X(clRetainDevice) X(clReleaseDevice)   \
  X(clGetDeviceAndHostTimer) X(clGetHostTimer)                                                      \
  /* context.cpp */                                                                                 \
  X(clCreateContext) X(clCreateContextFromType) X(clRetainContext) X(clReleaseContext)              \
  X(clGetContextInfo) X(clSetContextDestructorCallback)                                             \
  /* memory.cpp */                                                                                  \
  X(clCreateBuffer) X(clCreateBufferWithProperties) X(clCreateSubBuffer) X(clRetainMemObject)       \
  X(clReleaseMemObject) X(clSetMemObjectDestructorCallback) X(clGetMemObjectInfo)                   \
  /* image.cpp, pipe.cpp */                                                                         \
  X(clCreateImage) X(clCreateImageWithProperties) X(clCreateImage2D) X(clCreateImage3D)             \
  X(clGetImageInfo) X(clGetSupportedImageFormats) X(clCreatePipe) X(clGetPipeInfo)                  \
  /* svm.cpp */                                                                                     \
  X(clSVMAlloc) X(clSVMFree) X(clEnqueueSVMFree) X(clEnqueueSVMMap) X(clEnqueueSVMUnmap)            \
  X(clEnqueueSVMMemcpy) X(clEnqueueSVMMemFill)                                                      \
  /* queue.cpp */                                                                                   \
  X(clCreateCommandQueue) X(clCreateCommandQueueWithProperties) X(clRetainCommandQueue)             \
  X(clReleaseCommandQueue) X(clGetCommandQueueInfo) X(clFlush) X(clFinish) X(clEnqueueMarker)       \
  X(clEnqueueMarkerWithWaitList) X(clEnqueueBarrier) X(clEnqueueBarrierWithWaitList)                \
  X(clEnqueueWaitForEvents)                                                                         \
  /* event.cpp */                                                                                   \
  X(clCreateUserEvent) X(clSetUserEventStatus) X(clWaitForEvents) X(clGetEventInfo)                 \
  X(clRetainEvent) X(clReleaseEvent) X(clSetEventCallback) X(clGetEventProfilingInfo)               \
  /* transfer.cpp, transfer_rect.cpp */                                                             \
  X(clEnqueueReadBuffer) X(clEnqueueWriteBuffer) X(clEnqueueCopyBuffer) X(clEnqueueFillBuffer)      \
  X(clEnqueueMapBuffer) X(clEnqueueUnmapMemObject) X(clEnqueueMigrateMemObjects)                    \
  X(clEnqueueReadBufferRect) X(clEnqueueWriteBufferRect) X(clEnqueueCopyBufferRect)                 \
  /* program.cpp, kernel.cpp */                                                                     \
  X(clCreateProgramWithSource) X(clCreateProgramWithBinary) X(clCreateProgramWithBuiltInKernels)    \
  X(clCreateProgramWithIL) X(clRetainProgram) X(clReleaseProgram) X(clBuildProgram)                 \
  X(clCompileProgram) X(clLinkProgram) X(clSetProgramReleaseCallback) X(clGetProgramInfo)           \
  X(clGetProgramBuildInfo) X(clCreateKernel) X(clCreateKernelsInProgram) X(clCloneKernel)           \
  X(clRetainKernel) X(clReleaseKernel) X(clGetKernelInfo)                                           \
  /* import.cpp */                                                                                  \
  X(clCreateFromGLBuffer) X(clCreateFromGLTexture) X(clCreateFromGLTexture2D)                       \
  X(clCreateFromGLTexture3D) X(clCreateFromGLRenderbuffer) X(clCreateFromEGLImageKHR)

#define CHRONOS_FAKE_EXTENSIONS(X)                                                                  \
  /* svm.cpp */                                                                                     \
  X(clSVMAllocARM) X(clSVMFreeARM) X(clEnqueueSVMFreeARM)                                           \
  /* usm.cpp */                                                                                     \
  X(clDeviceMemAllocINTEL) X(clSharedMemAllocINTEL) X(clHostMemAllocINTEL) X(clMemFreeINTEL)        \
  X(clMemBlockingFreeINTEL) X(clGetMemAllocInfoINTEL) X(clCreateBufferWithPropertiesINTEL)          \
  /* program.cpp, import.cpp */                                                                     \
  X(clCreateProgramWithILKHR) X(clImportMemoryARM)

// The same for functions that not all headers declare.
#define CHRONOS_FAKE_VENDOR_EXTENSIONS(X)                                                           \
  /* vendor.cpp, import.cpp */                                                                      \
  X(clCreateImageWithPropertiesINTEL) X(clCreateBufferNV) X(clSVMAllocWithPropertiesKHR)            \
  X(clSVMFreeWithPropertiesKHR) X(clSVMAllocAMD) X(clSVMFreeAMD) X(clEnqueueSVMFreeAMD)             \
  X(clGetImageRequirementsInfoEXT) X(clCreateFromVA_APIMediaSurfaceINTEL)
// clang-format on

namespace chronos::fake {

// Functions of the standard's names in our own namespace: the library must not define the real
// symbols, or it would interpose the loader's in a program that links it. The types come from the
// table since the headers of Debian 12 and 13 have no other name for them in common.
// NOLINTNEXTLINE(bugprone-macro-parentheses): a declared name takes none
#define CHRONOS_FAKE_DECLARE(name) std::remove_pointer_t<decltype(cl_icd_dispatch::name)> name;
CHRONOS_FAKE_ENTRIES(CHRONOS_FAKE_DECLARE)
#undef CHRONOS_FAKE_DECLARE
// NOLINTNEXTLINE(bugprone-macro-parentheses): a declared name takes none
#define CHRONOS_FAKE_DECLARE(name) decltype(::name) name;
CHRONOS_FAKE_EXTENSIONS(CHRONOS_FAKE_DECLARE)
#undef CHRONOS_FAKE_DECLARE

cl_mem clCreateImageWithPropertiesINTEL(cl_context context, const cl_bitfield* properties,
                                        cl_mem_flags flags, const cl_image_format* format,
                                        const cl_image_desc* desc, void* host_ptr,
                                        cl_int* errcode_ret);
cl_mem clCreateBufferNV(cl_context context, cl_mem_flags flags, cl_bitfield flags_nv, size_t size,
                        void* host_ptr, cl_int* errcode_ret);
void* clSVMAllocWithPropertiesKHR(cl_context context, const cl_bitfield* properties,
                                  cl_uint type_index, size_t size, cl_int* errcode_ret);
cl_int clSVMFreeWithPropertiesKHR(cl_context context, const cl_bitfield* properties,
                                  cl_bitfield flags, void* address);
void* clSVMAllocAMD(cl_context context, cl_bitfield flags, size_t size, cl_uint alignment);
void clSVMFreeAMD(cl_context context, void* address);
cl_int clEnqueueSVMFreeAMD(cl_command_queue queue, cl_uint count, void* addresses[],
                           void(CL_CALLBACK* notify)(cl_command_queue, cl_uint, void**, void*),
                           void* user_data, cl_uint num_waits, const cl_event* waits,
                           cl_event* event);
cl_int clGetImageRequirementsInfoEXT(cl_context context, const cl_bitfield* properties,
                                     cl_mem_flags flags, const cl_image_format* format,
                                     const cl_image_desc* desc, cl_uint name, size_t capacity,
                                     void* out, size_t* needed);
cl_mem clCreateFromVA_APIMediaSurfaceINTEL(cl_context context, cl_mem_flags flags,
                                           unsigned int* surface, cl_uint plane,
                                           cl_int* errcode_ret);

}  // namespace chronos::fake
