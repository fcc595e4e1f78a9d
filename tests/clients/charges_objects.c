/* Buffers, images and pipes. */
#include "charges.h"

enum { kOdd = 4097, kLarge = 3 << 20, kPacket = 48, kPackets = 1001 };

static void release_mem(const struct Place* place, struct Made* made) {
  (void)place;
  must("clReleaseMemObject", clReleaseMemObject(made->mem));
}

/* --- buffers ------------------------------------------------------------------------------ */

static cl_int buffer(const struct Place* place, struct Made* made, cl_mem_flags flags, size_t size,
                     int with_memory) {
  cl_int error = CL_SUCCESS;
  made->mem =
      clCreateBuffer(place->context, flags, size, with_memory ? place->memory : NULL, &error);
  return error;
}
static cl_int one_byte(const struct Place* place, struct Made* made) {
  return buffer(place, made, 0, 1, 0);
}
static cl_int odd(const struct Place* place, struct Made* made) {
  return buffer(place, made, CL_MEM_READ_ONLY, kOdd, 0);
}
static cl_int large(const struct Place* place, struct Made* made) {
  return buffer(place, made, CL_MEM_WRITE_ONLY | CL_MEM_HOST_NO_ACCESS, kLarge, 0);
}
static cl_int use_host(const struct Place* place, struct Made* made) {
  return buffer(place, made, CL_MEM_USE_HOST_PTR, kLarge, 1);
}
static cl_int alloc_host(const struct Place* place, struct Made* made) {
  return buffer(place, made, CL_MEM_ALLOC_HOST_PTR, kLarge, 0);
}
static cl_int copy_host(const struct Place* place, struct Made* made) {
  return buffer(place, made, CL_MEM_COPY_HOST_PTR, kOdd, 1);
}
static cl_int with_properties(const struct Place* place, struct Made* made) {
  const cl_mem_properties none[] = {0};
  cl_int error = CL_SUCCESS;
  made->mem = clCreateBufferWithProperties(place->context, none, 0, kOdd, NULL, &error);
  return error;
}

typedef cl_mem(CL_API_CALL* CreateIntel)(cl_context, const cl_bitfield*, cl_mem_flags, size_t,
                                         void*, cl_int*);
static cl_int intels(const struct Place* place, struct Made* made) {
  CreateIntel create = NULL;
  void* found = clGetExtensionFunctionAddressForPlatform(place->platform,
                                                         "clCreateBufferWithPropertiesINTEL");
  if (found == NULL) return kLacking;
  memcpy(&create, &found, sizeof create);
  cl_int error = CL_SUCCESS;
  made->mem = create(place->context, NULL, 0, kOdd, NULL, &error);
  return error;
}

typedef cl_mem(CL_API_CALL* CreateNv)(cl_context, cl_mem_flags, cl_bitfield, size_t, void*,
                                      cl_int*);
static cl_int nvidias(const struct Place* place, struct Made* made) {
  CreateNv create = NULL;
  void* found = clGetExtensionFunctionAddressForPlatform(place->platform, "clCreateBufferNV");
  if (found == NULL) return kLacking;
  memcpy(&create, &found, sizeof create);
  cl_int error = CL_SUCCESS;
  made->mem = create(place->context, 0, 0, kOdd, NULL, &error);
  return error;
}

/* A part costs nothing, and keeps the whole. */
static cl_int whole_and_part(const struct Place* place, struct Made* made) {
  const cl_int refused = buffer(place, made, 0, kLarge, 0);
  if (refused != CL_SUCCESS) return refused;
  const cl_buffer_region region = {4096, 8192};
  cl_int error = CL_SUCCESS;
  made->child = clCreateSubBuffer(made->mem, 0, CL_BUFFER_CREATE_TYPE_REGION, &region, &error);
  must("clCreateSubBuffer", error);
  must("clReleaseMemObject", clReleaseMemObject(made->mem));
  return CL_SUCCESS;
}
static void release_child(const struct Place* place, struct Made* made) {
  (void)place;
  must("clReleaseMemObject", clReleaseMemObject(made->child));
}

/* --- images ------------------------------------------------------------------------------- */

static int has_images(const struct Place* place) {
  cl_bool has = CL_FALSE;
  return clGetDeviceInfo(place->device, CL_DEVICE_IMAGE_SUPPORT, sizeof has, &has, NULL) ==
             CL_SUCCESS &&
         has;
}

