/* Buffers, sub-buffers and pipes, their lives and their callbacks, right and wrong. */
#include "parity.h"

static const cl_mem_flags kFlags[] = {0,
                                      CL_MEM_READ_WRITE,
                                      CL_MEM_WRITE_ONLY,
                                      CL_MEM_READ_ONLY,
                                      CL_MEM_READ_WRITE | CL_MEM_WRITE_ONLY,
                                      CL_MEM_WRITE_ONLY | CL_MEM_READ_ONLY,
                                      CL_MEM_USE_HOST_PTR,
                                      CL_MEM_ALLOC_HOST_PTR,
                                      CL_MEM_COPY_HOST_PTR,
                                      CL_MEM_USE_HOST_PTR | CL_MEM_ALLOC_HOST_PTR,
                                      CL_MEM_USE_HOST_PTR | CL_MEM_COPY_HOST_PTR,
                                      CL_MEM_ALLOC_HOST_PTR | CL_MEM_COPY_HOST_PTR,
                                      CL_MEM_HOST_WRITE_ONLY,
                                      CL_MEM_HOST_READ_ONLY,
                                      CL_MEM_HOST_NO_ACCESS,
                                      CL_MEM_HOST_WRITE_ONLY | CL_MEM_HOST_NO_ACCESS,
                                      CL_MEM_KERNEL_READ_AND_WRITE,
                                      CL_MEM_SVM_FINE_GRAIN_BUFFER,
                                      (cl_mem_flags)1 << 40,
                                      ~(cl_mem_flags)0};
enum { kFlagCount = sizeof kFlags / sizeof kFlags[0] };

static const cl_mem_properties kNone[] = {0};
static const cl_mem_properties kUnknown[] = {0x7654, 1, 0};
static const cl_mem_properties* const kLists[] = {NULL, kNone, kUnknown};

static void buffer_flags(const struct Setting* in) {
  char label[128];
  for (int f = 0; f < kFlagCount; ++f) {
    for (int host = 0; host < 2; ++host) {
      void* memory = host ? in->memory : NULL;
      snprintf(label, sizeof label, "clCreateBuffer flags %#llx host %d",
               (unsigned long long)kFlags[f], host);
      MEM(in, label, clCreateBuffer(in->context, kFlags[f], 256, memory, code));
      MEM(in, label, clCreateBuffer(in->context, kFlags[f], 0, memory, code));
      MEM(in, label, clCreateBuffer(NULL, kFlags[f], 256, memory, code));
      for (size_t p = 0; p < sizeof kLists / sizeof kLists[0]; ++p) {
        snprintf(label, sizeof label, "clCreateBufferWithProperties %zu flags %#llx host %d", p,
                 (unsigned long long)kFlags[f], host);
        MEM(in, label,
            clCreateBufferWithProperties(in->context, kLists[p], kFlags[f], 256, memory, code));
      }
    }
  }
}

static void buffer_sizes(const struct Setting* in) {
  char label[128];
  size_t sizes[16];
  const size_t count = sizes_of_interest(in, sizes, 16);
  const cl_mem_flags flags[] = {0, CL_MEM_READ_ONLY | CL_MEM_WRITE_ONLY, CL_MEM_ALLOC_HOST_PTR,
                                CL_MEM_USE_HOST_PTR, (cl_mem_flags)1 << 40};
  for (size_t i = 0; i < count; ++i) {
    for (size_t f = 0; f < sizeof flags / sizeof flags[0]; ++f) {
      snprintf(label, sizeof label, "clCreateBuffer flags %#llx size %#zx",
               (unsigned long long)flags[f], sizes[i]);
      MEM(in, label, clCreateBuffer(in->context, flags[f], sizes[i], NULL, code));
      MEM(in, label, clCreateBuffer(NULL, flags[f], sizes[i], NULL, code));
      snprintf(label, sizeof label, "clCreateBufferWithProperties flags %#llx size %#zx",
               (unsigned long long)flags[f], sizes[i]);
      for (size_t p = 0; p < sizeof kLists / sizeof kLists[0]; ++p) {
        MEM(in, label,
            clCreateBufferWithProperties(in->context, kLists[p], flags[f], sizes[i], NULL, code));
      }
    }
  }
}

