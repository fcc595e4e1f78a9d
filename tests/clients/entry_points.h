/* The kinds of device memory that entry_points can take (entry_points_kinds.c). */
#ifndef CHRONOS_TESTS_CLIENTS_ENTRY_POINTS_H
#define CHRONOS_TESTS_CLIENTS_ENTRY_POINTS_H

#include "client.h"

struct Object {
  cl_mem mem;
  cl_mem under; /* the buffer of an image over one */
  void* pointer;
};

/* What the calls of one run work on. */
struct Place {
  cl_device_id device;
  cl_platform_id platform;
  cl_context context;
  cl_command_queue queue;
  size_t size;
  struct Object* objects;
  size_t count;
};

struct Kind {
  const char* name;
  int (*supported)(const struct Place* place);
  /* CL_SUCCESS, the error of the call, or kNull. */
  cl_int (*make)(const struct Place* place, struct Object* object);
  void (*release)(const struct Place* place);
};

enum { kNull = 1 }; /* no error of OpenCL's is above 0 */

/* Ends with one without a name. */
extern const struct Kind kKinds[];

#endif
