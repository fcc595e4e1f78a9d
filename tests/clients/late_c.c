/* A program whose last destructors still use OpenCL, as libraries' do: makes a buffer, leaves
 * another one alive at exit, and in a destructor releases the first and makes a third.
 *   [--size BYTES] */
#include "client.h"

static cl_context context;
static cl_mem first;
static size_t size = 1 << 20;

static void create(const char* name, cl_mem* out) {
  cl_int error = CL_SUCCESS;
  *out = clCreateBuffer(context, CL_MEM_READ_WRITE, size, NULL, &error);
  printf("%s %d\n", name, error);
}

__attribute__((destructor(101))) static void at_the_very_end(void) {
  cl_mem late = NULL;
  create("late before release", &late);
  if (first != NULL) printf("release %d\n", clReleaseMemObject(first));
  create("late", &late);
  fflush(stdout);
}

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (strcmp(argv[i], "--size") == 0) size = (size_t)option_number(argc, argv, &i);
  }
  context = make_context(pick_device(0));
  create("first", &first);
  return 7;
}
