/* Memory known by address, right and wrong: SVM, its extensions, USM; and extensions' objects. */
#include "parity.h"

static void free_svm(const struct Setting* in, const char* label, void* made) {
  show_pointer(label, made, NULL);
  clSVMFree(in->context, made);
}

static cl_int enqueue(const struct Setting* in, cl_uint count, void** list, cl_uint waits,
                      const cl_event* wait_list) {
  cl_event event = NULL;
  const cl_int error =
      clEnqueueSVMFree(in->queue, count, list, NULL, NULL, waits, wait_list, &event);
  if (event == NULL) return error;
  clWaitForEvents(1, &event);
  cl_int status = kUntouched;
  cl_command_type type = 0;
  clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof status, &status, NULL);
  clGetEventInfo(event, CL_EVENT_COMMAND_TYPE, sizeof type, &type, NULL);
  /* A driver lets go of its own reference only after it has told of the end. */
  cl_uint references = 0;
  for (int patience = 5000; patience > 0 && references != 1; --patience) {
    if (references != 0) usleep(1000);
    clGetEventInfo(event, CL_EVENT_REFERENCE_COUNT, sizeof references, &references, NULL);
  }
  printf("    event: type %#x, status %d, %u references\n", type, status, references);
  clReleaseEvent(event);
  return error;
}

static void CL_CALLBACK free_each(cl_command_queue queue, cl_uint count, void* list[], void* data) {
  (void)queue;
  for (cl_uint i = 0; i < count; ++i) clSVMFree((cl_context)data, list[i]);
}

static void enqueued_frees(const struct Setting* in) {
  void* list[3] = {NULL, NULL, NULL};
  printf("clEnqueueSVMFree no queue: %d\n",
         clEnqueueSVMFree(NULL, 0, NULL, NULL, NULL, 0, NULL, NULL));
  printf("clEnqueueSVMFree none: %d\n", enqueue(in, 0, NULL, 0, NULL));
  printf("clEnqueueSVMFree none of a list: %d\n", enqueue(in, 0, list, 0, NULL));
  printf("clEnqueueSVMFree no list: %d\n", enqueue(in, 2, NULL, 0, NULL));
  for (int waits = 0; waits < 2; ++waits) {
    for (int i = 0; i < 3; ++i) list[i] = clSVMAlloc(in->context, 0, 64, 0);
    cl_event no_event = NULL;
    printf("clEnqueueSVMFree waits without a list: %d\n", enqueue(in, 3, list, 1, NULL));
    printf("clEnqueueSVMFree a list without waits: %d\n",
           waits ? enqueue(in, 3, list, 0, &no_event) : enqueue(in, 3, list, 1, &no_event));
    if (waits) {
      for (int i = 0; i < 3; ++i) list[i] = clSVMAlloc(in->context, 0, 64, 0);
    }
    printf("clEnqueueSVMFree: %d\n", enqueue(in, 3, list, 0, NULL));
  }
  for (int with_callback = 0; with_callback < 2; ++with_callback) {
    for (int i = 0; i < 3; ++i) list[i] = clSVMAlloc(in->context, 0, 64, 0);
    printf("clEnqueueSVMFree without event: %d\n",
           clEnqueueSVMFree(in->queue, 3, list, with_callback ? free_each : NULL,
                            with_callback ? in->context : NULL, 0, NULL, NULL));
    printf("clFinish: %d\n", clFinish(in->queue));
  }
}

static int has_svm(const struct Setting* in) {
  cl_device_svm_capabilities has = 0;
  const cl_int error =
      clGetDeviceInfo(in->device, CL_DEVICE_SVM_CAPABILITIES, sizeof has, &has, NULL);
  return error == CL_SUCCESS && has != 0;
}

