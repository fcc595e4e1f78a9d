// The OpenCL headers as the shim uses them, and the table of a driver or of the next layer.
#pragma once

#define CL_TARGET_OPENCL_VERSION 300
#define CL_USE_DEPRECATED_OPENCL_1_1_APIS
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#define CL_USE_DEPRECATED_OPENCL_2_0_APIS
#define CL_USE_DEPRECATED_OPENCL_2_1_APIS
#define CL_USE_DEPRECATED_OPENCL_2_2_APIS
#include <CL/cl.h>
#include <CL/cl_icd.h>

namespace chronos::shim {

using Table = cl_icd_dispatch;  // real functions: an entry may be null where the table was shorter

inline constexpr unsigned kTableEntries = sizeof(Table) / sizeof(void*);

}  // namespace chronos::shim
