/* What the test programs share: option values, the choice of a device, waiting for the tester.
 * A program defines CL_CALL(name) before it includes this: how it reaches the OpenCL function. */
#ifndef CHRONOS_TESTS_CLIENTS_CLIENT_H
#define CHRONOS_TESTS_CLIENTS_CLIENT_H

#include <CL/cl.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#ifndef CL_CALL
#define CL_CALL(name) name
#endif

enum { kExitOk = 0, kExitUsage = 2, kExitRefused = 3, kExitUnexpected = 4 };
enum { kMaxPlatforms = 64, kMaxDevices = 256 };

/* The value of the option at argv[*i]; ends the program if there is none. */
static inline const char* option_value(int argc, char** argv, int* i) {
  if (*i + 1 >= argc) {
    fprintf(stderr, "%s: %s needs a value\n", argv[0], argv[*i]);
    exit(kExitUsage);
  }
  return argv[++*i];
}

static inline unsigned long long option_number(int argc, char** argv, int* i) {
  const char* option = argv[*i];
  const char* text = option_value(argc, argv, i);
  char* end = NULL;
  errno = 0;
  const unsigned long long value = strtoull(text, &end, 10);
  if (errno != 0 || end == text || *end != '\0' || *text == '-') {
    fprintf(stderr, "%s: %s: not a number: %s\n", argv[0], option, text);
    exit(kExitUsage);
  }
  return value;
}

/* Ends the program with a message unless `error` is CL_SUCCESS. */
static inline void must(const char* what, cl_int error) {
  if (error == CL_SUCCESS) return;
  fprintf(stderr, "%s failed: %d\n", what, error);
  exit(kExitUnexpected);
}

/* Device number `wanted`, counted over the platforms in the loader's order. */
static inline cl_device_id pick_device(unsigned wanted) {
  cl_platform_id platforms[kMaxPlatforms];
  cl_uint platform_count = 0;
  must("clGetPlatformIDs", CL_CALL(clGetPlatformIDs)(kMaxPlatforms, platforms, &platform_count));
  unsigned seen = 0;
  for (cl_uint i = 0; i < platform_count && i < kMaxPlatforms; ++i) {
    cl_device_id devices[kMaxDevices];
    cl_uint count = 0;
    const cl_int error =
        CL_CALL(clGetDeviceIDs)(platforms[i], CL_DEVICE_TYPE_ALL, kMaxDevices, devices, &count);
    if (error == CL_DEVICE_NOT_FOUND) continue;
    must("clGetDeviceIDs", error);
    if (count > kMaxDevices) count = kMaxDevices;
    if (wanted < seen + count) return devices[wanted - seen];
    seen += count;
  }
  fprintf(stderr, "no device %u: there are %u\n", wanted, seen);
  exit(kExitUnexpected);
}

static inline cl_context make_context(cl_device_id device) {
  cl_int error = CL_SUCCESS;
  cl_context context = CL_CALL(clCreateContext)(NULL, 1, &device, NULL, NULL, &error);
  must("clCreateContext", error);
  return context;
}

/* SIGTERM ends a hold instead of the program. To be called before threads exist. */
static inline void block_sigterm(sigset_t* signals) {
  sigemptyset(signals);
  sigaddset(signals, SIGTERM);
  sigprocmask(SIG_BLOCK, signals, NULL);
}

static inline long long monotonic_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Returns at the end of stdin, at SIGTERM, or after `seconds`. */
static inline void hold(unsigned long long seconds, const sigset_t* signals) {
  struct pollfd watched[2];
  watched[0].fd = STDIN_FILENO;
  watched[0].events = POLLIN;
  watched[1].fd = signalfd(-1, signals, SFD_CLOEXEC);
  watched[1].events = POLLIN;
  const long long end = monotonic_ms() + (long long)seconds * 1000;
  for (;;) {
    const long long left = end - monotonic_ms();
    if (left <= 0) break;
    const int ready = poll(watched, 2, left > 1000000 ? 1000000 : (int)left);
    if (ready < 0 && errno != EINTR) break;
    if (ready <= 0) continue;
    if (watched[1].revents != 0) break;
    char ignored[256];
    if (watched[0].revents != 0 && read(STDIN_FILENO, ignored, sizeof ignored) <= 0) break;
  }
  if (watched[1].fd >= 0) close(watched[1].fd);
}

#endif
