/* Makes every call that the shim takes part in, the right way and in every wrong one, and prints
 * all that the driver answers:
 *
 *   [--device I] [--only PART] [--hide-layers]
 *
 * What is printed is the same in every run, so that the text without the shim and with it can be
 * compared. Calls that crash a driver are left out. --hide-layers takes OPENCL_LAYERS away before
 * the loader reads it. */
#include "parity.h"

size_t sizes_of_interest(const struct Setting* in, size_t* sizes, size_t room) {
  const size_t all[] = {0,
                        1,
                        4095,
                        (size_t)in->max_alloc_bytes + 1,
                        (size_t)in->global_bytes + 1,
                        (size_t)in->global_bytes * 2,
                        (size_t)1 << 46,
                        (size_t)1 << 54,
                        (size_t)1 << 63,
                        ~(size_t)0 - 4095,
                        ~(size_t)0};
  const size_t count = sizeof all / sizeof all[0] < room ? sizeof all / sizeof all[0] : room;
  memcpy(sizes, all, count * sizeof all[0]);
  return count;
}

int find_function(const struct Setting* in, const char* name, void* function, size_t size) {
  void* found = clGetExtensionFunctionAddressForPlatform(in->platform, name);
  printf("%s: %s\n", name, found != NULL ? "there" : "none");
  memcpy(function, &found, size);
  return found != NULL;
}

void show_pointer(const char* label, const void* made, const cl_int* code) {
  printf("%s: %s", label, made != NULL ? "made" : "null");
  if (code != NULL) printf(", %d", *code);
  printf("\n");
}

static void show_number(cl_mem mem, const char* name, cl_mem_info what) {
  cl_ulong value = 0;
  size_t size = 0;
  const cl_int error = clGetMemObjectInfo(mem, what, sizeof value, &value, &size);
  printf(" %s=%d/%zu/%llu", name, error, size, (unsigned long long)value);
}

static void show_reference(cl_mem mem, const char* name, cl_mem_info what, const void* expected) {
  void* value = NULL;
  const cl_int error = clGetMemObjectInfo(mem, what, sizeof value, &value, NULL);
  printf(" %s=%d/%s", name, error, value == NULL ? "null" : value == expected ? "ours" : "another");
}

void show_mem(const struct Setting* in, const char* label, cl_mem made, const cl_int* code) {
  show_pointer(label, made, code);
  if (made == NULL) return;
  printf("   ");
  show_number(made, "type", CL_MEM_TYPE);
  show_number(made, "flags", CL_MEM_FLAGS);
  show_number(made, "size", CL_MEM_SIZE);
  show_number(made, "maps", CL_MEM_MAP_COUNT);
  show_number(made, "references", CL_MEM_REFERENCE_COUNT);
  show_number(made, "offset", CL_MEM_OFFSET);
  show_number(made, "svm", CL_MEM_USES_SVM_POINTER);
  show_reference(made, "context", CL_MEM_CONTEXT, in->context);
  show_reference(made, "host", CL_MEM_HOST_PTR, in->memory);
  show_reference(made, "parent", CL_MEM_ASSOCIATED_MEMOBJECT, NULL);
  cl_mem_properties properties[8] = {0};
  size_t size = 0;
  const cl_int error =
      clGetMemObjectInfo(made, CL_MEM_PROPERTIES, sizeof properties, properties, &size);
  printf(" properties=%d/%zu/%llx", error, size, (unsigned long long)properties[0]);
  printf(" released=%d\n", clReleaseMemObject(made));
}

/* --- queries ------------------------------------------------------------------------------ */

static int is_handle(cl_device_info what) {
  return what == CL_DEVICE_PLATFORM || what == CL_DEVICE_PARENT_DEVICE;
}

/* With every room from none to `most`: the status, the size, and what was written where. */
static void query_device(cl_device_id device, cl_device_info what, size_t most) {
  unsigned char value[64];
  for (size_t room = 0; room <= most; ++room) {
    memset(value, 0xa5, sizeof value);
    size_t size = kUntouched;
    const cl_int with = clGetDeviceInfo(device, what, room, value, &size);
    printf("device info %#x in %zu: %d, size %zu,", what, room, with, size);
    if (is_handle(what)) {
      printf(" %s", value[most] == 0xa5 ? "kept" : "over");
    } else {
      for (size_t i = 0; i < most + 8; ++i) printf(" %02x", value[i]);
    }
    printf(", without size %d, without value %d\n",
           clGetDeviceInfo(device, what, room, value, NULL),
           clGetDeviceInfo(device, what, room, NULL, &size));
  }
  size_t size = kUntouched;
  const cl_int status = clGetDeviceInfo(device, what, 0, NULL, &size);
  printf("device info %#x: %d, size %zu, nothing asked %d\n", what, status, size,
         clGetDeviceInfo(device, what, 0, NULL, NULL));
}

