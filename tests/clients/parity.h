/* What the parts of the parity program share: a call is made, and all that it answers is printed.
 */
#ifndef CHRONOS_TESTS_CLIENTS_PARITY_H
#define CHRONOS_TESTS_CLIENTS_PARITY_H

#define CL_USE_DEPRECATED_OPENCL_1_1_APIS
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#include "client.h"

/* After client.h, which sets the headers' version. */
#include <CL/cl_ext.h>

struct Setting {
  cl_platform_id platform;
  cl_device_id device;
  cl_context context;
  cl_command_queue queue;
  cl_ulong global_bytes;
  cl_ulong max_alloc_bytes;
  char* memory; /* a page of the program's own */
};

enum { kMemoryBytes = 4096, kUntouched = 12345 };

/* Prints what was made, with what the driver says of it, and releases it. */
void show_mem(const struct Setting* in, const char* label, cl_mem made, const cl_int* code);
void show_pointer(const char* label, const void* made, const cl_int* code);

/* The call `expr`, which makes a memory object and takes `code` as errcode_ret, with and without.
 */
#define MEM(in, label, expr)              \
  do {                                    \
    cl_int place_ = kUntouched;           \
    cl_int* code = &place_;               \
    show_mem(in, label, (expr), &place_); \
    code = NULL;                          \
    show_mem(in, label, (expr), code);    \
  } while (0)

/* Sizes from nothing to nonsense. Returns how many. */
size_t sizes_of_interest(const struct Setting* in, size_t* sizes, size_t room);

/* A function that the driver hands out by name; false and a printed line if it has none. */
int find_function(const struct Setting* in, const char* name, void* function, size_t size);

void buffer_calls(const struct Setting* in);
void image_calls(const struct Setting* in);
void pipe_calls(const struct Setting* in);
void lifetime_calls(const struct Setting* in);
void svm_calls(const struct Setting* in);
void svm_extension_calls(const struct Setting* in);
void usm_calls(const struct Setting* in);
void extension_object_calls(const struct Setting* in);

#endif
