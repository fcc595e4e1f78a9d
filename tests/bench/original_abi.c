/* original_abi LIBRARY ROUNDS: what the C functions that Chronos has in common with the original of
   that name cost in a library that has them, and how late the end of a partition shows in its list.
   One line of JSON for each. What the library prints goes to /dev/null. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/include/chronos.h"

enum { kMostRounds = 1000, kKinds = 4, kRoom = 16 };

static double now(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static void* function(void* library, const char* name) {
  void* found = dlsym(library, name);
  if (found == NULL) {
    fprintf(stderr, "bench: %s\n", dlerror());
    exit(1);
  }
  return found;
}
/* ISO C has no conversion from void*. */
#define FUNCTION(variable, library, name)          \
  do {                                             \
    void* found_ = function(library, name);        \
    memcpy(&(variable), &found_, sizeof variable); \
  } while (0)

static void must(const char* what, int done) {
  if (done) return;
  fprintf(stderr, "bench: %s failed\n", what);
  exit(1);
}

static int ascending(const void* left, const void* right) {
  const double a = *(const double*)left, b = *(const double*)right;
  return (a > b) - (a < b);
}

static void print(FILE* out, const char* name, double* values, int count) {
  qsort(values, (size_t)count, sizeof *values, ascending);
  fprintf(out, "{\"name\": \"%s\", \"min_ns\": %.0f, \"median_ns\": %.0f, \"batches\": %d}\n", name,
          values[0], values[count / 2], count);
}

int main(int argc, char** argv) {
  const int rounds = argc == 3 ? atoi(argv[2]) : 0;
  if (rounds < 1 || rounds > kMostRounds) return 2;
  FILE* out = fdopen(dup(STDOUT_FILENO), "w");
  const int nowhere = open("/dev/null", O_WRONLY);
  must("output", out != NULL && nowhere >= 0 && dup2(nowhere, STDOUT_FILENO) >= 0);
  void* library = dlopen(argv[1], RTLD_NOW);
  if (library == NULL) {
    fprintf(stderr, "bench: %s\n", dlerror());
    return 1;
  }
  ChronosPartitionerHandle (*begin)(void);
  int (*create)(ChronosPartitionerHandle, int, float, int, const char*, char*, size_t);
  int (*release)(ChronosPartitionerHandle, const char*);
  int (*list)(ChronosPartitionerHandle, ChronosPartitionInfo*, size_t*);
  float (*available)(ChronosPartitionerHandle, int);
  FUNCTION(begin, library, "chronos_partitioner_create");
  FUNCTION(create, library, "chronos_create_partition");
  FUNCTION(release, library, "chronos_release_partition");
  FUNCTION(list, library, "chronos_list_partitions");
  FUNCTION(available, library, "chronos_get_available_percentage");

  ChronosPartitionerHandle chronos = begin();
  must("chronos_partitioner_create", chronos != NULL);
  static double taken[kKinds][kMostRounds];
  static ChronosPartitionInfo partitions[kRoom];
  char id[64];
  for (int i = 0; i < rounds; ++i) {
    double start = now();
    must("create", create(chronos, 0, 0.1F, 3600, NULL, id, sizeof id) == 0);
    taken[0][i] = now() - start;
    start = now();
    size_t count = kRoom;
    must("list", list(chronos, partitions, &count) == 0 && count >= 1);
    taken[1][i] = now() - start;
    start = now();
    must("available", available(chronos, 0) > 0);
    taken[2][i] = now() - start;
    start = now();
    must("release", release(chronos, id) == 0);
    taken[3][i] = now() - start;
  }
  const char* const names[kKinds] = {"create", "list", "available", "release"};
  for (int kind = 0; kind < kKinds; ++kind) print(out, names[kind], taken[kind], rounds);

  /* Not too short: the original looks once a second. A deadline lies after the call began. */
  enum { kEnds = 3 };
  double late[kEnds];
  for (int i = 0; i < kEnds; ++i) {
    const struct timespec apart = {0, 300000000L * i + 1};
    nanosleep(&apart, NULL);
    const double start = now();
    must("create", create(chronos, 0, 0.1F, 1, NULL, id, sizeof id) == 0);
    for (;;) {
      size_t count = kRoom;
      must("list", list(chronos, partitions, &count) == 0);
      if (count == 0 || !partitions[0].active) break;
    }
    late[i] = now() - start - 1e9;
  }
  print(out, "end after the deadline", late, kEnds);
  fclose(out);
  return 0;
}
