#include "cli/process_tree.hpp"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <functional>

#include "catch.hpp"
#include "core/posix.hpp"

using namespace chronos;
using namespace chronos::cli;

namespace {

// Runs `body` in a process of its own that is a subreaper; its result is the exit status.
int in_subreaper(const std::function<int()>& body) {
  pid_t pid = ::fork();
  if (pid == 0) {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    ::sigprocmask(SIG_BLOCK, &child, nullptr);
    ::signal(SIGTERM, SIG_DFL);  // not Catch2's
    ::alarm(30);
    ::_exit(body());
  }
  int status = 0;
  retry_eintr([&] { return ::waitpid(pid, &status, 0); });
  return WIFEXITED(status) ? WEXITSTATUS(status) : 256;
}

// A child that tells through a pipe that it has come as far as it was to.
template <class Body>
void start_and_wait(Body body) {
  int ends[2];
  if (::pipe(ends) != 0) ::_exit(99);
  if (::fork() == 0) {
    ::close(ends[0]);
    body([&] {
      if (::write(ends[1], "x", 1) != 1) ::_exit(98);
      ::close(ends[1]);
    });
    for (;;) ::pause();
  }
  ::close(ends[1]);
  char byte = 0;
  if (::read(ends[0], &byte, 1) != 1) ::_exit(97);
  ::close(ends[0]);
}

}  // namespace

TEST_CASE("descendants are found through zombies and over any depth") {
  std::vector<Process> all = {{10, 1, 'S', 1, 0},  {11, 10, 'R', 1, 0}, {12, 11, 'Z', 1, 0},
                              {13, 12, 'S', 1, 0}, {14, 1, 'S', 1, 0},  {15, 14, 'S', 1, 0},
                              {16, 10, 'Z', 3, 0}};
  std::vector<pid_t> found;
  for (const Process& process : descendants_of(10, all)) found.push_back(process.pid);
  std::sort(found.begin(), found.end());
  // 12 is a zombie; 16 is one only in its first thread.
  CHECK(found == std::vector<pid_t>{11, 13, 16});
}

TEST_CASE("a circle in what /proc showed does not hang") {
  std::vector<Process> all = {{11, 10, 'S', 1, 0}, {10, 11, 'S', 1, 0}};
  CHECK(descendants_of(10, all).size() == 1);
}

TEST_CASE("this process is among all, with its parent") {
  std::vector<Process> all = all_processes();
  auto self = std::find_if(all.begin(), all.end(),
                           [](const Process& process) { return process.pid == ::getpid(); });
  REQUIRE(self != all.end());
  CHECK(self->parent == ::getppid());
  CHECK(self->started > 0);
}

TEST_CASE("a pid that now belongs to another process is not signalled") {
  std::vector<Process> all = all_processes();
  auto self = std::find_if(all.begin(), all.end(),
                           [](const Process& process) { return process.pid == ::getpid(); });
  REQUIRE(self != all.end());
  CHECK(signal_process(*self, 0));
  Process earlier = *self;
  --earlier.started;
  CHECK_FALSE(signal_process(earlier, 0));
}

TEST_CASE("nothing of a tree is left, neither of its own session nor stopped nor deaf") {
  int status = in_subreaper([] {
    start_and_wait([](auto ready) { ready(); });
    start_and_wait([](auto ready) {  // a daemon: two forks and a session
      if (::fork() == 0) {
        ::setsid();
        if (::fork() != 0) ::_exit(0);
        ::signal(SIGTERM, SIG_IGN);
        ready();
        for (;;) ::pause();
      }
      ::_exit(0);
    });
    start_and_wait([](auto ready) {
      ready();
      ::raise(SIGSTOP);
    });
    if (descendants_of(::getpid(), all_processes()).size() < 3) return 1;
    if (!kill_tree(5'000'000'000).empty()) return 2;
    if (::waitpid(-1, nullptr, WNOHANG) != -1 || errno != ECHILD) return 3;
    return 0;
  });
  CHECK(status == 0);
}

TEST_CASE("a tree that keeps forking is ended all the same") {
  int status = in_subreaper([] {
    // Each process makes its successor and ends: a moving target, as fast as it can.
    start_and_wait([](auto ready) {
      ready();
      for (;;) {
        if (::fork() != 0) ::_exit(0);
      }
    });
    if (!kill_tree(5'000'000'000).empty()) return 2;
    if (::waitpid(-1, nullptr, WNOHANG) != -1 || errno != ECHILD) return 3;
    return 0;
  });
  CHECK(status == 0);
}

TEST_CASE("a signal reaches the whole tree and wakes who is stopped") {
  int status = in_subreaper([] {
    start_and_wait([](auto ready) { ready(); });
    start_and_wait([](auto ready) {
      ready();
      ::raise(SIGSTOP);
    });
    int stopped = 0;
    if (::waitpid(-1, &stopped, WUNTRACED) < 0) return 1;
    signal_tree(SIGTERM);
    for (int left = 2; left > 0; --left) {
      int ended = 0;
      if (::waitpid(-1, &ended, 0) < 0 || !WIFSIGNALED(ended)) return 2;
    }
    return 0;
  });
  CHECK(status == 0);
}
