/* What the programs of the matrix written in C and C++ share. Each takes a size in MiB for all its
 * memory together, computes on it, prints a result that does not depend on the machine, gives
 * everything back, says so, and waits for the end of stdin: the tester looks meanwhile whether
 * anything is still charged. Exit status 3 and `out of memory: CODE` where memory is refused. */
#ifndef CHRONOS_TESTS_CLIENTS_PROGRAMS_SCALE_H
#define CHRONOS_TESTS_CLIENTS_PROGRAMS_SCALE_H

#include <stdio.h>
#include <stdlib.h>

enum { kExitRefused = 3, kExitUnexpected = 4 };

static const char* const kScaleSource =
    "kernel void scale(global const uint* in, global uint* out, uint factor) {\n"
    "  const size_t i = get_global_id(0);\n"
    "  out[i] = in[i] * factor + (uint)i;\n"
    "}\n";

static inline size_t mebibytes(int argc, char** argv) {
  char* end = NULL;
  const unsigned long long size = argc == 2 ? strtoull(argv[1], &end, 10) : 0;
  if (size == 0 || *end != '\0') {
    fprintf(stderr, "usage: %s MEBIBYTES...\n", argv[0]);
    exit(2);
  }
  return (size_t)size << 20;
}

static inline unsigned checksum(const unsigned* values, size_t count) {
  unsigned sum = 2166136261U;
  for (size_t i = 0; i < count; ++i) sum = (sum ^ values[i]) * 16777619U;
  return sum;
}

static inline void wait_after_release(void) {
  puts("all released");
  fflush(stdout);
  while (getchar() != EOF) continue;
}

#endif
