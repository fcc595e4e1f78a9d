/* The program behind linked_c and dlopen_c, which differ only in how they reach OpenCL:
 *
 *   [--size BYTES] [--count N] [--hold SECONDS] [--device I]
 *
 * makes N buffers and prints `ok BYTES` or `error CODE` for each; with --hold waits for the end of
 * stdin or SIGTERM, at most so long; releases them. Exit status 0, or 3 if any was refused. */
#ifndef CHRONOS_TESTS_CLIENTS_HOLD_BUFFERS_H
#define CHRONOS_TESTS_CLIENTS_HOLD_BUFFERS_H

#include "client.h"

static int hold_buffers(int argc, char** argv) {
  unsigned long long size = 1 << 20;
  unsigned long long count = 1;
  unsigned long long seconds = 0;
  unsigned long long device_index = 0;
  for (int i = 1; i < argc; ++i) {
    if (strcmp(argv[i], "--size") == 0) {
      size = option_number(argc, argv, &i);
    } else if (strcmp(argv[i], "--count") == 0) {
      count = option_number(argc, argv, &i);
    } else if (strcmp(argv[i], "--hold") == 0) {
      seconds = option_number(argc, argv, &i);
    } else if (strcmp(argv[i], "--device") == 0) {
      device_index = option_number(argc, argv, &i);
    } else {
      fprintf(stderr, "usage: %s [--size BYTES] [--count N] [--hold SECONDS] [--device I]\n",
              argv[0]);
      return kExitUsage;
    }
  }
  sigset_t signals;
  block_sigterm(&signals);

  cl_context context = make_context(pick_device((unsigned)device_index));
  cl_mem* buffers = calloc(count != 0 ? count : 1, sizeof *buffers);
  if (buffers == NULL) {
    fprintf(stderr, "no memory for %llu handles\n", count);
    return kExitUnexpected;
  }
  int status = kExitOk;
  for (unsigned long long i = 0; i < count; ++i) {
    cl_int error = CL_SUCCESS;
    buffers[i] = CL_CALL(clCreateBuffer)(context, CL_MEM_READ_WRITE, size, NULL, &error);
    if (buffers[i] != NULL) {
      printf("ok %llu\n", size);
    } else {
      printf("error %d\n", error);
      status = kExitRefused;
    }
  }
  fflush(stdout); /* whoever holds the other end of stdin reads this first */
  if (seconds != 0) hold(seconds, &signals);
  for (unsigned long long i = 0; i < count; ++i) {
    if (buffers[i] != NULL) must("clReleaseMemObject", CL_CALL(clReleaseMemObject)(buffers[i]));
  }
  free(buffers);
  must("clReleaseContext", CL_CALL(clReleaseContext)(context));
  return status;
}

#endif
