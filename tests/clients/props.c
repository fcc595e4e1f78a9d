/* What a program can see of a buffer's life: sizes, counts, sub-buffers that outlive their parent,
 * user callbacks and their order. Prints fixed text, so that runs with and without the shim can be
 * compared word for word:   [--device I] */
#include "client.h"

static void CL_CALLBACK tell(cl_mem mem, void* name) {
  (void)mem;
  printf("callback %s\n", (const char*)name);
}

static void watch(cl_mem mem, const char* name) {
  must("clSetMemObjectDestructorCallback",
       clSetMemObjectDestructorCallback(mem, tell, (void*)(uintptr_t)name));
}

static cl_uint references(cl_mem mem) {
  cl_uint count = 0;
  must("clGetMemObjectInfo",
       clGetMemObjectInfo(mem, CL_MEM_REFERENCE_COUNT, sizeof count, &count, NULL));
  return count;
}

static size_t size_of(cl_mem mem) {
  size_t size = 0;
  must("clGetMemObjectInfo", clGetMemObjectInfo(mem, CL_MEM_SIZE, sizeof size, &size, NULL));
  return size;
}

static void drop(const char* name, cl_mem mem) {
  printf("release %s: %d\n", name, clReleaseMemObject(mem));
}

static cl_mem make(cl_context context, size_t size) {
  cl_int error = CL_SUCCESS;
  cl_mem mem = clCreateBuffer(context, CL_MEM_READ_WRITE, size, NULL, &error);
  must("clCreateBuffer", error);
  return mem;
}

static void retained(cl_context context) {
  printf("-- retain and release\n");
  cl_mem mem = make(context, 4096);
  watch(mem, "first registered");
  watch(mem, "second registered");
  printf("references %u\n", references(mem));
  must("clRetainMemObject", clRetainMemObject(mem));
  printf("references %u\n", references(mem));
  drop("once", mem);
  printf("references %u size %zu\n", references(mem), size_of(mem));
  drop("twice", mem);
}

static void with_properties(cl_context context) {
  printf("-- with properties\n");
  const cl_mem_properties none[] = {0};
  const cl_mem_properties* lists[] = {NULL, none};
  for (int i = 0; i < 2; ++i) {
    cl_int error = CL_SUCCESS;
    cl_mem mem =
        clCreateBufferWithProperties(context, lists[i], CL_MEM_READ_ONLY, 8192, NULL, &error);
    if (mem == NULL) {
      printf("error %d\n", error);
      continue;
    }
    printf("size %zu\n", size_of(mem));
    watch(mem, "with properties");
    drop("with properties", mem);
  }
}

static void sub_buffers(cl_context context) {
  printf("-- sub-buffers outlive their parent's last release\n");
  cl_mem parent = make(context, 65536);
  const cl_buffer_region regions[] = {{0, 4096}, {32768, 4096}};
  cl_mem parts[2];
  for (int i = 0; i < 2; ++i) {
    cl_int error = CL_SUCCESS;
    parts[i] = clCreateSubBuffer(parent, CL_MEM_READ_WRITE, CL_BUFFER_CREATE_TYPE_REGION,
                                 &regions[i], &error);
    must("clCreateSubBuffer", error);
  }
  watch(parent, "parent");
  watch(parts[0], "part 0");
  watch(parts[1], "part 1");
  drop("parent", parent);
  printf("part size %zu\n", size_of(parts[0]));
  drop("part 0", parts[0]);
  drop("part 1", parts[1]);
}

static void errors(cl_context context) {
  printf("-- errors are the driver's own\n");
  cl_int error = CL_SUCCESS;
  cl_mem mem = clCreateBuffer(context, CL_MEM_READ_WRITE, 0, NULL, &error);
  printf("size 0: %d\n", mem == NULL ? error : CL_SUCCESS);
  mem = clCreateBuffer(context, CL_MEM_READ_ONLY | CL_MEM_WRITE_ONLY, 64, NULL, &error);
  printf("bad flags: %d\n", mem == NULL ? error : CL_SUCCESS);
  mem = clCreateBuffer(context, CL_MEM_USE_HOST_PTR, 64, NULL, &error);
  printf("no host pointer: %d\n", mem == NULL ? error : CL_SUCCESS);
  mem = clCreateBuffer(NULL, CL_MEM_READ_WRITE, 64, NULL, &error);
  printf("no context: %d\n", mem == NULL ? error : CL_SUCCESS);
  mem = clCreateBuffer(context, CL_MEM_READ_WRITE, 0, NULL, NULL);
  printf("nowhere to report: %s\n", mem == NULL ? "NULL" : "a buffer");
  printf("release of NULL: %d\n", clReleaseMemObject(NULL));
}

static void after_context(cl_context context) {
  printf("-- a buffer outlives its context's last release\n");
  cl_mem mem = make(context, 4096);
  watch(mem, "orphan");
  must("clReleaseContext", clReleaseContext(context));
  printf("size %zu\n", size_of(mem));
  drop("orphan", mem);
}

int main(int argc, char** argv) {
  unsigned device = 0;
  for (int i = 1; i < argc; ++i) {
    if (strcmp(argv[i], "--device") == 0) {
      device = (unsigned)option_number(argc, argv, &i);
    } else {
      fprintf(stderr, "usage: %s [--device I]\n", argv[0]);
      return kExitUsage;
    }
  }
  cl_context context = make_context(pick_device(device));
  retained(context);
  with_properties(context);
  sub_buffers(context);
  errors(context);
  after_context(context);
  return kExitOk;
}
