/* For LD_PRELOAD: the wall clock as if somebody had set it by FAKE_WALL_CLOCK seconds. No other
 * clock changes, as with settimeofday(). Programs that ask the kernel past libc are not fooled. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

static time_t shift(void) {
  const char* text = getenv("FAKE_WALL_CLOCK");
  return text == NULL ? 0 : (time_t)strtoll(text, NULL, 10);
}

int clock_gettime(clockid_t id, struct timespec* out) {
  static int (*real)(clockid_t, struct timespec*);
  if (real == NULL) {
    void* found = dlsym(RTLD_NEXT, "clock_gettime");
    memcpy(&real, &found, sizeof real); /* ISO C has no conversion for it */
  }
  const int result = real(id, out);
  if (result == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) out->tv_sec += shift();
  return result;
}

int gettimeofday(struct timeval* restrict out, void* restrict zone) {
  struct timespec now;
  (void)zone;
  const int result = clock_gettime(CLOCK_REALTIME, &now);
  out->tv_sec = now.tv_sec;
  out->tv_usec = now.tv_nsec / 1000;
  return result;
}

time_t time(time_t* out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out != NULL) *out = now.tv_sec;
  return now.tv_sec;
}
