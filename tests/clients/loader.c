/* A small ICD loader of our own, compiled to be like real ones of several ages:
 *   LOADER_AGE 0  knows no layers (before 2021)
 *              1  layers that have clInitLayer
 *              2  layers only if they have clInitLayerWithProperties, and drivers that leave their
 *                 tables to the loader (cl_khr_icd 2.0)
 * As a library it stands in for libOpenCL.so.1; with LOADER_HIDDEN it is inside a program that
 * shows nothing of it. Drivers come from the files of OCL_ICD_VENDORS. Not thread-safe. */
#include <CL/cl.h>
#include <CL/cl_icd.h>
#include <dirent.h>
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef LOADER_HIDDEN
#define EXPORT __attribute__((visibility("hidden")))
#else
#define EXPORT __attribute__((visibility("default")))
#endif

enum { kMostPlatforms = 16, kEntries = sizeof(cl_icd_dispatch) / sizeof(void*) };

static cl_platform_id platforms[kMostPlatforms];
static cl_uint platform_count;
typedef void*(CL_API_CALL* address_function)(const char*);
static address_function addresses[kMostPlatforms];
static cl_icd_dispatch own_table;
static const cl_icd_dispatch* first = &own_table;

struct object {
  const cl_icd_dispatch* table;
  const cl_icd_dispatch* managed;
};

static int is_tagged(const struct object* thing) {
  return memcmp((const void*)&thing->table->clGetPlatformIDs, "13LCNEPO", 8) == 0;
}

static const cl_icd_dispatch* table_of(const void* handle) {
  const struct object* thing = handle;
  return LOADER_AGE >= 2 && is_tagged(thing) ? thing->managed : thing->table;
}

static void start(void);

/* Each function as layers call it at the end of their chain, and as programs call it. */
#define API(result, name, parameters, object, arguments) \
  static result CL_API_CALL dispatch_##name parameters { \
    return table_of(object)->name arguments;             \
  }                                                      \
  EXPORT result CL_API_CALL name parameters {            \
    start();                                             \
    return first->name arguments;                        \
  }
#define APIS                                                                                      \
  API(cl_int, clGetPlatformInfo,                                                                  \
      (cl_platform_id platform, cl_platform_info what, size_t size, void* value, size_t* out),    \
      platform, (platform, what, size, value, out))                                               \
  API(cl_int, clGetDeviceIDs,                                                                     \
      (cl_platform_id platform, cl_device_type type, cl_uint room, cl_device_id * devices,        \
       cl_uint * count),                                                                          \
      platform, (platform, type, room, devices, count))                                           \
  API(cl_int, clGetDeviceInfo,                                                                    \
      (cl_device_id device, cl_device_info what, size_t size, void* value, size_t* out), device,  \
      (device, what, size, value, out))                                                           \
  API(cl_context, clCreateContext,                                                                \
      (const cl_context_properties* properties, cl_uint count, const cl_device_id* devices,       \
       void(CL_CALLBACK * notify)(const char*, const void*, size_t, void*), void* data,           \
       cl_int* error),                                                                            \
      devices[0], (properties, count, devices, notify, data, error))                              \
  API(cl_int, clReleaseContext, (cl_context context), context, (context))                         \
  API(cl_int, clGetContextInfo,                                                                   \
      (cl_context context, cl_context_info what, size_t size, void* value, size_t* out), context, \
      (context, what, size, value, out))                                                          \
  API(cl_mem, clCreateBuffer,                                                                     \
      (cl_context context, cl_mem_flags flags, size_t size, void* host, cl_int* error), context,  \
      (context, flags, size, host, error))                                                        \
  API(cl_int, clRetainMemObject, (cl_mem memory), memory, (memory))                               \
  API(cl_int, clReleaseMemObject, (cl_mem memory), memory, (memory))                              \
  API(cl_int, clGetMemObjectInfo,                                                                 \
      (cl_mem memory, cl_mem_info what, size_t size, void* value, size_t* out), memory,           \
      (memory, what, size, value, out))                                                           \
  API(cl_int, clSetMemObjectDestructorCallback,                                                   \
      (cl_mem memory, void(CL_CALLBACK * notify)(cl_mem, void*), void* data), memory,             \
      (memory, notify, data))                                                                     \
  API(void*, clGetExtensionFunctionAddressForPlatform,                                            \
      (cl_platform_id platform, const char* name), platform, (platform, name))
APIS
#undef API

    static cl_int CL_API_CALL
    dispatch_clGetPlatformIDs(cl_uint room, cl_platform_id* out, cl_uint* count) {
  for (cl_uint i = 0; out != NULL && i < room && i < platform_count; ++i) out[i] = platforms[i];
  if (count != NULL) *count = platform_count;
  return platform_count != 0 ? CL_SUCCESS : -1001;
}
EXPORT cl_int CL_API_CALL clGetPlatformIDs(cl_uint room, cl_platform_id* out, cl_uint* count) {
  start();
  return first->clGetPlatformIDs(room, out, count);
}

static void* CL_API_CALL dispatch_clGetExtensionFunctionAddress(const char* name) {
  for (cl_uint i = 0; i < platform_count; ++i) {
    void* found = addresses[i](name);
    if (found != NULL) return found;
  }
  return NULL;
}
EXPORT void* CL_API_CALL clGetExtensionFunctionAddress(const char* name) {
  start();
  return first->clGetExtensionFunctionAddress(name);
}

