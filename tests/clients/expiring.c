/* Allocates without pause on several devices across the ends of their partitions, and judges each
 * answer by the clock of deadlines, read before and after it.
 *
 *   expiring DEVICE:DEADLINE...     the deadline in CLOCK_BOOTTIME nanoseconds
 *
 * What was admitted must have been asked for before the deadline, what was refused must have been
 * answered after it. Says "ready" once every device has given memory, goes on until each has
 * refused some requests, and ends with "admitted A refused R early E late L". Exit status: 3 if any
 * was early or late. */
#include "client.h"

enum { kRefusalsWanted = 20 };

struct watch {
  cl_context context;
  unsigned long long deadline;
  unsigned admitted, refused;
};

static unsigned long long boottime_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_BOOTTIME, &now);
  return (unsigned long long)now.tv_sec * 1000000000ull + (unsigned long long)now.tv_nsec;
}

static void sleep_until(unsigned long long when) {
  const struct timespec time = {(time_t)(when / 1000000000ull), (long)(when % 1000000000ull)};
  while (clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &time, NULL) == EINTR) {
  }
}

int main(int argc, char** argv) {
  static struct watch watches[kMaxDevices];
  const int count = argc - 1;
  if (count < 1 || count > kMaxDevices) return kExitUsage;
  for (int i = 0; i < count; ++i) {
    unsigned device = 0;
    if (sscanf(argv[i + 1], "%u:%llu", &device, &watches[i].deadline) != 2) return kExitUsage;
    watches[i].context = make_context(pick_device(device));
  }
  unsigned long long first = watches[0].deadline;
  for (int i = 1; i < count; ++i) {
    if (watches[i].deadline < first) first = watches[i].deadline;
  }
  unsigned long admitted = 0, refused = 0, early = 0, late = 0;
  for (int open = count, round = 0; open > 0; ++round) {
    for (int i = 0; i < count; ++i) {
      struct watch* watch = &watches[i];
      if (watch->refused >= kRefusalsWanted) continue;
      cl_int error = CL_SUCCESS;
      const unsigned long long before = boottime_ns();
      cl_mem buffer = clCreateBuffer(watch->context, CL_MEM_READ_WRITE, 4096, NULL, &error);
      const unsigned long long after = boottime_ns();
      if (error == CL_SUCCESS) {
        clReleaseMemObject(buffer);
        ++admitted;
        if (before >= watch->deadline) ++late;
      } else if (error == CL_MEM_OBJECT_ALLOCATION_FAILURE) {
        ++refused;
        if (after < watch->deadline) ++early;
        if (++watch->refused == kRefusalsWanted) --open;
      } else {
        must("clCreateBuffer", error);
      }
    }
    if (round > 0) continue;
    printf("ready\n");
    fflush(stdout);
    /* Many of these run at once, and the machine is to be busy, not blocked. */
    sleep_until(first - 200000000);
  }
  printf("admitted %lu refused %lu early %lu late %lu\n", admitted, refused, early, late);
  return early + late > 0 ? kExitRefused : kExitOk;
}
