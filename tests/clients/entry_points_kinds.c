/* One pair of functions for each way to take device memory and to give it back. */
#define CL_USE_DEPRECATED_OPENCL_1_1_APIS
#include "entry_points.h"

/* After client.h, which sets the headers' version. */
#include <CL/cl_ext.h>

enum { kPixelBytes = 4, kPacketBytes = 1024 };

static const cl_image_format kFormat = {CL_RGBA, CL_UNORM_INT8};

static void* extension(const struct Place* place, const char* name) {
  return clGetExtensionFunctionAddressForPlatform(place->platform, name);
}

static void* needed(const struct Place* place, const char* name) {
  void* function = extension(place, name);
  if (function != NULL) return function;
  fprintf(stderr, "%s has gone\n", name);
  exit(kExitUnexpected);
}

/* A pointer to a function of the type `type`. ISO C has no conversion from void*. */
#define FUNCTION(type, variable, place, name)    \
  type variable = NULL;                          \
  do {                                           \
    void* found_ = needed(place, name);          \
    memcpy(&variable, &found_, sizeof variable); \
  } while (0)

static cl_ulong device_number(const struct Place* place, cl_device_info what, size_t size) {
  cl_ulong value = 0; /* little-endian, like everything this runs on */
  return clGetDeviceInfo(place->device, what, size, &value, NULL) == CL_SUCCESS ? value : 0;
}

/* --- what the device offers --------------------------------------------------------------- */

static int always(const struct Place* place) {
  (void)place;
  return 1;
}

static int has_images(const struct Place* place) {
  return device_number(place, CL_DEVICE_IMAGE_SUPPORT, sizeof(cl_bool)) != 0;
}

static int has_pipes(const struct Place* place) {
  return device_number(place, CL_DEVICE_PIPE_SUPPORT, sizeof(cl_bool)) != 0;
}

static int has_svm(const struct Place* place) {
  return device_number(place, CL_DEVICE_SVM_CAPABILITIES, sizeof(cl_device_svm_capabilities)) != 0;
}

static int has_usm(const struct Place* place) {
  return extension(place, "clDeviceMemAllocINTEL") != NULL &&
         extension(place, "clSharedMemAllocINTEL") != NULL &&
         extension(place, "clHostMemAllocINTEL") != NULL &&
         extension(place, "clMemFreeINTEL") != NULL;
}

static int has_arm_svm(const struct Place* place) {
  return extension(place, "clSVMAllocARM") != NULL && extension(place, "clSVMFreeARM") != NULL;
}

static int has_buffer_intel(const struct Place* place) {
  return extension(place, "clCreateBufferWithPropertiesINTEL") != NULL;
}

/* --- memory objects ----------------------------------------------------------------------- */

static void release_mems(const struct Place* place) {
  for (size_t i = 0; i < place->count; ++i) {
    must("clReleaseMemObject", clReleaseMemObject(place->objects[i].mem));
    if (place->objects[i].under != NULL) {
      must("clReleaseMemObject", clReleaseMemObject(place->objects[i].under));
    }
  }
}

static cl_int make_buffer(const struct Place* place, struct Object* object) {
  cl_int error = CL_SUCCESS;
  object->mem = clCreateBuffer(place->context, CL_MEM_READ_WRITE, place->size, NULL, &error);
  return error;
}

static cl_int make_buffer_props(const struct Place* place, struct Object* object) {
  const cl_mem_properties none[] = {0};
  cl_int error = CL_SUCCESS;
  object->mem = clCreateBufferWithProperties(place->context, none, CL_MEM_READ_WRITE, place->size,
                                             NULL, &error);
  return error;
}

static cl_int make_buffer_intel(const struct Place* place, struct Object* object) {
  FUNCTION(clCreateBufferWithPropertiesINTEL_fn, create, place,
           "clCreateBufferWithPropertiesINTEL");
  cl_int error = CL_SUCCESS;
  object->mem = create(place->context, NULL, CL_MEM_READ_WRITE, place->size, NULL, &error);
  return error;
}

/* The largest power of two up to `most` that divides `*rest`, which is divided by it. */
static size_t take_power(size_t* rest, size_t most) {
  size_t power = 1;
  while (power * 2 <= most && *rest % 2 == 0) {
    power *= 2;
    *rest /= 2;
  }
  return power;
}

static size_t pixels_of(const struct Place* place) {
  if (place->size != 0 && place->size % kPixelBytes == 0) return place->size / kPixelBytes;
  fprintf(stderr, "the size of an image must be a multiple of %d\n", kPixelBytes);
  exit(kExitUsage);
}

static cl_image_desc describe(const struct Place* place, cl_mem_object_type type) {
  cl_image_desc desc;
  memset(&desc, 0, sizeof desc);
  desc.image_type = type;
  size_t rest = pixels_of(place);
  if (type == CL_MEM_OBJECT_IMAGE1D || type == CL_MEM_OBJECT_IMAGE1D_BUFFER) {
    desc.image_width = rest;
    return desc;
  }
  const int deep = type != CL_MEM_OBJECT_IMAGE2D;
  desc.image_width = take_power(&rest, deep ? 1024 : 8192);
  if (!deep) {
    desc.image_height = rest;
    return desc;
  }
  desc.image_height = take_power(&rest, 1024);
  if (type == CL_MEM_OBJECT_IMAGE3D) {
    desc.image_depth = rest;
  } else {
    desc.image_array_size = rest;
  }
  return desc;
}