static cl_image_desc describe(cl_mem_object_type type) {
  cl_image_desc desc;
  memset(&desc, 0, sizeof desc);
  desc.image_type = type;
  desc.image_width = type == CL_MEM_OBJECT_IMAGE1D_BUFFER ? 256 : 1001;
  if (type == CL_MEM_OBJECT_IMAGE2D || type == CL_MEM_OBJECT_IMAGE2D_ARRAY ||
      type == CL_MEM_OBJECT_IMAGE3D) {
    desc.image_height = 37;
  }
  if (type == CL_MEM_OBJECT_IMAGE3D) desc.image_depth = 11;
  if (type == CL_MEM_OBJECT_IMAGE1D_ARRAY || type == CL_MEM_OBJECT_IMAGE2D_ARRAY) {
    desc.image_array_size = 13;
  }
  return desc;
}

static const cl_image_format kColour = {CL_RGBA, CL_UNORM_INT8};

static cl_int or_lacking(cl_int error) {
  return error == CL_IMAGE_FORMAT_NOT_SUPPORTED || error == CL_INVALID_OPERATION ? kLacking : error;
}

static cl_int image(const struct Place* place, struct Made* made, cl_mem_object_type type,
                    const cl_image_format* format) {
  if (!has_images(place)) return kLacking;
  const cl_image_desc desc = describe(type);
  cl_int error = CL_SUCCESS;
  made->mem = clCreateImage(place->context, CL_MEM_READ_ONLY, format, &desc, NULL, &error);
  return or_lacking(error);
}

#define IMAGE(name, type, order, data)                               \
  static cl_int name(const struct Place* place, struct Made* made) { \
    const cl_image_format format = {order, data};                    \
    return image(place, made, type, &format);                        \
  }
IMAGE(image1d, CL_MEM_OBJECT_IMAGE1D, CL_RGBA, CL_UNORM_INT8)
IMAGE(image1d_array, CL_MEM_OBJECT_IMAGE1D_ARRAY, CL_RGBA, CL_FLOAT)
IMAGE(image2d, CL_MEM_OBJECT_IMAGE2D, CL_RGBA, CL_HALF_FLOAT)
IMAGE(image2d_array, CL_MEM_OBJECT_IMAGE2D_ARRAY, CL_R, CL_SIGNED_INT32)
IMAGE(image3d, CL_MEM_OBJECT_IMAGE3D, CL_RGBA, CL_UNSIGNED_INT16)
IMAGE(image_r8, CL_MEM_OBJECT_IMAGE2D, CL_R, CL_UNORM_INT8)
IMAGE(image_rg16, CL_MEM_OBJECT_IMAGE2D, CL_RG, CL_UNORM_INT16)
IMAGE(image_bgra, CL_MEM_OBJECT_IMAGE2D, CL_BGRA, CL_UNORM_INT8)
IMAGE(image_srgba, CL_MEM_OBJECT_IMAGE2D, CL_sRGBA, CL_UNORM_INT8)
IMAGE(image_depth16, CL_MEM_OBJECT_IMAGE2D, CL_DEPTH, CL_UNORM_INT16)
IMAGE(image_depth, CL_MEM_OBJECT_IMAGE2D, CL_DEPTH, CL_FLOAT)
IMAGE(image_565, CL_MEM_OBJECT_IMAGE2D, CL_RGB, CL_UNORM_SHORT_565)
IMAGE(image_101010, CL_MEM_OBJECT_IMAGE2D, CL_RGB, CL_UNORM_INT_101010)
IMAGE(image_intensity, CL_MEM_OBJECT_IMAGE2D, CL_INTENSITY, CL_FLOAT)
IMAGE(image_luminance, CL_MEM_OBJECT_IMAGE2D, CL_LUMINANCE, CL_UNORM_INT8)