static void list_devices(const char* label, cl_platform_id platform, cl_device_type type) {
  for (cl_uint room = 0; room <= 2; ++room) {
    cl_device_id found[2] = {NULL, NULL};
    cl_uint count = 4711;
    const cl_int error = clGetDeviceIDs(platform, type, room, found, &count);
    printf("clGetDeviceIDs %s type %#llx in %u: %d, %u", label, (unsigned long long)type, room,
           error, count);
    for (size_t i = 0; i < 2; ++i) printf(", %s", found[i] != NULL ? "there" : "none");
    count = 4711;
    printf(", without count %d, without list %d", clGetDeviceIDs(platform, type, room, found, NULL),
           clGetDeviceIDs(platform, type, room, NULL, &count));
    printf(" %u, nothing asked %d\n", count, clGetDeviceIDs(platform, type, room, NULL, NULL));
  }
}

static void query_calls(const struct Setting* in) {
  for (cl_device_info what = 0x1000; what < 0x1080; ++what) query_device(in->device, what, 16);
  for (cl_device_info what = 0x4000; what < 0x4060; ++what) query_device(in->device, what, 16);
  for (cl_device_info what = 0x4190; what < 0x41b0; ++what) query_device(in->device, what, 16);
  query_device(NULL, CL_DEVICE_GLOBAL_MEM_SIZE, 16);
  query_device(NULL, CL_DEVICE_MAX_MEM_ALLOC_SIZE, 16);
  const cl_device_type types[] = {
      0,       CL_DEVICE_TYPE_DEFAULT, CL_DEVICE_TYPE_CPU, CL_DEVICE_TYPE_GPU,
      1 << 20, CL_DEVICE_TYPE_ALL};
  for (size_t t = 0; t < sizeof types / sizeof types[0]; ++t) {
    list_devices("of the platform", in->platform, types[t]);
    list_devices("of none", NULL, types[t]);
  }
}

/* --- contexts ----------------------------------------------------------------------------- */

static void CL_CALLBACK no_news(const char* text, const void* data, size_t size, void* user_data) {
  (void)text, (void)data, (void)size, (void)user_data;
}

static void show_context(const char* label, cl_context made, const cl_int* code) {
  show_pointer(label, made, code);
  if (made == NULL) return;
  cl_uint devices = 0;
  size_t properties = 0;
  const cl_int first =
      clGetContextInfo(made, CL_CONTEXT_NUM_DEVICES, sizeof devices, &devices, NULL);
  const cl_int second = clGetContextInfo(made, CL_CONTEXT_PROPERTIES, 0, NULL, &properties);
  printf("    devices=%d/%u properties=%d/%zu\n", first, devices, second, properties);
  /* PoCL 3.1 makes one of no devices, with an error, and cannot release it. */
  if (devices != 0) printf("    released=%d\n", clReleaseContext(made));
}

#define CONTEXT(label, expr)              \
  do {                                    \
    cl_int place_ = kUntouched;           \
    cl_int* code = &place_;               \
    show_context(label, (expr), &place_); \
    code = NULL;                          \
    show_context(label, (expr), code);    \
  } while (0)

static void CL_CALLBACK count_end(cl_context context, void* data) {
  (void)context;
  ++*(int*)data;
}

static void context_callbacks(const struct Setting* in) {
  int ended = 0;
  printf("clSetContextDestructorCallback no context: %d\n",
         clSetContextDestructorCallback(NULL, count_end, &ended));
  cl_context made = clCreateContext(NULL, 1, &in->device, NULL, NULL, NULL);
  printf("clSetContextDestructorCallback no callback: %d\n",
         clSetContextDestructorCallback(made, NULL, &ended));
  for (int i = 0; i < 2; ++i) {
    printf("clSetContextDestructorCallback: %d\n",
           clSetContextDestructorCallback(made, count_end, &ended));
  }
  const int error = clReleaseContext(made);
  printf("clReleaseContext: %d, ended %d\n", error, ended);
}

