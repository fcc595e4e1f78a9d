/* Says when SIGTERM came, in CLOCK_BOOTTIME nanoseconds: "NAME NANOSECONDS", in one write. */
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char** argv) {
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGTERM);
  sigprocmask(SIG_BLOCK, &wanted, NULL);
  dprintf(STDOUT_FILENO, "%s ready\n", argc > 1 ? argv[1] : "");
  int got = 0;
  sigwait(&wanted, &got);
  struct timespec now;
  clock_gettime(CLOCK_BOOTTIME, &now);
  dprintf(STDOUT_FILENO, "%s %lld\n", argc > 1 ? argv[1] : "",
          (long long)now.tv_sec * 1000000000 + now.tv_nsec);
  return 0;
}