/* --- drivers ---------------------------------------------------------------------------------- */

static void* find(void* library, const char* name, void* out) {
  void* found = dlsym(library, name);
  memcpy(out, &found, sizeof found);
  return found;
}

static void* ask(address_function address, const char* name, void* out) {
  void* found = address(name);
  memcpy(out, &found, sizeof found);
  return found;
}

static int manage(cl_platform_id platform, address_function address) {
  void*(CL_API_CALL * function_for)(cl_platform_id, const char*) = NULL;
  cl_int(CL_API_CALL * set_data)(cl_platform_id, void*) = NULL;
  if (ask(address, "clIcdGetFunctionAddressForPlatformKHR", &function_for) == NULL ||
      ask(address, "clIcdSetPlatformDispatchDataKHR", &set_data) == NULL) {
    return 0;
  }
  cl_icd_dispatch* table = calloc(1, sizeof *table);
  if (table == NULL) abort();
  void* found = NULL;
#define API(result, name, parameters, object, arguments) \
  found = function_for(platform, #name);                 \
  memcpy((void*)&table->name, (const void*)&found, sizeof found);
  APIS
#undef API
      return set_data(platform, table) == CL_SUCCESS;
}

static void add_driver(const char* path) {
  void* library = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
  address_function address = NULL;
  cl_int(CL_API_CALL * get_platforms)(cl_uint, cl_platform_id*, cl_uint*) = NULL;
  if (library == NULL || find(library, "clGetExtensionFunctionAddress", &address) == NULL ||
      ask(address, "clIcdGetPlatformIDsKHR", &get_platforms) == NULL) {
    return;
  }
  cl_platform_id found[kMostPlatforms];
  cl_uint count = 0;
  if (get_platforms(kMostPlatforms, found, &count) != CL_SUCCESS) return;
  for (cl_uint i = 0; i < count && platform_count < kMostPlatforms; ++i) {
    const struct object* thing = (const void*)found[i];
    if (LOADER_AGE >= 2 && is_tagged(thing) && !manage(found[i], address)) continue;
    addresses[platform_count] = address;
    platforms[platform_count++] = found[i];
  }
}

static void add_drivers(void) {
  const char* folder = getenv("OCL_ICD_VENDORS");
  DIR* directory = opendir(folder != NULL ? folder : "/etc/OpenCL/vendors");
  if (directory == NULL) return;
  for (struct dirent* entry; (entry = readdir(directory)) != NULL;) {
    if (strstr(entry->d_name, ".icd") == NULL) continue;
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder != NULL ? folder : "/etc/OpenCL/vendors",
             entry->d_name);
    FILE* file = fopen(path, "re");
    if (file == NULL) continue;
    if (fgets(path, sizeof path, file) != NULL) {
      path[strcspn(path, "\r\n")] = '\0';
      add_driver(path);
    }
    fclose(file);
  }
  closedir(directory);
}

/* --- layers ----------------------------------------------------------------------------------- */

static void add_layer(const char* path) {
  cl_int(CL_API_CALL * init)(cl_uint, const cl_icd_dispatch*, cl_uint*, const cl_icd_dispatch**) =
      NULL;
  cl_int(CL_API_CALL * init_with)(cl_uint, const cl_icd_dispatch*, cl_uint*,
                                  const cl_icd_dispatch**, const intptr_t*) = NULL;
  void* library = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
  if (library == NULL) return;
  cl_uint count = 0;
  const cl_icd_dispatch* given = NULL;
  if (LOADER_AGE >= 2) {
    if (find(library, "clInitLayerWithProperties", &init_with) == NULL ||
        init_with(kEntries, first, &count, &given, NULL) != CL_SUCCESS) {
      return;
    }
  } else if (find(library, "clInitLayer", &init) == NULL ||
             init(kEntries, first, &count, &given) != CL_SUCCESS) {
    return;
  }
  cl_icd_dispatch* table = malloc(sizeof *table);
  if (table == NULL) abort();
  memcpy((void*)table, (const void*)first, sizeof *table);
  void* const* entries = (void* const*)given;
  for (cl_uint i = 0; i < count && i < kEntries; ++i) {
    if (entries[i] != NULL) memcpy((char*)table + i * sizeof(void*), &entries[i], sizeof(void*));
  }
  first = table;
}

static void start(void) {
  static int started;
  if (started) return;
  started = 1;
  add_drivers();
#define API(result, name, parameters, object, arguments) own_table.name = dispatch_##name;
  APIS
#undef API
      own_table.clGetPlatformIDs = dispatch_clGetPlatformIDs;
  own_table.clGetExtensionFunctionAddress = dispatch_clGetExtensionFunctionAddress;
  const char* layers = getenv("OPENCL_LAYERS");
  if (LOADER_AGE == 0 || layers == NULL) return;
  char* rest = strdup(layers);
  if (rest == NULL) abort();
  char* place = rest;
  for (char* path; (path = strsep(&place, ":")) != NULL;) {
    if (*path != '\0') add_layer(path);
  }
  free(rest);
}
