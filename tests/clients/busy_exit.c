/* A program that calls exit() while its threads still allocate:
 *   [--threads N] [--size BYTES]
 * Each thread makes, retains, cuts and releases buffers without end; once every one has gone round
 * a few times the program ends with status 7, and leaves a buffer behind. */
#include <pthread.h>

#include "client.h"

enum { kRounds = 50, kMostThreads = 64 };

static cl_context context;
static size_t size = 1 << 20;
static _Atomic unsigned warm;

static void* allocate_for_ever(void* unused) {
  for (unsigned long long round = 0;; ++round) {
    if (round == kRounds) ++warm;
    cl_mem made = clCreateBuffer(context, CL_MEM_READ_WRITE, size, NULL, NULL);
    if (made == NULL) continue;
    const cl_buffer_region region = {0, 4096};
    cl_mem part = clCreateSubBuffer(made, 0, CL_BUFFER_CREATE_TYPE_REGION, &region, NULL);
    clRetainMemObject(made);
    clReleaseMemObject(made);
    clReleaseMemObject(made);
    if (part != NULL) clReleaseMemObject(part);
  }
  return unused;
}

int main(int argc, char** argv) {
  unsigned threads = 4;
  for (int i = 1; i < argc; ++i) {
    if (strcmp(argv[i], "--size") == 0) size = (size_t)option_number(argc, argv, &i);
    if (strcmp(argv[i], "--threads") == 0) threads = (unsigned)option_number(argc, argv, &i);
  }
  if (threads > kMostThreads) return kExitUsage;
  context = make_context(pick_device(0));
  cl_int error = CL_SUCCESS;
  clCreateBuffer(context, CL_MEM_READ_WRITE, size, NULL, &error);
  must("clCreateBuffer", error);
  for (unsigned i = 0; i < threads; ++i) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, allocate_for_ever, NULL) != 0) return kExitUnexpected;
  }
  while (warm < threads) usleep(100);
  exit(7);
}
