// What every hook of an allocating call does: reserve, allocate, undo on failure, follow the
// object's life. OpenCL reports refusal as CL_MEM_OBJECT_ALLOCATION_FAILURE (OpenCL 3.0 section
// 5.2.1), which programs already handle.
#pragma once

#include <cstdint>

#include "core/crash_point.hpp"
#include "shim/contexts.hpp"
#include "shim/gate.hpp"
#include "shim/guard.hpp"
#include "shim/imports.hpp"
#include "shim/lifetime.hpp"
#include "shim/opencl.hpp"
#include "shim/pointers.hpp"
#include "shim/trace.hpp"

namespace chronos::shim {

inline cl_mem refused(cl_int* errcode_ret) {
  if (errcode_ret != nullptr) *errcode_ret = CL_MEM_OBJECT_ALLOCATION_FAILURE;
  return nullptr;
}

// What no device of the context could hold is the driver's to refuse, in its own words; should it
// not, the charge that follows does.
inline std::uint64_t charged_first(const Assignment& assignment, std::uint64_t size) {
  return size > assignment.device_bytes ? 0 : size;
}

// `create` is called as create(cl_int* errcode_ret) and makes the object in the driver; `settle` is
// called with it and says how many bytes it really takes.
template <class Create, class Settle>
cl_mem create_charged(const Table& real, cl_context context, std::uint64_t size,
                      cl_int* errcode_ret, const Create& create, const Settle& settle) {
  // What is wrong with the call is the driver's to say, in its own words.
  if (Guard::inside() || context == nullptr || size == 0) return create(errcode_ret);
  const Assignment& assignment = assignment_of(real, context);
  if (assignment.is_free()) {
    if (trace::on()) trace::unassigned(size);
    return create(errcode_ret);
  }

  Guard guard;
  Receipt receipt = reserve(assignment, charged_first(assignment, size));
  if (!receipt.is_charged()) return refused(errcode_ret);
  cl_int error = CL_SUCCESS;
  cl_mem object = create(&error);
  CHRONOS_POINT(shim_object_made);
  if (object == nullptr) {
    undo(receipt);
  } else if (!adjust(assignment, settle(object), receipt) ||
             !follow(real, object, receipt, assignment.counted)) {
    // No room for all of it, or nobody would tell us when its memory is free again.
    real.clReleaseMemObject(object);
    undo(receipt, false);
    return refused(errcode_ret);
  }
  CHRONOS_POINT(shim_object_followed);
  if (errcode_ret != nullptr) *errcode_ret = error;
  return object;
}

// An object that takes what was asked for.
template <class Create>
[[gnu::always_inline]] inline cl_mem create_charged(const Table& real, cl_context context,
                                                    std::uint64_t size, cl_int* errcode_ret,
                                                    const Create& create) {
  return create_charged(real, context, size, errcode_ret, create, [size](cl_mem) { return size; });
}

// An object of memory that somebody else allocated; `create` is called without arguments.
template <class Create>
cl_mem create_import(const Table& real, Create create) {
  if (Guard::inside()) return create();
  Guard guard;
  cl_mem object = create();
  if (object != nullptr) note_import(real, object);
  return object;
}

// A buffer, which costs nothing over shared virtual memory that is charged already.
template <class Create>
[[gnu::always_inline]] inline cl_mem create_buffer(const Table& real, cl_context context,
                                                   const cl_bitfield* properties,
                                                   cl_mem_flags flags, std::size_t size,
                                                   const void* host_ptr, cl_int* errcode_ret,
                                                   const Create& create) {
  if (Guard::inside()) return create(errcode_ret);
  if (is_import(properties)) return create_import(real, [&] { return create(errcode_ret); });
  if ((flags & CL_MEM_USE_HOST_PTR) != 0 && is_charged_memory(host_ptr, size)) {
    return create(errcode_ret);
  }
  return create_charged(real, context, size, errcode_ret, create);
}

// An image of its own memory: an estimate, then what the driver says. One of another object's
// memory costs nothing, and keeps that object.
template <class Create>
cl_mem create_image(const Table& real, cl_context context, const cl_bitfield* properties,
                    std::uint64_t estimate, cl_mem parent, cl_int* errcode_ret, Create create) {
  if (is_import(properties)) return create_import(real, [&] { return create(errcode_ret); });
  if (parent != nullptr) {
    if (!counting() || Guard::inside()) return create(errcode_ret);
    Guard guard;
    cl_mem image = create(errcode_ret);
    if (image != nullptr) follow_child(image, parent);
    return image;
  }
  return create_charged(real, context, estimate, errcode_ret, create, [&](cl_mem image) {
    std::size_t actual = 0;
    const bool told =
        real.clGetMemObjectInfo(image, CL_MEM_SIZE, sizeof actual, &actual, nullptr) == CL_SUCCESS;
    return told && actual != 0 ? std::uint64_t{actual} : estimate;
  });
}

// Memory that is known by its address. `allocate` is called without arguments, `take_back` with
// the address; a refusal is null and, where the call has an error code, CL_OUT_OF_RESOURCES.
template <class Allocate, class TakeBack>
void* allocate_charged(const Table& real, cl_context context, const Assignment* assignment,
                       std::size_t size, cl_int* errcode_ret, Allocate allocate,
                       TakeBack take_back) {
  if (Guard::inside() || context == nullptr || size == 0) return allocate();
  if (assignment == nullptr) assignment = &assignment_of(real, context);
  if (assignment->is_free()) {
    if (trace::on()) trace::unassigned(size);
    return allocate();
  }

  Guard guard;
  auto refuse = [&]() -> void* {
    if (errcode_ret != nullptr) *errcode_ret = CL_OUT_OF_RESOURCES;
    return nullptr;
  };
  Receipt receipt = reserve(*assignment, charged_first(*assignment, size));
  if (!receipt.is_charged()) return refuse();
  void* address = allocate();
  CHRONOS_POINT(shim_memory_made);
  if (address == nullptr) {
    undo(receipt);
  } else if (!adjust(*assignment, size, receipt)) {
    take_back(address);
    undo(receipt, false);
    return refuse();
  } else {
    keep_pointer(address, {size, receipt});
    CHRONOS_POINT(shim_memory_kept);
  }
  return address;
}

}  // namespace chronos::shim