void svm_calls(const struct Setting* in) {
  char label[128];
  const cl_svm_mem_flags flags[] = {0,
                                    CL_MEM_READ_WRITE,
                                    CL_MEM_READ_ONLY | CL_MEM_WRITE_ONLY,
                                    CL_MEM_SVM_FINE_GRAIN_BUFFER,
                                    CL_MEM_SVM_ATOMICS,
                                    CL_MEM_SVM_FINE_GRAIN_BUFFER | CL_MEM_SVM_ATOMICS,
                                    CL_MEM_USE_HOST_PTR,
                                    (cl_svm_mem_flags)1 << 40};
  const cl_uint alignments[] = {0, 1, 2, 3, 8, 100, 128, 4096, 1 << 20, 1u << 31, ~0u};
  size_t sizes[16];
  const size_t count = sizes_of_interest(in, sizes, 16);
  for (size_t f = 0; f < sizeof flags / sizeof flags[0]; ++f) {
    for (size_t a = 0; a < sizeof alignments / sizeof alignments[0]; ++a) {
      snprintf(label, sizeof label, "clSVMAlloc flags %#llx alignment %u",
               (unsigned long long)flags[f], alignments[a]);
      free_svm(in, label, clSVMAlloc(in->context, flags[f], 64, alignments[a]));
      show_pointer(label, clSVMAlloc(NULL, flags[f], 64, alignments[a]), NULL);
    }
    for (size_t i = 0; i < count; ++i) {
      snprintf(label, sizeof label, "clSVMAlloc flags %#llx size %#zx",
               (unsigned long long)flags[f], sizes[i]);
      free_svm(in, label, clSVMAlloc(in->context, flags[f], sizes[i], 0));
    }
  }
  clSVMFree(in->context, NULL);
  clSVMFree(NULL, NULL);
  clSVMFree(NULL, in->memory);
  if (!has_svm(in)) return;
  void* under = clSVMAlloc(in->context, 0, 4096, 0);
  MEM(in, "clCreateBuffer over SVM",
      clCreateBuffer(in->context, CL_MEM_USE_HOST_PTR, 4096, under, code));
  MEM(in, "clCreateBuffer within SVM",
      clCreateBuffer(in->context, CL_MEM_USE_HOST_PTR, 64, (char*)under + 128, code));
  MEM(in, "clCreateBuffer copy of SVM",
      clCreateBuffer(in->context, CL_MEM_COPY_HOST_PTR, 64, (char*)under + 128, code));
  clSVMFree(in->context, under);
  enqueued_frees(in);
}

/* ARM's and AMD's are alike. Older headers have no types for them. */
typedef void*(CL_API_CALL* AllocateSvm)(cl_context, cl_bitfield, size_t, cl_uint);
typedef void(CL_API_CALL* FreeSvm)(cl_context, void*);
typedef cl_int(CL_API_CALL* EnqueueFreeSvm)(cl_command_queue, cl_uint, void**,
                                            void(CL_CALLBACK*)(cl_command_queue, cl_uint, void**,
                                                               void*),
                                            void*, cl_uint, const cl_event*, cl_event*);

