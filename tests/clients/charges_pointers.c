/* Memory known by address: SVM in the core and in extensions, and Intel's USM. */
#include "charges.h"

enum { kBytes = 12345 };

static void* function(const struct Place* place, const char* name) {
  return clGetExtensionFunctionAddressForPlatform(place->platform, name);
}

/* ISO C has no conversion from void*. */
#define FUNCTION(type, variable, place, name)    \
  type variable = NULL;                          \
  do {                                           \
    void* found_ = function(place, name);        \
    memcpy(&variable, &found_, sizeof variable); \
  } while (0)

static cl_int made_or_null(struct Made* made, void* pointer) {
  made->pointer = pointer;
  return pointer != NULL ? CL_SUCCESS : kNull;
}

/* --- shared virtual memory ------------------------------------------------------------------ */

static cl_int svm(const struct Place* place, struct Made* made, cl_device_svm_capabilities needed,
                  cl_svm_mem_flags flags) {
  cl_device_svm_capabilities has = 0;
  if (clGetDeviceInfo(place->device, CL_DEVICE_SVM_CAPABILITIES, sizeof has, &has, NULL) !=
          CL_SUCCESS ||
      (has & needed) == 0) {
    return kLacking;
  }
  return made_or_null(made, clSVMAlloc(place->context, flags, kBytes, 0));
}
static cl_int coarse(const struct Place* place, struct Made* made) {
  return svm(place, made, CL_DEVICE_SVM_COARSE_GRAIN_BUFFER, CL_MEM_READ_WRITE);
}
static cl_int fine(const struct Place* place, struct Made* made) {
  return svm(place, made, CL_DEVICE_SVM_FINE_GRAIN_BUFFER, CL_MEM_SVM_FINE_GRAIN_BUFFER);
}
static void free_svm(const struct Place* place, struct Made* made) {
  clSVMFree(place->context, made->pointer);
}

static void CL_CALLBACK free_each(cl_command_queue queue, cl_uint count, void* list[],
                                  void* context) {
  (void)queue;
  for (cl_uint i = 0; i < count; ++i) clSVMFree(context, list[i]);
}
static void free_enqueued(const struct Place* place, struct Made* made) {
  must("clEnqueueSVMFree",
       clEnqueueSVMFree(place->queue, 1, &made->pointer, NULL, NULL, 0, NULL, NULL));
  must("clFinish", clFinish(place->queue));
}
static void free_called_back(const struct Place* place, struct Made* made) {
  cl_event event = NULL;
  must("clEnqueueSVMFree", clEnqueueSVMFree(place->queue, 1, &made->pointer, free_each,
                                            place->context, 0, NULL, &event));
  must("clWaitForEvents", clWaitForEvents(1, &event));
  must("clReleaseEvent", clReleaseEvent(event));
}

/* A buffer over it costs nothing. */
static cl_int with_buffer(const struct Place* place, struct Made* made) {
  const cl_int refused = coarse(place, made);
  if (refused != CL_SUCCESS) return refused;
  cl_int error = CL_SUCCESS;
  made->mem = clCreateBuffer(place->context, CL_MEM_USE_HOST_PTR, kBytes, made->pointer, &error);
  must("clCreateBuffer over SVM", error);
  return error;
}
static void free_with_buffer(const struct Place* place, struct Made* made) {
  must("clReleaseMemObject", clReleaseMemObject(made->mem));
  must("clFinish", clFinish(place->queue));
  clSVMFree(place->context, made->pointer);
}

typedef void*(CL_API_CALL* AllocateSvm)(cl_context, cl_bitfield, size_t, cl_uint);
typedef void(CL_API_CALL* FreeSvm)(cl_context, void*);
typedef cl_int(CL_API_CALL* EnqueueFreeSvm)(cl_command_queue, cl_uint, void**,
                                            void(CL_CALLBACK*)(cl_command_queue, cl_uint, void**,
                                                               void*),
                                            void*, cl_uint, const cl_event*, cl_event*);

#define VENDOR_SVM(name, NAME)                                                 \
  static cl_int name##_svm(const struct Place* place, struct Made* made) {     \
    FUNCTION(AllocateSvm, allocate, place, "clSVMAlloc" #NAME);                \
    if (allocate == NULL) return kLacking;                                     \
    return made_or_null(made, allocate(place->context, 0, kBytes, 0));         \
  }                                                                            \
  static void name##_free(const struct Place* place, struct Made* made) {      \
    FUNCTION(FreeSvm, release, place, "clSVMFree" #NAME);                      \
    release(place->context, made->pointer);                                    \
  }                                                                            \
  static void name##_enqueued(const struct Place* place, struct Made* made) {  \
    FUNCTION(EnqueueFreeSvm, enqueue, place, "clEnqueueSVMFree" #NAME);        \
    must("clEnqueueSVMFree" #NAME,                                             \
         enqueue(place->queue, 1, &made->pointer, NULL, NULL, 0, NULL, NULL)); \
    must("clFinish", clFinish(place->queue));                                  \
  }