static void context_calls(const struct Setting* in) {
  char label[96];
  const cl_context_properties platform = (cl_context_properties)in->platform;
  const cl_context_properties lists[][7] = {
      {0},
      {CL_CONTEXT_PLATFORM, platform, 0},
      {CL_CONTEXT_PLATFORM, 0, 0},
      {CL_CONTEXT_PLATFORM, platform, CL_CONTEXT_PLATFORM, platform, 0},
      {0x7654, 1, 0},
      {CL_CONTEXT_PLATFORM, platform, 0x7654, 1, 0},
      {CL_CONTEXT_INTEROP_USER_SYNC, CL_TRUE, CL_CONTEXT_PLATFORM, platform, 0},
      {CL_CONTEXT_PLATFORM, platform, CL_CONTEXT_INTEROP_USER_SYNC, 77, 0}};
  const cl_device_id devices[] = {in->device, in->device, NULL};
  const cl_device_id null_first[] = {NULL, in->device};
  CONTEXT("clCreateContext", clCreateContext(NULL, 1, devices, NULL, NULL, code));
  CONTEXT("clCreateContext twice the device", clCreateContext(NULL, 2, devices, NULL, NULL, code));
  CONTEXT("clCreateContext a null device", clCreateContext(NULL, 3, devices, NULL, NULL, code));
  CONTEXT("clCreateContext null first", clCreateContext(NULL, 2, null_first, NULL, NULL, code));
  CONTEXT("clCreateContext of none", clCreateContext(NULL, 0, NULL, NULL, NULL, code));
  CONTEXT("clCreateContext none counted", clCreateContext(NULL, 0, devices, NULL, NULL, code));
  CONTEXT("clCreateContext no list", clCreateContext(NULL, 1, NULL, NULL, NULL, code));
  CONTEXT("clCreateContext data alone", clCreateContext(NULL, 1, devices, NULL, label, code));
  CONTEXT("clCreateContext callback", clCreateContext(NULL, 1, devices, no_news, label, code));
  const cl_device_type types[] = {0,
                                  CL_DEVICE_TYPE_DEFAULT,
                                  CL_DEVICE_TYPE_CPU,
                                  CL_DEVICE_TYPE_GPU,
                                  CL_DEVICE_TYPE_ACCELERATOR,
                                  CL_DEVICE_TYPE_CUSTOM,
                                  CL_DEVICE_TYPE_CPU | CL_DEVICE_TYPE_GPU,
                                  1 << 20,
                                  CL_DEVICE_TYPE_ALL};
  for (size_t i = 0; i < sizeof lists / sizeof lists[0]; ++i) {
    snprintf(label, sizeof label, "clCreateContext properties %zu", i);
    CONTEXT(label, clCreateContext(lists[i], 1, devices, NULL, NULL, code));
    for (size_t t = 0; t < sizeof types / sizeof types[0]; ++t) {
      snprintf(label, sizeof label, "clCreateContextFromType properties %zu type %#llx", i,
               (unsigned long long)types[t]);
      CONTEXT(label, clCreateContextFromType(lists[i], types[t], NULL, NULL, code));
    }
  }
  for (size_t t = 0; t < sizeof types / sizeof types[0]; ++t) {
    snprintf(label, sizeof label, "clCreateContextFromType type %#llx",
             (unsigned long long)types[t]);
    CONTEXT(label, clCreateContextFromType(NULL, types[t], NULL, NULL, code));
    CONTEXT(label, clCreateContextFromType(NULL, types[t], NULL, label, code));
    CONTEXT(label, clCreateContextFromType(NULL, types[t], no_news, label, code));
  }
  context_callbacks(in);
}

/* --- functions by name -------------------------------------------------------------------- */