static cl_int make_image(const struct Place* place, struct Object* object,
                         cl_mem_object_type type) {
  const cl_image_desc desc = describe(place, type);
  cl_int error = CL_SUCCESS;
  object->mem = clCreateImage(place->context, CL_MEM_READ_WRITE, &kFormat, &desc, NULL, &error);
  return error;
}

static cl_int make_image1d(const struct Place* place, struct Object* object) {
  return make_image(place, object, CL_MEM_OBJECT_IMAGE1D);
}

static cl_int make_image2d(const struct Place* place, struct Object* object) {
  return make_image(place, object, CL_MEM_OBJECT_IMAGE2D);
}

static cl_int make_image3d(const struct Place* place, struct Object* object) {
  return make_image(place, object, CL_MEM_OBJECT_IMAGE3D);
}

static cl_int make_image2d_array(const struct Place* place, struct Object* object) {
  return make_image(place, object, CL_MEM_OBJECT_IMAGE2D_ARRAY);
}

static cl_int make_image1d_buffer(const struct Place* place, struct Object* object) {
  cl_int error = CL_SUCCESS;
  object->under = clCreateBuffer(place->context, CL_MEM_READ_WRITE, place->size, NULL, &error);
  if (object->under == NULL) return error;
  cl_image_desc desc = describe(place, CL_MEM_OBJECT_IMAGE1D_BUFFER);
  desc.mem_object = object->under;
  object->mem = clCreateImage(place->context, CL_MEM_READ_WRITE, &kFormat, &desc, NULL, &error);
  if (object->mem == NULL) must("clReleaseMemObject", clReleaseMemObject(object->under));
  return error;
}

static cl_int make_image2d_old(const struct Place* place, struct Object* object) {
  const cl_image_desc desc = describe(place, CL_MEM_OBJECT_IMAGE2D);
  cl_int error = CL_SUCCESS;
  object->mem = clCreateImage2D(place->context, CL_MEM_READ_WRITE, &kFormat, desc.image_width,
                                desc.image_height, 0, NULL, &error);
  return error;
}

static cl_int make_image3d_old(const struct Place* place, struct Object* object) {
  const cl_image_desc desc = describe(place, CL_MEM_OBJECT_IMAGE3D);
  cl_int error = CL_SUCCESS;
  object->mem = clCreateImage3D(place->context, CL_MEM_READ_WRITE, &kFormat, desc.image_width,
                                desc.image_height, desc.image_depth, 0, 0, NULL, &error);
  return error;
}

static cl_int make_image_props(const struct Place* place, struct Object* object) {
  const cl_mem_properties none[] = {0};
  const cl_image_desc desc = describe(place, CL_MEM_OBJECT_IMAGE2D);
  cl_int error = CL_SUCCESS;
  object->mem = clCreateImageWithProperties(place->context, none, CL_MEM_READ_WRITE, &kFormat,
                                            &desc, NULL, &error);
  return error;
}

static cl_int make_pipe(const struct Place* place, struct Object* object) {
  if (place->size % kPacketBytes != 0) {
    fprintf(stderr, "the size of a pipe must be a multiple of %d\n", kPacketBytes);
    exit(kExitUsage);
  }
  cl_int error = CL_SUCCESS;
  object->mem = clCreatePipe(place->context, CL_MEM_READ_WRITE | CL_MEM_HOST_NO_ACCESS,
                             kPacketBytes, (cl_uint)(place->size / kPacketBytes), NULL, &error);
  return error;
}

/* --- pointers ----------------------------------------------------------------------------- */

static cl_int make_svm(const struct Place* place, struct Object* object) {
  object->pointer = clSVMAlloc(place->context, CL_MEM_READ_WRITE, place->size, 0);
  return object->pointer != NULL ? CL_SUCCESS : kNull;
}

static void release_svm(const struct Place* place) {
  for (size_t i = 0; i < place->count; ++i) clSVMFree(place->context, place->objects[i].pointer);
}

static void CL_CALLBACK free_each(cl_command_queue queue, cl_uint count, void* pointers[],
                                  void* user_data) {
  (void)queue;
  for (cl_uint i = 0; i < count; ++i) clSVMFree((cl_context)user_data, pointers[i]);
}

static void enqueue_free(const struct Place* place, int with_callback) {
  if (place->count == 0) return;
  void** list = calloc(place->count, sizeof *list);
  if (list == NULL) exit(kExitUnexpected);
  for (size_t i = 0; i < place->count; ++i) list[i] = place->objects[i].pointer;
  cl_event event = NULL;
  must("clEnqueueSVMFree",
       clEnqueueSVMFree(place->queue, (cl_uint)place->count, list, with_callback ? free_each : NULL,
                        with_callback ? place->context : NULL, 0, NULL, &event));
  free(list); /* the standard allows it at once */
  must("clWaitForEvents", clWaitForEvents(1, &event));
  must("clReleaseEvent", clReleaseEvent(event));
}