VENDOR_SVM(arm, ARM)
VENDOR_SVM(amd, AMD)

typedef void*(CL_API_CALL* AllocateKhr)(cl_context, const cl_bitfield*, cl_uint, size_t, cl_int*);
typedef cl_int(CL_API_CALL* FreeKhr)(cl_context, const cl_bitfield*, cl_bitfield, void*);
static cl_int khr_svm(const struct Place* place, struct Made* made) {
  FUNCTION(AllocateKhr, allocate, place, "clSVMAllocWithPropertiesKHR");
  if (allocate == NULL) return kLacking;
  cl_int error = CL_SUCCESS;
  made->pointer = allocate(place->context, NULL, 0, kBytes, &error);
  return error;
}
static void khr_free(const struct Place* place, struct Made* made) {
  FUNCTION(FreeKhr, release, place, "clSVMFreeWithPropertiesKHR");
  must("clSVMFreeWithPropertiesKHR", release(place->context, NULL, 0, made->pointer));
}

/* --- unified shared memory ---------------------------------------------------------------- */

static cl_int usm(const struct Place* place, struct Made* made, const char* name,
                  cl_device_id device) {
  FUNCTION(clDeviceMemAllocINTEL_fn, allocate, place, name);
  if (allocate == NULL) return kLacking;
  cl_int error = CL_SUCCESS;
  made->pointer = allocate(place->context, device, NULL, kBytes, 0, &error);
  return error;
}
static cl_int usm_device(const struct Place* place, struct Made* made) {
  return usm(place, made, "clDeviceMemAllocINTEL", place->device);
}
static cl_int usm_shared(const struct Place* place, struct Made* made) {
  return usm(place, made, "clSharedMemAllocINTEL", place->device);
}
static cl_int usm_shared_by_all(const struct Place* place, struct Made* made) {
  return usm(place, made, "clSharedMemAllocINTEL", NULL);
}
static cl_int usm_host(const struct Place* place, struct Made* made) {
  FUNCTION(clHostMemAllocINTEL_fn, allocate, place, "clHostMemAllocINTEL");
  if (allocate == NULL) return kLacking;
  cl_int error = CL_SUCCESS;
  made->pointer = allocate(place->context, NULL, kBytes, 0, &error);
  return error;
}
static void usm_free(const struct Place* place, struct Made* made) {
  FUNCTION(clMemFreeINTEL_fn, release, place, "clMemFreeINTEL");
  must("clMemFreeINTEL", release(place->context, made->pointer));
}
static void usm_free_blocking(const struct Place* place, struct Made* made) {
  FUNCTION(clMemFreeINTEL_fn, release, place, "clMemBlockingFreeINTEL");
  must("clMemBlockingFreeINTEL", release(place->context, made->pointer));
}

const struct Way kPointerWays[] = {
    {"svm", coarse, free_svm, kBytes, kNull},
    {"svm-fine", fine, free_svm, kBytes, kNull},
    {"svm-enqueued", coarse, free_enqueued, kBytes, kNull},
    {"svm-called-back", coarse, free_called_back, kBytes, kNull},
    {"svm-with-buffer", with_buffer, free_with_buffer, kBytes, kNull},
    {"svm-arm", arm_svm, arm_free, kBytes, kNull},
    {"svm-arm-enqueued", arm_svm, arm_enqueued, kBytes, kNull},
    {"svm-amd", amd_svm, amd_free, kBytes, kNull},
    {"svm-amd-enqueued", amd_svm, amd_enqueued, kBytes, kNull},
    {"svm-khr", khr_svm, khr_free, kBytes, CL_OUT_OF_RESOURCES},
    {"usm-device", usm_device, usm_free, kBytes, CL_OUT_OF_RESOURCES},
    {"usm-device-blocking", usm_device, usm_free_blocking, kBytes, CL_OUT_OF_RESOURCES},
    {"usm-shared", usm_shared, usm_free, kBytes, CL_OUT_OF_RESOURCES},
    {"usm-shared-by-all", usm_shared_by_all, usm_free_blocking, kBytes, CL_OUT_OF_RESOURCES},
    {"usm-host", usm_host, usm_free, 0, CL_OUT_OF_RESOURCES},
    {NULL, NULL, NULL, 0, 0},
};