static void address_calls(const struct Setting* in) {
  static const char* const names[] = {"",
                                      "cl",
                                      "clNoSuchFunction",
                                      "clCreateBuffer",
                                      "clCreateImage",
                                      "clCreateSubBuffer",
                                      "clSVMAlloc",
                                      "clSVMFree",
                                      "clGetDeviceInfo",
                                      "clGetExtensionFunctionAddress",
                                      "clIcdGetPlatformIDsKHR",
                                      "clSVMAllocWithPropertiesKHR",
                                      "clSVMFreeWithPropertiesKHR",
                                      "clHostMemAllocINTEL",
                                      "clDeviceMemAllocINTEL",
                                      "clSharedMemAllocINTEL",
                                      "clMemFreeINTEL",
                                      "clMemBlockingFreeINTEL",
                                      "clCreateBufferWithPropertiesINTEL",
                                      "clCreateImageWithPropertiesINTEL",
                                      "clCreateBufferNV",
                                      "clSVMAllocARM",
                                      "clSVMFreeARM",
                                      "clEnqueueSVMFreeARM",
                                      "clSVMAllocAMD",
                                      "clSVMFreeAMD",
                                      "clEnqueueSVMFreeAMD",
                                      "clImportMemoryARM",
                                      "clCreateFromGLBuffer",
                                      "clGetLayerInfo",
                                      "clInitLayer",
                                      "clCreateBufferWithProperties ",
                                      "CLCREATEBUFFER"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i) {
    printf("clGetExtensionFunctionAddress %s: %s\n", names[i],
           clGetExtensionFunctionAddress(names[i]) != NULL ? "there" : "none");
    printf(
        "clGetExtensionFunctionAddressForPlatform %s: %s, without platform %s\n", names[i],
        clGetExtensionFunctionAddressForPlatform(in->platform, names[i]) != NULL ? "there" : "none",
        clGetExtensionFunctionAddressForPlatform(NULL, names[i]) != NULL ? "there" : "none");
  }
}

/* --- all of them -------------------------------------------------------------------------- */

static const struct Part {
  const char* name;
  void (*calls)(const struct Setting* in);
} kParts[] = {
    {"queries", query_calls},
    {"contexts", context_calls},
    {"addresses", address_calls},
    {"buffers", buffer_calls},
    {"images", image_calls},
    {"pipes", pipe_calls},
    {"lifetimes", lifetime_calls},
    {"svm", svm_calls},
    {"svm-extensions", svm_extension_calls},
    {"usm", usm_calls},
    {"extension-objects", extension_object_calls},
};

static cl_ulong device_bytes(cl_device_id device, cl_device_info what) {
  cl_ulong value = 0;
  must("clGetDeviceInfo", clGetDeviceInfo(device, what, sizeof value, &value, NULL));
  return value;
}

int main(int argc, char** argv) {
  unsigned device = 0;
  const char* only = NULL;
  for (int i = 1; i < argc; ++i) {
    if (strcmp(argv[i], "--device") == 0) {
      device = (unsigned)option_number(argc, argv, &i);
    } else if (strcmp(argv[i], "--only") == 0) {
      only = option_value(argc, argv, &i);
    } else if (strcmp(argv[i], "--hide-layers") == 0) {
      unsetenv("OPENCL_LAYERS");
    } else {
      fprintf(stderr, "usage: %s [--device I] [--only PART] [--hide-layers]\n", argv[0]);
      return kExitUsage;
    }
  }
  struct Setting in;
  memset(&in, 0, sizeof in);
  in.device = pick_device(device);
  must("clGetDeviceInfo",
       clGetDeviceInfo(in.device, CL_DEVICE_PLATFORM, sizeof in.platform, &in.platform, NULL));
  in.global_bytes = device_bytes(in.device, CL_DEVICE_GLOBAL_MEM_SIZE);
  in.max_alloc_bytes = device_bytes(in.device, CL_DEVICE_MAX_MEM_ALLOC_SIZE);
  in.memory = aligned_alloc(kMemoryBytes, kMemoryBytes);
  if (in.memory == NULL) return kExitUnexpected;
  memset(in.memory, 0, kMemoryBytes);
  in.context = make_context(in.device);
  cl_int error = CL_SUCCESS;
  in.queue = clCreateCommandQueueWithProperties(in.context, in.device, NULL, &error);
  must("clCreateCommandQueueWithProperties", error);
  for (size_t i = 0; i < sizeof kParts / sizeof kParts[0]; ++i) {
    if (only != NULL && strcmp(only, kParts[i].name) != 0) continue;
    printf("== %s\n", kParts[i].name);
    kParts[i].calls(&in);
    fflush(stdout); /* what a crash leaves is whole parts */
  }
  must("clReleaseCommandQueue", clReleaseCommandQueue(in.queue));
  must("clReleaseContext", clReleaseContext(in.context));
  free(in.memory);
  return kExitOk;
}