void svm_extension_calls(const struct Setting* in) {
  static const char* const allocs[] = {"clSVMAllocARM", "clSVMAllocAMD"};
  static const char* const frees[] = {"clSVMFreeARM", "clSVMFreeAMD"};
  static const char* const enqueued[] = {"clEnqueueSVMFreeARM", "clEnqueueSVMFreeAMD"};
  char label[128];
  size_t sizes[16];
  const size_t count = sizes_of_interest(in, sizes, 16);
  for (int i = 0; i < 2; ++i) {
    AllocateSvm allocate = NULL;
    FreeSvm release = NULL;
    EnqueueFreeSvm enqueue_free = NULL;
    const int has_allocate = find_function(in, allocs[i], &allocate, sizeof allocate);
    const int has_free = find_function(in, frees[i], &release, sizeof release);
    const int has_enqueue = find_function(in, enqueued[i], &enqueue_free, sizeof enqueue_free);
    if (!has_allocate || !has_free) continue;
    for (cl_uint alignment = 0; alignment < 20; ++alignment) {
      void* made = allocate(in->context, 0, 64, alignment);
      snprintf(label, sizeof label, "%s alignment %u", allocs[i], alignment);
      show_pointer(label, made, NULL);
      release(in->context, made);
    }
    for (size_t s = 0; s < count; ++s) {
      void* made = allocate(in->context, 0, sizes[s], 0);
      snprintf(label, sizeof label, "%s size %#zx", allocs[i], sizes[s]);
      show_pointer(label, made, NULL);
      release(in->context, made);
    }
    show_pointer("no context", allocate(NULL, 0, 64, 0), NULL);
    release(NULL, NULL);
    release(in->context, NULL);
    if (!has_enqueue) continue;
    void* list[] = {allocate(in->context, 0, 64, 0), NULL};
    printf("%s: %d %d %d %d\n", enqueued[i], enqueue_free(NULL, 1, list, NULL, NULL, 0, NULL, NULL),
           enqueue_free(in->queue, 1, list, NULL, NULL, 1, NULL, NULL),
           enqueue_free(in->queue, 1, NULL, NULL, NULL, 0, NULL, NULL),
           enqueue_free(in->queue, 1, list, NULL, NULL, 0, NULL, NULL));
    printf("clFinish: %d\n", clFinish(in->queue));
  }
  void* none = NULL;
  find_function(in, "clSVMAllocWithPropertiesKHR", &none, sizeof none);
  find_function(in, "clSVMFreeWithPropertiesKHR", &none, sizeof none);
}

/* --- unified shared memory ---------------------------------------------------------------- */

typedef void*(CL_API_CALL* Allocate)(cl_context, cl_device_id, const cl_mem_properties_intel*,
                                     size_t, cl_uint, cl_int*);
typedef cl_int(CL_API_CALL* Release)(cl_context, void*);

static void usm(const struct Setting* in, const char* label, Allocate allocate, Release release,
                cl_context context, cl_device_id device, const cl_mem_properties_intel* properties,
                size_t size, cl_uint alignment) {
  cl_int code = kUntouched;
  void* made = allocate(context, device, properties, size, alignment, &code);
  show_pointer(label, made, &code);
  if (made != NULL) printf("    freed %d\n", release(in->context, made));
  made = allocate(context, device, properties, size, alignment, NULL);
  show_pointer(label, made, NULL);
  if (made != NULL) printf("    freed %d\n", release(in->context, made));
}

static void usm_allocations(const struct Setting* in, const char* name, Allocate allocate,
                            Release release) {
  const cl_mem_properties_intel none[] = {0};
  const cl_mem_properties_intel unknown[] = {0x7654, 1, 0};
  const cl_mem_properties_intel combined[] = {CL_MEM_ALLOC_FLAGS_INTEL,
                                              CL_MEM_ALLOC_WRITE_COMBINED_INTEL, 0};
  const cl_mem_properties_intel twice[] = {CL_MEM_ALLOC_FLAGS_INTEL, 0, CL_MEM_ALLOC_FLAGS_INTEL, 0,
                                           0};
  const cl_mem_properties_intel* const lists[] = {NULL, none, unknown, combined, twice};
  const cl_uint alignments[] = {0, 1, 3, 8, 128, 4096, 65536, 1u << 31, ~0u};
  char label[128];
  size_t sizes[16];
  const size_t count = sizes_of_interest(in, sizes, 16);
  for (size_t p = 0; p < 5; ++p) {
    for (size_t a = 0; a < sizeof alignments / sizeof alignments[0]; ++a) {
      snprintf(label, sizeof label, "%s properties %zu alignment %u", name, p, alignments[a]);
      usm(in, label, allocate, release, in->context, in->device, lists[p], 64, alignments[a]);
      usm(in, label, allocate, release, in->context, NULL, lists[p], 64, alignments[a]);
      usm(in, label, allocate, release, NULL, in->device, lists[p], 64, alignments[a]);
    }
    for (size_t i = 0; i < count; ++i) {
      snprintf(label, sizeof label, "%s properties %zu size %#zx", name, p, sizes[i]);
      usm(in, label, allocate, release, in->context, in->device, lists[p], sizes[i], 0);
      usm(in, label, allocate, release, in->context, NULL, lists[p], sizes[i], 0);
    }
  }
}

