/* Every way to take device memory, one at a time:
 *
 *   --kind KIND [--size BYTES] [--count N] [--device I]
 *
 * makes objects of BYTES, N or until the first refusal, and prints `ok BYTES` for each (CL_MEM_SIZE
 * where there is one), and `error CODE` or, where the call gives no code, `null` for a refusal.
 * Then it prints `hold`, waits for a line on stdin, frees everything, prints `released`, waits for
 * another line and ends with status 0. What the device does not offer prints `unsupported` and ends
 * with status 4 at once. The end of stdin stands for any number of lines. */
#include "entry_points.h"

enum { kExitUnsupported = 4 };

static const struct Kind* find_kind(const char* name) {
  for (size_t i = 0; kKinds[i].name != NULL; ++i) {
    if (strcmp(kKinds[i].name, name) == 0) return &kKinds[i];
  }
  fprintf(stderr, "no kind %s; there are:", name);
  for (size_t i = 0; kKinds[i].name != NULL; ++i) {
    fprintf(stderr, " %s", kKinds[i].name);
  }
  fprintf(stderr, "\n");
  exit(kExitUsage);
}

static int unsupported(void) {
  printf("unsupported\n");
  return kExitUnsupported;
}

static size_t size_of(const struct Place* place, const struct Object* object) {
  size_t size = place->size;
  if (object->mem != NULL) {
    must("clGetMemObjectInfo",
         clGetMemObjectInfo(object->mem, CL_MEM_SIZE, sizeof size, &size, NULL));
  }
  return size;
}

/* Reads up to and with the next newline, one byte at a time: the rest is for the next wait. */
static void wait_for_line(void) {
  fflush(stdout);
  char byte = 0;
  ssize_t got = 0;
  do {
    got = read(STDIN_FILENO, &byte, 1);
  } while ((got == 1 && byte != '\n') || (got < 0 && errno == EINTR));
}

/* Fills place->objects; false if the driver does not have this kind after all. */
static int make_all(struct Place* place, const struct Kind* kind, unsigned long long wanted) {
  size_t room = 0;
  while (place->count < wanted) {
    if (place->count == room) {
      room = room != 0 ? 2 * room : 64;
      struct Object* more = realloc(place->objects, room * sizeof *more);
      if (more == NULL) exit(kExitUnexpected);
      place->objects = more;
    }
    struct Object* object = &place->objects[place->count];
    memset(object, 0, sizeof *object);
    const cl_int error = kind->make(place, object);
    if (error == CL_SUCCESS) {
      if (object->mem == NULL && object->pointer == NULL) {
        fprintf(stderr, "success without an object\n");
        exit(kExitUnexpected);
      }
      printf("ok %zu\n", size_of(place, object));
      ++place->count;
      continue;
    }
    if (error == CL_INVALID_OPERATION && place->count == 0) return 0;
    if (error == kNull) {
      printf("null\n");
    } else {
      printf("error %d\n", error);
    }
    break;
  }
  return 1;
}

int main(int argc, char** argv) {
  const struct Kind* kind = NULL;
  unsigned long long wanted = ~0ULL;
  unsigned long long size = 1 << 20;
  unsigned device = 0;
  for (int i = 1; i < argc; ++i) {
    if (strcmp(argv[i], "--kind") == 0) {
      kind = find_kind(option_value(argc, argv, &i));
    } else if (strcmp(argv[i], "--size") == 0) {
      size = option_number(argc, argv, &i);
    } else if (strcmp(argv[i], "--count") == 0) {
      wanted = option_number(argc, argv, &i);
    } else if (strcmp(argv[i], "--device") == 0) {
      device = (unsigned)option_number(argc, argv, &i);
    } else {
      kind = NULL;
      break;
    }
  }
  if (kind == NULL) {
    fprintf(stderr, "usage: %s --kind KIND [--size BYTES] [--count N] [--device I]\n", argv[0]);
    return kExitUsage;
  }
  struct Place place;
  memset(&place, 0, sizeof place);
  place.size = size;
  place.device = pick_device(device);
  must("clGetDeviceInfo", clGetDeviceInfo(place.device, CL_DEVICE_PLATFORM, sizeof place.platform,
                                          &place.platform, NULL));
  if (!kind->supported(&place)) return unsupported();
  place.context = make_context(place.device);
  cl_int error = CL_SUCCESS;
  place.queue = clCreateCommandQueueWithProperties(place.context, place.device, NULL, &error);
  must("clCreateCommandQueueWithProperties", error);
  if (!make_all(&place, kind, wanted)) return unsupported();

  printf("hold\n");
  wait_for_line();
  kind->release(&place);
  printf("released\n");
  wait_for_line();
  free(place.objects);
  must("clReleaseCommandQueue", clReleaseCommandQueue(place.queue));
  must("clReleaseContext", clReleaseContext(place.context));
  return kExitOk;
}
