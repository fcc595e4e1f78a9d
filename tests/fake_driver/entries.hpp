// Every OpenCL entry that this driver implements: the one list from which their declarations and
// the dispatch table are made, and beside it those that only clGetExtensionFunctionAddress hands
// out. All others refuse with CL_INVALID_OPERATION (dispatch.cpp).
#pragma once

#include <CL/cl.h>
#include <CL/cl_ext.h>
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
  X(clEnqueueReadBufferRect) X(clEnqueueWriteBufferRect) X(clEnqueueCopyBufferRect)

#define CHRONOS_FAKE_EXTENSIONS(X)                                                                  \
  /* svm.cpp */                                                                                     \
  X(clSVMAllocARM) X(clSVMFreeARM) X(clEnqueueSVMFreeARM)                                           \
  /* usm.cpp */                                                                                     \
  X(clDeviceMemAllocINTEL) X(clSharedMemAllocINTEL) X(clHostMemAllocINTEL) X(clMemFreeINTEL)        \
  X(clMemBlockingFreeINTEL) X(clGetMemAllocInfoINTEL) X(clCreateBufferWithPropertiesINTEL)
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

}  // namespace chronos::fake
