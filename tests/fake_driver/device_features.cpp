#include "tests/fake_driver/device_features.hpp"

#include <CL/cl_ext.h>

namespace chronos::fake {
namespace {

cl_int image_info(cl_device_info name, const Answer& answer) {
  switch (name) {
    case CL_DEVICE_IMAGE_SUPPORT:
      return answer.value<cl_bool>(CL_TRUE);
    case CL_DEVICE_IMAGE2D_MAX_WIDTH:
    case CL_DEVICE_IMAGE2D_MAX_HEIGHT:
      return answer.value(kMaxImageSide);
    case CL_DEVICE_IMAGE3D_MAX_WIDTH:
    case CL_DEVICE_IMAGE3D_MAX_HEIGHT:
    case CL_DEVICE_IMAGE3D_MAX_DEPTH:
      return answer.value(kMaxImage3dSide);
    case CL_DEVICE_IMAGE_MAX_BUFFER_SIZE:
      return answer.value(kMaxImageBufferPixels);
    case CL_DEVICE_IMAGE_MAX_ARRAY_SIZE:
      return answer.value(kMaxImageArray);
    case CL_DEVICE_MAX_READ_IMAGE_ARGS:
      return answer.value<cl_uint>(128);
    case CL_DEVICE_MAX_WRITE_IMAGE_ARGS:
    case CL_DEVICE_MAX_READ_WRITE_IMAGE_ARGS:
      return answer.value<cl_uint>(64);
    case CL_DEVICE_IMAGE_PITCH_ALIGNMENT:
    case CL_DEVICE_IMAGE_BASE_ADDRESS_ALIGNMENT:
      return answer.value<cl_uint>(1);
    case CL_DEVICE_MAX_SAMPLERS:
      return answer.value<cl_uint>(16);
    default:
      return CL_INVALID_VALUE;
  }
}

cl_int pipe_info(cl_device_info name, const Answer& answer) {
  switch (name) {
    case CL_DEVICE_PIPE_SUPPORT:
      return answer.value<cl_bool>(CL_TRUE);
    case CL_DEVICE_MAX_PIPE_ARGS:
      return answer.value<cl_uint>(16);
    case CL_DEVICE_PIPE_MAX_ACTIVE_RESERVATIONS:
      return answer.value<cl_uint>(1);
    case CL_DEVICE_PIPE_MAX_PACKET_SIZE:
      return answer.value(kMaxPacketSize);
    default:
      return CL_INVALID_VALUE;
  }
}

cl_int pointer_info(cl_device_info name, const Answer& answer) {
  switch (name) {
    case CL_DEVICE_SVM_CAPABILITIES:
      return answer.value<cl_device_svm_capabilities>(CL_DEVICE_SVM_COARSE_GRAIN_BUFFER |
                                                      CL_DEVICE_SVM_FINE_GRAIN_BUFFER);
    case CL_DEVICE_SVM_CAPABILITIES_ARM:
      return answer.value<cl_device_svm_capabilities_arm>(CL_DEVICE_SVM_COARSE_GRAIN_BUFFER_ARM |
                                                          CL_DEVICE_SVM_FINE_GRAIN_BUFFER_ARM);
    case CL_DEVICE_HOST_MEM_CAPABILITIES_INTEL:
    case CL_DEVICE_DEVICE_MEM_CAPABILITIES_INTEL:
    case CL_DEVICE_SINGLE_DEVICE_SHARED_MEM_CAPABILITIES_INTEL:
    case CL_DEVICE_CROSS_DEVICE_SHARED_MEM_CAPABILITIES_INTEL:
      return answer.value<cl_device_unified_shared_memory_capabilities_intel>(
          CL_UNIFIED_SHARED_MEMORY_ACCESS_INTEL);
    case CL_DEVICE_SHARED_SYSTEM_MEM_CAPABILITIES_INTEL:
      return answer.value<cl_device_unified_shared_memory_capabilities_intel>(0);
    default:
      return CL_INVALID_VALUE;
  }
}

}  // namespace

cl_int feature_info(cl_device_info name, const Answer& answer) {
  cl_int error = image_info(name, answer);
  if (error != CL_SUCCESS) error = pipe_info(name, answer);
  if (error != CL_SUCCESS) error = pointer_info(name, answer);
  return error;
}

}  // namespace chronos::fake