static void part_calls(const struct Setting* in) {
  char label[128];
  cl_mem whole = clCreateBuffer(in->context, CL_MEM_READ_ONLY, 16384, NULL, NULL);
  const cl_buffer_region good = {0, 4096};
  cl_mem part = clCreateSubBuffer(whole, 0, CL_BUFFER_CREATE_TYPE_REGION, &good, NULL);
  const cl_buffer_region regions[] = {
      good,       {4096, 4096}, {0, 0},     {1, 64},         {16384, 1},
      {16384, 0}, {8192, 8193}, {0, 16385}, {~(size_t)0, 1}, {4096, ~(size_t)0}};
  for (size_t r = 0; r < sizeof regions / sizeof regions[0]; ++r) {
    for (int f = 0; f < kFlagCount; ++f) {
      snprintf(label, sizeof label, "clCreateSubBuffer region %zu flags %#llx", r,
               (unsigned long long)kFlags[f]);
      MEM(in, label,
          clCreateSubBuffer(whole, kFlags[f], CL_BUFFER_CREATE_TYPE_REGION, &regions[r], code));
    }
    MEM(in, "clCreateSubBuffer of a part",
        clCreateSubBuffer(part, 0, CL_BUFFER_CREATE_TYPE_REGION, &regions[r], code));
    MEM(in, "clCreateSubBuffer of nothing",
        clCreateSubBuffer(NULL, 0, CL_BUFFER_CREATE_TYPE_REGION, &regions[r], code));
    MEM(in, "clCreateSubBuffer type", clCreateSubBuffer(whole, 0, 0x1221, &regions[r], code));
  }
  MEM(in, "clCreateSubBuffer no region",
      clCreateSubBuffer(whole, 0, CL_BUFFER_CREATE_TYPE_REGION, NULL, code));
  printf("parts released %d %d\n", clReleaseMemObject(part), clReleaseMemObject(whole));
}

void buffer_calls(const struct Setting* in) {
  buffer_flags(in);
  buffer_sizes(in);
  part_calls(in);
}

void pipe_calls(const struct Setting* in) {
  char label[128];
  const cl_uint numbers[] = {0, 1, 16, 1024, 65536, ~(cl_uint)0};
  const cl_mem_flags flags[] = {0,
                                CL_MEM_READ_WRITE | CL_MEM_HOST_NO_ACCESS,
                                CL_MEM_READ_WRITE,
                                CL_MEM_READ_ONLY,
                                CL_MEM_USE_HOST_PTR,
                                (cl_mem_flags)1 << 40};
  const cl_pipe_properties none[] = {0};
  const cl_pipe_properties unknown[] = {0x7654, 1, 0};
  const cl_pipe_properties* const lists[] = {NULL, none, unknown};
  for (size_t a = 0; a < 6; ++a) {
    for (size_t b = 0; b < 6; ++b) {
      /* Intel's CPU runtime reckons in 32 bits and writes past the end. */
      if ((cl_ulong)numbers[a] * numbers[b] > 1 << 30) continue;
      for (size_t f = 0; f < 6; ++f) {
        snprintf(label, sizeof label, "clCreatePipe %u of %u flags %#llx", numbers[b], numbers[a],
                 (unsigned long long)flags[f]);
        for (size_t p = 0; p < 3; ++p) {
          MEM(in, label,
              clCreatePipe(in->context, flags[f], numbers[a], numbers[b], lists[p], code));
        }
        MEM(in, label, clCreatePipe(NULL, flags[f], numbers[a], numbers[b], NULL, code));
      }
    }
  }
}

