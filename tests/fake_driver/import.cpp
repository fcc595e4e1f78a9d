// Memory that others own: GL and EGL objects, media surfaces, external handles, ARM's imports. It
// is counted on no device. A buffer's name is its size; textures and surfaces have a side of 64
// pixels.
#include "tests/fake_driver/call.hpp"
#include "tests/fake_driver/driver.hpp"
#include "tests/fake_driver/entries.hpp"
#include "tests/fake_driver/memory.hpp"

namespace chronos::fake {
namespace {

constexpr std::size_t kSide = 64;
constexpr std::size_t kPixel = 4;

cl_mem import(cl_context context, cl_mem_flags flags, std::size_t size, bool is_image,
              cl_int* errcode_ret) {
  if (!valid(context)) return refuse<cl_mem>(errcode_ret, CL_INVALID_CONTEXT);
  if (!good_flags(flags)) return refuse<cl_mem>(errcode_ret, CL_INVALID_VALUE);
  if (size == 0) return refuse<cl_mem>(errcode_ret, CL_INVALID_GL_OBJECT);
  cl_mem const mem = make_import({context, flags, size, nullptr, nullptr});
  if (is_image) {
    mem->type = CL_MEM_OBJECT_IMAGE2D;
    mem->image.format = {CL_RGBA, CL_UNORM_INT8};
    mem->image.element_size = kPixel;
    mem->image.width = mem->image.height = kSide;
    mem->image.row_pitch = kSide * kPixel;
  }
  return give(mem, errcode_ret, CL_SUCCESS);
}

cl_mem import_image(cl_context context, cl_mem_flags flags, bool exists, cl_int* errcode_ret) {
  return import(context, flags, exists ? kSide * kSide * kPixel : 0, true, errcode_ret);
}

}  // namespace

cl_mem clCreateFromGLBuffer(cl_context context, cl_mem_flags flags, cl_GLuint buffer,
                            cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_mem>(errcode_ret, error);
  return import(context, flags, buffer, false, errcode_ret);
}

cl_mem clCreateFromGLTexture(cl_context context, cl_mem_flags flags, cl_GLenum /*target*/,
                             cl_GLint /*level*/, cl_GLuint texture, cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_mem>(errcode_ret, error);
  return import_image(context, flags, texture != 0, errcode_ret);
}

cl_mem clCreateFromGLTexture2D(cl_context context, cl_mem_flags flags, cl_GLenum /*target*/,
                               cl_GLint /*level*/, cl_GLuint texture, cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_mem>(errcode_ret, error);
  return import_image(context, flags, texture != 0, errcode_ret);
}

cl_mem clCreateFromGLTexture3D(cl_context context, cl_mem_flags flags, cl_GLenum /*target*/,
                               cl_GLint /*level*/, cl_GLuint texture, cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_mem>(errcode_ret, error);
  return import_image(context, flags, texture != 0, errcode_ret);
}

cl_mem clCreateFromGLRenderbuffer(cl_context context, cl_mem_flags flags, cl_GLuint renderbuffer,
                                  cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_mem>(errcode_ret, error);
  return import_image(context, flags, renderbuffer != 0, errcode_ret);
}

cl_mem clCreateFromEGLImageKHR(cl_context context, CLeglDisplayKHR /*display*/, CLeglImageKHR image,
                               cl_mem_flags flags, const cl_egl_image_properties_khr* /*given*/,
                               cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_mem>(errcode_ret, error);
  return import_image(context, flags, image != nullptr, errcode_ret);
}

cl_mem clCreateFromVA_APIMediaSurfaceINTEL(cl_context context, cl_mem_flags flags,
                                           unsigned int* surface, cl_uint /*plane*/,
                                           cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_mem>(errcode_ret, error);
  return import_image(context, flags, surface != nullptr, errcode_ret);
}

cl_mem clImportMemoryARM(cl_context context, cl_mem_flags flags,
                         const cl_import_properties_arm* /*properties*/, void* /*memory*/,
                         size_t size, cl_int* errcode_ret) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return refuse<cl_mem>(errcode_ret, error);
  return import(context, flags, size, false, errcode_ret);
}

}  // namespace chronos::fake