static cl_int image_properties(const struct Place* place, struct Made* made) {
  if (!has_images(place)) return kLacking;
  const cl_image_desc desc = describe(CL_MEM_OBJECT_IMAGE2D);
  cl_int error = CL_SUCCESS;
  made->mem = clCreateImageWithProperties(place->context, NULL, 0, &kColour, &desc, NULL, &error);
  return or_lacking(error);
}
static cl_int image2d_old(const struct Place* place, struct Made* made) {
  if (!has_images(place)) return kLacking;
  cl_int error = CL_SUCCESS;
  made->mem = clCreateImage2D(place->context, 0, &kColour, 1001, 37, 0, NULL, &error);
  return or_lacking(error);
}
static cl_int image3d_old(const struct Place* place, struct Made* made) {
  if (!has_images(place)) return kLacking;
  cl_int error = CL_SUCCESS;
  made->mem = clCreateImage3D(place->context, 0, &kColour, 1001, 37, 11, 0, 0, NULL, &error);
  return or_lacking(error);
}
static cl_int image_of_ours(const struct Place* place, struct Made* made) {
  if (!has_images(place)) return kLacking;
  const cl_image_desc desc = describe(CL_MEM_OBJECT_IMAGE2D);
  cl_int error = CL_SUCCESS;
  made->mem =
      clCreateImage(place->context, CL_MEM_USE_HOST_PTR, &kColour, &desc, place->memory, &error);
  return or_lacking(error);
}
static cl_int buffer_and_image(const struct Place* place, struct Made* made) {
  if (!has_images(place)) return kLacking;
  const cl_int refused = buffer(place, made, 0, kLarge, 0);
  if (refused != CL_SUCCESS) return refused;
  cl_image_desc desc = describe(CL_MEM_OBJECT_IMAGE1D_BUFFER);
  desc.mem_object = made->mem;
  cl_int error = CL_SUCCESS;
  made->child = clCreateImage(place->context, 0, &kColour, &desc, NULL, &error);
  must("clReleaseMemObject", clReleaseMemObject(made->mem));
  return or_lacking(error);
}

static cl_int make_pipe(const struct Place* place, struct Made* made) {
  cl_bool has = CL_FALSE;
  clGetDeviceInfo(place->device, CL_DEVICE_PIPE_SUPPORT, sizeof has, &has, NULL);
  if (!has) return kLacking;
  cl_int error = CL_SUCCESS;
  made->mem = clCreatePipe(place->context, 0, kPacket, kPackets, NULL, &error);
  return error;
}

#define MEM(name, make, size) \
  { name, make, release_mem, size, CL_MEM_OBJECT_ALLOCATION_FAILURE }
#define KEPT(name, make, size) \
  { name, make, release_child, size, CL_MEM_OBJECT_ALLOCATION_FAILURE }
const struct Way kObjectWays[] = {
    MEM("buffer-one-byte", one_byte, 1),
    MEM("buffer-odd", odd, kOdd),
    MEM("buffer-large", large, kLarge),
    MEM("buffer-use-host", use_host, kLarge),
    MEM("buffer-alloc-host", alloc_host, kLarge),
    MEM("buffer-copy-host", copy_host, kOdd),
    MEM("buffer-properties", with_properties, kOdd),
    MEM("buffer-intel", intels, kOdd),
    MEM("buffer-nv", nvidias, kOdd),
    KEPT("sub-buffer", whole_and_part, kLarge),
    MEM("image1d", image1d, kAsDriverSays),
    MEM("image1d-array", image1d_array, kAsDriverSays),
    MEM("image2d", image2d, kAsDriverSays),
    MEM("image2d-array", image2d_array, kAsDriverSays),
    MEM("image3d", image3d, kAsDriverSays),
    MEM("image-r8", image_r8, kAsDriverSays),
    MEM("image-rg16", image_rg16, kAsDriverSays),
    MEM("image-bgra", image_bgra, kAsDriverSays),
    MEM("image-srgba", image_srgba, kAsDriverSays),
    MEM("image-depth16", image_depth16, kAsDriverSays),
    MEM("image-depth", image_depth, kAsDriverSays),
    MEM("image-565", image_565, kAsDriverSays),
    MEM("image-101010", image_101010, kAsDriverSays),
    MEM("image-intensity", image_intensity, kAsDriverSays),
    MEM("image-luminance", image_luminance, kAsDriverSays),
    MEM("image-properties", image_properties, kAsDriverSays),
    MEM("image-use-host", image_of_ours, kAsDriverSays),
    MEM("image2d-old", image2d_old, kAsDriverSays),
    MEM("image3d-old", image3d_old, kAsDriverSays),
    KEPT("image-of-buffer", buffer_and_image, kLarge),
    MEM("pipe", make_pipe, (size_t)kPacket* kPackets),
    {NULL, NULL, NULL, 0, 0},
};
