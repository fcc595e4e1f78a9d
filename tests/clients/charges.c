/* Whether each way to take device memory is charged what it takes, to the byte:
 *
 *   --limit BYTES [--device I]
 *
 * for a partition of BYTES in which nothing is in use. For each way it prints `NAME ok BYTES`, or
 * `NAME none` where the driver lacks it, or what was wrong; the exit status is 1 if anything was.
 * What is charged is measured from within: beside the object a buffer of the rest of the partition
 * must fit, and not one byte more. */
#include "charges.h"

static unsigned wrong_count;

static void wrong(const struct Way* way, const char* what, cl_int error) {
  printf("%s: %s (%d)\n", way->name, what, error);
  ++wrong_count;
}

static cl_mem filler(const struct Place* place, size_t size, cl_int* error) {
  return clCreateBuffer(place->context, CL_MEM_READ_WRITE, size, NULL, error);
}

static int fits(const struct Place* place, size_t size) {
  cl_int error = CL_SUCCESS;
  cl_mem made = filler(place, size, &error);
  if (made != NULL) clReleaseMemObject(made);
  return made != NULL;
}

/* Drivers may tell of a free on a thread of their own. */
static int comes_to_fit(const struct Place* place, size_t size) {
  const long long end = monotonic_ms() + 20000;
  while (!fits(place, size)) {
    if (monotonic_ms() > end) return 0;
    usleep(1000);
  }
  return 1;
}

/* With `beside` bytes in use, is `way` refused in its own words, and does it leave nothing behind?
 */
static void check_refused(const struct Place* place, const struct Way* way, size_t beside) {
  cl_int error = CL_SUCCESS;
  cl_mem rest = filler(place, beside, &error);
  if (rest == NULL) {
    wrong(way, "no room beside it", error);
    return;
  }
  struct Made made = {NULL, NULL, NULL};
  error = way->make(place, &made);
  if (error == CL_SUCCESS) {
    wrong(way, "fits where it must not", 0);
    way->release(place, &made);
  } else if (error != way->refusal) {
    wrong(way, "refused with another error", error);
  }
  clReleaseMemObject(rest);
  if (!comes_to_fit(place, place->limit)) wrong(way, "the refusal left something", 0);
}

static void check_fits(const struct Place* place, const struct Way* way, size_t charge) {
  cl_int error = CL_SUCCESS;
  cl_mem rest = charge < place->limit ? filler(place, place->limit - charge, &error) : NULL;
  if (error != CL_SUCCESS) {
    wrong(way, "no room beside it", error);
    return;
  }
  struct Made made = {NULL, NULL, NULL};
  error = way->make(place, &made);
  if (error != CL_SUCCESS) {
    wrong(way, "does not fit where it must", error);
  } else {
    if (fits(place, 1)) wrong(way, "charged too little", 0);
    way->release(place, &made);
  }
  if (rest != NULL) clReleaseMemObject(rest);
  if (!comes_to_fit(place, place->limit)) wrong(way, "not all came back", 0);
}

/* What it costs: its size, or for an image what the driver says. */
static size_t charge_of(const struct Way* way, const struct Made* made) {
  size_t size = way->size;
  if (way->size == kAsDriverSays) {
    must("clGetMemObjectInfo",
         clGetMemObjectInfo(made->mem, CL_MEM_SIZE, sizeof size, &size, NULL));
  }
  return size;
}

static void check(const struct Place* place, const struct Way* way) {
  struct Made made = {NULL, NULL, NULL};
  const cl_int error = way->make(place, &made);
  if (error == kLacking) {
    printf("%s none\n", way->name);
    return;
  }
  if (error != CL_SUCCESS) {
    wrong(way, "cannot be made", error);
    return;
  }
  const size_t charge = charge_of(way, &made);
  const unsigned before = wrong_count;
  if (!fits(place, place->limit - charge)) wrong(way, "charged too much", 0);
  if (fits(place, place->limit - charge + 1)) wrong(way, "charged too little", 0);
  way->release(place, &made);
  if (!comes_to_fit(place, place->limit)) wrong(way, "not all came back", 0);
  check_fits(place, way, charge);
  if (charge != 0) check_refused(place, way, place->limit - charge + 1);
  if (before == wrong_count) printf("%s ok %zu\n", way->name, charge);
  fflush(stdout);
}

int main(int argc, char** argv) {
  struct Place place;
  memset(&place, 0, sizeof place);
  unsigned device = 0;
  for (int i = 1; i < argc; ++i) {
    if (strcmp(argv[i], "--limit") == 0) {
      place.limit = (size_t)option_number(argc, argv, &i);
    } else if (strcmp(argv[i], "--device") == 0) {
      device = (unsigned)option_number(argc, argv, &i);
    } else {
      place.limit = 0;
      break;
    }
  }
  if (place.limit == 0) {
    fprintf(stderr, "usage: %s --limit BYTES [--device I]\n", argv[0]);
    return kExitUsage;
  }
  place.device = pick_device(device);
  must("clGetDeviceInfo", clGetDeviceInfo(place.device, CL_DEVICE_PLATFORM, sizeof place.platform,
                                          &place.platform, NULL));
  place.context = make_context(place.device);
  cl_int error = CL_SUCCESS;
  place.queue = clCreateCommandQueueWithProperties(place.context, place.device, NULL, &error);
  must("clCreateCommandQueueWithProperties", error);
  place.memory = calloc(1, kMemoryBytes);
  if (place.memory == NULL) return kExitUnexpected;
  if (!fits(&place, place.limit) || fits(&place, place.limit + 1)) {
    fprintf(stderr, "this is no empty partition of %zu bytes\n", place.limit);
    return kExitUnexpected;
  }
  for (const struct Way* way = kObjectWays; way->name != NULL; ++way) check(&place, way);
  for (const struct Way* way = kPointerWays; way->name != NULL; ++way) check(&place, way);
  free(place.memory);
  must("clReleaseCommandQueue", clReleaseCommandQueue(place.queue));
  must("clReleaseContext", clReleaseContext(place.context));
  return wrong_count != 0;
}