static void release_svm_enqueued(const struct Place* place) { enqueue_free(place, 0); }
static void release_svm_callback(const struct Place* place) { enqueue_free(place, 1); }

static cl_int make_buffer_over_svm(const struct Place* place, struct Object* object) {
  const cl_int refused = make_svm(place, object);
  if (refused != CL_SUCCESS) return refused;
  cl_int error = CL_SUCCESS;
  object->mem = clCreateBuffer(place->context, CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR, place->size,
                               object->pointer, &error);
  if (object->mem == NULL) clSVMFree(place->context, object->pointer);
  return error;
}

static void release_buffer_over_svm(const struct Place* place) {
  release_mems(place);
  release_svm(place);
}

typedef void*(CL_API_CALL* svm_alloc_arm_fn)(cl_context, cl_svm_mem_flags_arm, size_t, cl_uint);
typedef void(CL_API_CALL* svm_free_arm_fn)(cl_context, void*);

static cl_int make_arm_svm(const struct Place* place, struct Object* object) {
  FUNCTION(svm_alloc_arm_fn, allocate, place, "clSVMAllocARM");
  object->pointer = allocate(place->context, CL_MEM_READ_WRITE, place->size, 0);
  return object->pointer != NULL ? CL_SUCCESS : kNull;
}

static void release_arm_svm(const struct Place* place) {
  FUNCTION(svm_free_arm_fn, release, place, "clSVMFreeARM");
  for (size_t i = 0; i < place->count; ++i) release(place->context, place->objects[i].pointer);
}

static cl_int make_usm_device(const struct Place* place, struct Object* object) {
  FUNCTION(clDeviceMemAllocINTEL_fn, allocate, place, "clDeviceMemAllocINTEL");
  cl_int error = CL_SUCCESS;
  object->pointer = allocate(place->context, place->device, NULL, place->size, 0, &error);
  return error;
}

static cl_int make_usm_shared(const struct Place* place, struct Object* object) {
  FUNCTION(clSharedMemAllocINTEL_fn, allocate, place, "clSharedMemAllocINTEL");
  cl_int error = CL_SUCCESS;
  object->pointer = allocate(place->context, place->device, NULL, place->size, 0, &error);
  return error;
}

static cl_int make_usm_host(const struct Place* place, struct Object* object) {
  FUNCTION(clHostMemAllocINTEL_fn, allocate, place, "clHostMemAllocINTEL");
  cl_int error = CL_SUCCESS;
  object->pointer = allocate(place->context, NULL, place->size, 0, &error);
  return error;
}

/* Every other one with the blocking call. */
static void release_usm(const struct Place* place) {
  FUNCTION(clMemFreeINTEL_fn, release, place, "clMemFreeINTEL");
  clMemBlockingFreeINTEL_fn blocking = NULL;
  void* found = extension(place, "clMemBlockingFreeINTEL");
  memcpy(&blocking, &found, sizeof blocking);
  for (size_t i = 0; i < place->count; ++i) {
    must("clMemFreeINTEL", i % 2 == 1 && blocking != NULL
                               ? blocking(place->context, place->objects[i].pointer)
                               : release(place->context, place->objects[i].pointer));
  }
}

/* --- all of them -------------------------------------------------------------------------- */

const struct Kind kKinds[] = {
    {"buffer", always, make_buffer, release_mems},
    {"buffer-props", always, make_buffer_props, release_mems},
    {"buffer-props-intel", has_buffer_intel, make_buffer_intel, release_mems},
    {"image1d", has_images, make_image1d, release_mems},
    {"image1d-buffer", has_images, make_image1d_buffer, release_mems},
    {"image2d", has_images, make_image2d, release_mems},
    {"image2d-array", has_images, make_image2d_array, release_mems},
    {"image2d-old", has_images, make_image2d_old, release_mems},
    {"image3d", has_images, make_image3d, release_mems},
    {"image3d-old", has_images, make_image3d_old, release_mems},
    {"image-props", has_images, make_image_props, release_mems},
    {"pipe", has_pipes, make_pipe, release_mems},
    {"svm", has_svm, make_svm, release_svm},
    {"svm-enqueue-free", has_svm, make_svm, release_svm_enqueued},
    {"svm-enqueue-free-callback", has_svm, make_svm, release_svm_callback},
    {"buffer-over-svm", has_svm, make_buffer_over_svm, release_buffer_over_svm},
    {"arm-svm", has_arm_svm, make_arm_svm, release_arm_svm},
    {"usm-device", has_usm, make_usm_device, release_usm},
    {"usm-shared", has_usm, make_usm_shared, release_usm},
    {"usm-host", has_usm, make_usm_host, release_usm},
    {NULL, NULL, NULL, NULL},
};
