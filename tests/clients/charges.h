/* The ways to take device memory that charges.c goes through. */
#ifndef CHRONOS_TESTS_CLIENTS_CHARGES_H
#define CHRONOS_TESTS_CLIENTS_CHARGES_H

#define CL_USE_DEPRECATED_OPENCL_1_1_APIS
#include "client.h"

/* After client.h, which sets the headers' version. */
#include <CL/cl_ext.h>

struct Place {
  cl_platform_id platform;
  cl_device_id device;
  cl_context context;
  cl_command_queue queue;
  size_t limit;
  char* memory; /* kMemoryBytes of the program's own */
};

enum { kMemoryBytes = 4 << 20 };

struct Made {
  cl_mem mem;
  cl_mem child;
  void* pointer;
};

/* What make() answers beside OpenCL's errors, which are never above 0. */
enum { kNull = 1, kLacking = 2 };
#define kAsDriverSays (~(size_t)0)

struct Way {
  const char* name;
  cl_int (*make)(const struct Place* place, struct Made* made);
  void (*release)(const struct Place* place, struct Made* made);
  size_t size; /* what it costs */
  cl_int refusal;
};

/* Both end with one without a name. */
extern const struct Way kObjectWays[];
extern const struct Way kPointerWays[];

#endif
