// Memory objects of what others allocated: nothing is charged (shim/imports.hpp).
#pragma once

#include "shim/extensions.hpp"
#include "shim/hooks/charged.hpp"

namespace chronos::shim {

// Types of GL, EGL and VA-API as their extensions define them, without their headers.
using GlEnum = unsigned int;
using GlInt = int;
using GlName = unsigned int;

template <class Door>
struct ImportedObjectHooks {
  static cl_mem CL_API_CALL clCreateFromGLBuffer(cl_context context, cl_mem_flags flags,
                                                 GlName buffer, cl_int* errcode_ret) {
    const Table& real = Door::real(context);
    return create_import(
        real, [&] { return real.clCreateFromGLBuffer(context, flags, buffer, errcode_ret); });
  }

  static cl_mem CL_API_CALL clCreateFromGLTexture(cl_context context, cl_mem_flags flags,
                                                  GlEnum target, GlInt level, GlName texture,
                                                  cl_int* errcode_ret) {
    const Table& real = Door::real(context);
    return create_import(real, [&] {
      return real.clCreateFromGLTexture(context, flags, target, level, texture, errcode_ret);
    });
  }

  static cl_mem CL_API_CALL clCreateFromGLTexture2D(cl_context context, cl_mem_flags flags,
                                                    GlEnum target, GlInt level, GlName texture,
                                                    cl_int* errcode_ret) {
    const Table& real = Door::real(context);
    return create_import(real, [&] {
      return real.clCreateFromGLTexture2D(context, flags, target, level, texture, errcode_ret);
    });
  }

  static cl_mem CL_API_CALL clCreateFromGLTexture3D(cl_context context, cl_mem_flags flags,
                                                    GlEnum target, GlInt level, GlName texture,
                                                    cl_int* errcode_ret) {
    const Table& real = Door::real(context);
    return create_import(real, [&] {
      return real.clCreateFromGLTexture3D(context, flags, target, level, texture, errcode_ret);
    });
  }

  static cl_mem CL_API_CALL clCreateFromGLRenderbuffer(cl_context context, cl_mem_flags flags,
                                                       GlName renderbuffer, cl_int* errcode_ret) {
    const Table& real = Door::real(context);
    return create_import(real, [&] {
      return real.clCreateFromGLRenderbuffer(context, flags, renderbuffer, errcode_ret);
    });
  }

  static cl_mem CL_API_CALL clCreateFromEGLImageKHR(cl_context context, void* display, void* image,
                                                    cl_mem_flags flags, const intptr_t* properties,
                                                    cl_int* errcode_ret) {
    const Table& real = Door::real(context);
    return create_import(real, [&] {
      return real.clCreateFromEGLImageKHR(context, display, image, flags, properties, errcode_ret);
    });
  }

  static cl_mem CL_API_CALL clCreateFromVA_APIMediaSurfaceINTEL(cl_context context,
                                                                cl_mem_flags flags,
                                                                unsigned int* surface,
                                                                cl_uint plane,
                                                                cl_int* errcode_ret) {
    using Real = cl_mem(CL_API_CALL*)(cl_context, cl_mem_flags, unsigned int*, cl_uint, cl_int*);
    const Table& table = Door::real(context);
    auto real =
        find_extension<Door, Real>(table, context, Extension::clCreateFromVA_APIMediaSurfaceINTEL);
    if (real == nullptr) return none(errcode_ret);
    return create_import(table, [&] { return real(context, flags, surface, plane, errcode_ret); });
  }

  static cl_mem CL_API_CALL clImportMemoryARM(cl_context context, cl_mem_flags flags,
                                              const intptr_t* properties, void* memory, size_t size,
                                              cl_int* errcode_ret) {
    using Real =
        cl_mem(CL_API_CALL*)(cl_context, cl_mem_flags, const intptr_t*, void*, size_t, cl_int*);
    const Table& table = Door::real(context);
    auto real = find_extension<Door, Real>(table, context, Extension::clImportMemoryARM);
    if (real == nullptr) return none(errcode_ret);
    return create_import(
        table, [&] { return real(context, flags, properties, memory, size, errcode_ret); });
  }

 private:
  static cl_mem none(cl_int* errcode_ret) {
    if (errcode_ret != nullptr) *errcode_ret = CL_INVALID_OPERATION;
    return nullptr;
  }
};

}  // namespace chronos::shim