/* --- lives -------------------------------------------------------------------------------- */

/* Intel's CPU runtime calls back on a thread of its own, so that it is told when all have come. */
enum { kWatched = 4 };
static _Atomic int told_count;
static const char* told[kWatched];

static void CL_CALLBACK tell(cl_mem mem, void* name) {
  told[told_count % kWatched] = mem != NULL ? name : "of nothing";
  ++told_count;
}

static void show_told(void) {
  const long long end = monotonic_ms() + 20000;
  while (told_count < kWatched && monotonic_ms() < end) usleep(1000);
  printf("destroyed:");
  for (int i = 0; i < told_count && i < kWatched; ++i) printf(" %s", told[i]);
  printf(" and no more: %d\n", told_count == kWatched);
}

static void watch(cl_mem mem, char* name) {
  printf("clSetMemObjectDestructorCallback %s: %d\n", name,
         clSetMemObjectDestructorCallback(mem, tell, name));
}

static cl_uint references(cl_mem mem) {
  cl_uint count = 0;
  must("clGetMemObjectInfo",
       clGetMemObjectInfo(mem, CL_MEM_REFERENCE_COUNT, sizeof count, &count, NULL));
  return count;
}

static void watched_lives(const struct Setting* in) {
  static char first[] = "first", second[] = "second", third[] = "third", part_name[] = "part";
  cl_mem whole = clCreateBuffer(in->context, 0, 16384, NULL, NULL);
  watch(NULL, first);
  printf("clSetMemObjectDestructorCallback null: %d %d\n",
         clSetMemObjectDestructorCallback(whole, NULL, NULL),
         clSetMemObjectDestructorCallback(whole, NULL, first));
  watch(whole, first);
  watch(whole, second);
  printf("clRetainMemObject: %d, %u references\n", clRetainMemObject(whole), references(whole));
  const cl_buffer_region region = {4096, 4096};
  cl_mem part = clCreateSubBuffer(whole, 0, CL_BUFFER_CREATE_TYPE_REGION, &region, NULL);
  watch(part, part_name);
  watch(whole, third);
  printf("references of whole %u part %u\n", references(whole), references(part));
  printf("clReleaseMemObject: %d, %u references\n", clReleaseMemObject(whole), references(whole));
  printf("clReleaseMemObject of the whole: %d\n", clReleaseMemObject(whole));
  printf("clEnqueueWriteBuffer to the part: %d\n",
         clEnqueueWriteBuffer(in->queue, part, CL_TRUE, 0, 64, in->memory, 0, NULL, NULL));
  printf("clReleaseMemObject of the part: %d\n", clReleaseMemObject(part));
  show_told();
}

void lifetime_calls(const struct Setting* in) {
  printf("clRetainMemObject of nothing: %d\n", clRetainMemObject(NULL));
  printf("clReleaseMemObject of nothing: %d\n", clReleaseMemObject(NULL));
  watched_lives(in);
  cl_mem used = clCreateBuffer(in->context, 0, 4096, NULL, NULL);
  printf("clEnqueueWriteBuffer: %d\n",
         clEnqueueWriteBuffer(in->queue, used, CL_FALSE, 0, 4096, in->memory, 0, NULL, NULL));
  printf("clReleaseMemObject while queued: %d\n", clReleaseMemObject(used));
  printf("clFinish: %d\n", clFinish(in->queue));
  cl_int error = kUntouched;
  cl_context context = clCreateContext(NULL, 1, &in->device, NULL, NULL, &error);
  cl_mem survivor = clCreateBuffer(context, 0, 4096, NULL, &error);
  printf("clReleaseContext: %d\n", clReleaseContext(context));
  printf("clRetainMemObject after it: %d, %u references\n", clRetainMemObject(survivor),
         references(survivor));
  printf("clReleaseMemObject after it: %d %d\n", clReleaseMemObject(survivor),
         clReleaseMemObject(survivor));
}
