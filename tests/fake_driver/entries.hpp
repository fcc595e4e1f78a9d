// Every OpenCL entry that this driver implements: the one list from which their declarations and
// the dispatch table are made. All others refuse with CL_INVALID_OPERATION (dispatch.cpp).
#pragma once

#include <CL/cl.h>
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
  X(clGetSupportedImageFormats)                                                                     \
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
// clang-format on

namespace chronos::fake {

// Functions of the standard's names in our own namespace: the library must not define the real
// symbols, or it would interpose the loader's in a program that links it. The types come from the
// table since the headers of Debian 12 and 13 have no other name for them in common.
// NOLINTNEXTLINE(bugprone-macro-parentheses): a declared name takes none
#define CHRONOS_FAKE_DECLARE(name) std::remove_pointer_t<decltype(cl_icd_dispatch::name)> name;
CHRONOS_FAKE_ENTRIES(CHRONOS_FAKE_DECLARE)
#undef CHRONOS_FAKE_DECLARE

}  // namespace chronos::fake
