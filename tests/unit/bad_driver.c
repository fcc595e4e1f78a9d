/* OpenCL drivers that misbehave, one for each BEHAVIOUR, for the tests of the inventory. Only what
 * an ICD loader needs to name platforms and devices. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CL_TARGET_OPENCL_VERSION 300
#include <CL/cl.h>

enum {
  GOOD,
  NOISY,
  EMPTY,
  REFUSES,
  HANGS,
  ABORTS,
  CRASHES_AT_END,
  EXITS,
  SCRIBBLES,
  LEAVES_A_CHILD
};

struct table {
  void (*get_platform_ids)(void);
  cl_int (*get_platform_info)(cl_platform_id, cl_platform_info, size_t, void*, size_t*);
  cl_int (*get_device_ids)(cl_platform_id, cl_device_type, cl_uint, cl_device_id*, cl_uint*);
  cl_int (*get_device_info)(cl_device_id, cl_device_info, size_t, void*, size_t*);
};
struct _cl_platform_id {
  const struct table* dispatch;
};
struct _cl_device_id {
  const struct table* dispatch;
};

static cl_int give(const void* data, size_t data_size, size_t size, void* value, size_t* size_ret) {
  if (size_ret != NULL) *size_ret = data_size;
  if (value == NULL) return CL_SUCCESS;
  if (size < data_size) return CL_INVALID_VALUE;
  memcpy(value, data, data_size);
  return CL_SUCCESS;
}

static cl_int give_text(const char* text, size_t size, void* value, size_t* size_ret) {
  return give(text, strlen(text) + 1, size, value, size_ret);
}

static cl_int get_platform_info(cl_platform_id platform, cl_platform_info what, size_t size,
                                void* value, size_t* size_ret) {
  (void)platform;
  if (what == CL_PLATFORM_NAME) return give_text("Bad Platform", size, value, size_ret);
  return CL_INVALID_VALUE;
}

static const struct table the_table;
static struct _cl_platform_id the_platform = {&the_table};
static struct _cl_device_id the_device = {&the_table};

static void misbehave(void) {
  if (BEHAVIOUR == NOISY) {
    puts("{\"devices\": []}\nnoise on stdout");
    fputs("noise on stderr\n", stderr);
    fflush(stdout);
  } else if (BEHAVIOUR == HANGS) {
    for (;;) pause();
  } else if (BEHAVIOUR == ABORTS) {
    abort();
  } else if (BEHAVIOUR == EXITS) {
    exit(7);
  } else if (BEHAVIOUR == SCRIBBLES) {
    static const char junk[] = "\x1b[2J junk\n";
    for (int fd = 3; fd < 64; ++fd) {
      ssize_t ignored = write(fd, junk, sizeof junk - 1);
      (void)ignored;
    }
  } else if (BEHAVIOUR == LEAVES_A_CHILD) {
    if (fork() == 0) {
      for (;;) pause(); /* it holds the pipe of the answer open */
    }
  }
}

static void crash(void) { raise(SIGSEGV); }

static cl_int get_device_ids(cl_platform_id platform, cl_device_type type, cl_uint entries,
                             cl_device_id* devices, cl_uint* count) {
  (void)platform;
  misbehave();
  if (BEHAVIOUR == REFUSES) return CL_OUT_OF_HOST_MEMORY;
  if (type == CL_DEVICE_TYPE_CUSTOM) return CL_DEVICE_NOT_FOUND;
  if (entries > 0 && devices != NULL) devices[0] = &the_device;
  if (count != NULL) *count = 1;
  return CL_SUCCESS;
}

static cl_int get_device_info(cl_device_id device, cl_device_info what, size_t size, void* value,
                              size_t* size_ret) {
  (void)device;
  const cl_device_type type = CL_DEVICE_TYPE_GPU;
  const cl_ulong total = 1ul << 30;
  switch (what) {
    case CL_DEVICE_NAME:
      return give_text("  Bad   GPU ", size, value, size_ret);
    case CL_DEVICE_VENDOR:
      return give_text("Nobody", size, value, size_ret);
    case CL_DEVICE_VERSION:
      return give_text("OpenCL 1.2 bad stuff", size, value, size_ret);
    case CL_DEVICE_TYPE:
      return give(&type, sizeof type, size, value, size_ret);
    case CL_DEVICE_GLOBAL_MEM_SIZE:
      return give(&total, sizeof total, size, value, size_ret);
    default:
      return CL_INVALID_VALUE;
  }
}

static const struct table the_table = {crash, get_platform_info, get_device_ids, get_device_info};

__attribute__((visibility("default"))) cl_int clIcdGetPlatformIDsKHR(cl_uint entries,
                                                                     cl_platform_id* platforms,
                                                                     cl_uint* count);
cl_int clIcdGetPlatformIDsKHR(cl_uint entries, cl_platform_id* platforms, cl_uint* count) {
  if (BEHAVIOUR == EMPTY) return -1001; /* CL_PLATFORM_NOT_FOUND_KHR */
  if (BEHAVIOUR == CRASHES_AT_END) atexit(crash);
  if (entries > 0 && platforms != NULL) platforms[0] = &the_platform;
  if (count != NULL) *count = 1;
  return CL_SUCCESS;
}