void usm_calls(const struct Setting* in) {
  Allocate on_device = NULL, shared = NULL;
  Release release = NULL, blocking = NULL;
  clHostMemAllocINTEL_fn on_host = NULL;
  const int has_device = find_function(in, "clDeviceMemAllocINTEL", &on_device, sizeof on_device);
  const int has_shared = find_function(in, "clSharedMemAllocINTEL", &shared, sizeof shared);
  find_function(in, "clHostMemAllocINTEL", &on_host, sizeof on_host);
  if (!find_function(in, "clMemFreeINTEL", &release, sizeof release)) return;
  const int has_blocking = find_function(in, "clMemBlockingFreeINTEL", &blocking, sizeof blocking);
  if (has_device) usm_allocations(in, "clDeviceMemAllocINTEL", on_device, release);
  if (has_shared) {
    usm_allocations(in, "clSharedMemAllocINTEL", shared, has_blocking ? blocking : release);
  }
  printf("clMemFreeINTEL nothing: %d, without context %d, of ours %d\n", release(in->context, NULL),
         release(NULL, NULL), release(in->context, in->memory));
  if (has_blocking) {
    printf("clMemBlockingFreeINTEL nothing: %d, without context %d, of ours %d\n",
           blocking(in->context, NULL), blocking(NULL, NULL), blocking(in->context, in->memory));
  }
  if (!has_device) return;
  void* under = on_device(in->context, in->device, NULL, 4096, 0, NULL);
  if (under == NULL) return;
  printf("clMemFreeINTEL without context: %d\n", release(NULL, under));
  printf("clMemFreeINTEL: %d\n", release(in->context, under));
}

/* --- objects that extensions make ---------------------------------------------------------- */

void extension_object_calls(const struct Setting* in) {
  void* none = NULL;
  find_function(in, "clCreateBufferNV", &none, sizeof none);
  find_function(in, "clCreateImageWithPropertiesINTEL", &none, sizeof none);
  clCreateBufferWithPropertiesINTEL_fn create = NULL;
  if (!find_function(in, "clCreateBufferWithPropertiesINTEL", &create, sizeof create)) return;
  const cl_mem_properties_intel zero[] = {0};
  const cl_mem_properties_intel unknown[] = {0x7654, 1, 0};
  const cl_mem_properties_intel* const lists[] = {NULL, zero, unknown};
  const cl_mem_flags flags[] = {0, CL_MEM_READ_ONLY | CL_MEM_WRITE_ONLY, CL_MEM_USE_HOST_PTR,
                                CL_MEM_COPY_HOST_PTR, (cl_mem_flags)1 << 40};
  char label[128];
  size_t sizes[16];
  const size_t count = sizes_of_interest(in, sizes, 16);
  /* PoCL 6 locks the context before it looks at it, and no loader is between to look first. */
  char platform[64] = "";
  clGetPlatformInfo(in->platform, CL_PLATFORM_NAME, sizeof platform, platform, NULL);
  const int looks_at_context = strcmp(platform, "Portable Computing Language") != 0;
  for (size_t p = 0; p < 3; ++p) {
    for (size_t f = 0; f < 5; ++f) {
      for (size_t i = 0; i < count; ++i) {
        snprintf(label, sizeof label, "clCreateBufferWithPropertiesINTEL %zu flags %#llx size %#zx",
                 p, (unsigned long long)flags[f], sizes[i]);
        MEM(in, label, create(in->context, lists[p], flags[f], sizes[i], NULL, code));
      }
      MEM(in, label, create(in->context, lists[p], flags[f], 64, in->memory, code));
      if (looks_at_context) {
        MEM(in, label, create(NULL, lists[p], flags[f], 64, in->memory, code));
      }
    }
  }
}
