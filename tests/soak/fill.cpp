#include <CL/cl.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/soak/board.hpp"

namespace chronos::soak {

int fill(const char* bytes, const char* wanted) {
  cl_platform_id platforms[8];
  cl_uint platform_count = 0;
  clGetPlatformIDs(8, platforms, &platform_count);
  for (cl_uint p = 0; p < platform_count && p < 8; ++p) {
    cl_device_id devices[64];
    cl_uint count = 0;
    if (clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, 64, devices, &count) != CL_SUCCESS)
      continue;
    for (cl_uint d = 0; d < count && d < 64; ++d) {
      char name[256] = "";
      clGetDeviceInfo(devices[d], CL_DEVICE_NAME, sizeof name, name, nullptr);
      if (*wanted != '\0' && std::strcmp(name, wanted) != 0) continue;
      cl_int error = CL_SUCCESS;
      cl_context context = clCreateContext(nullptr, 1, &devices[d], nullptr, nullptr, &error);
      if (context == nullptr) return 4;
      clCreateBuffer(context, CL_MEM_READ_WRITE, std::strtoull(bytes, nullptr, 10), nullptr,
                     &error);
      if (error != CL_SUCCESS) std::fprintf(stderr, "soak fill: %d\n", error);
      return error == CL_SUCCESS ? 0 : 3;
    }
  }
  std::fprintf(stderr, "soak fill: no such device: %s\n", wanted);
  return 4;
}

}  // namespace chronos::soak
