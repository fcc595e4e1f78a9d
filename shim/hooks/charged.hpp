// What every hook of an allocating call does: reserve, allocate, undo on failure, follow the
// object's life. OpenCL reports refusal as CL_MEM_OBJECT_ALLOCATION_FAILURE (OpenCL 3.0 section
// 5.2.1), which programs already handle.
#pragma once

#include <cstdint>

#include "shim/contexts.hpp"
#include "shim/gate.hpp"
#include "shim/guard.hpp"
#include "shim/lifetime.hpp"
#include "shim/opencl.hpp"

namespace chronos::shim {

inline cl_mem refused(cl_int* errcode_ret) {
  if (errcode_ret != nullptr) *errcode_ret = CL_MEM_OBJECT_ALLOCATION_FAILURE;
  return nullptr;
}

// `create` is called as create(cl_int* errcode_ret) and makes the object in the driver.
template <class Create>
cl_mem create_charged(const Table& real, cl_context context, std::uint64_t size,
                      cl_int* errcode_ret, Create create) {
  // What is wrong with the call is the driver's to say, in its own words.
  if (Guard::inside() || context == nullptr || size == 0) return create(errcode_ret);
  const Assignment& assignment = assignment_of(real, context);
  if (assignment.is_free()) return create(errcode_ret);

  Guard guard;
  Receipt receipt;
  if (!reserve(assignment, size, receipt)) return refused(errcode_ret);
  cl_int error = CL_SUCCESS;
  cl_mem object = create(&error);
  if (object == nullptr) {
    give_back(receipt);
  } else if (!follow(real, object, receipt, assignment.counted)) {
    // Nobody would tell us when its memory is free again.
    real.clReleaseMemObject(object);
    give_back(receipt);
    return refused(errcode_ret);
  }
  if (errcode_ret != nullptr) *errcode_ret = error;
  return object;
}

}  // namespace chronos::shim
