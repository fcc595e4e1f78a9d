#include "core/spawn.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/catch.hpp"
#include "tests/unit/sandbox.hpp"

namespace chronos {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

Command shell(const std::string& script) {
  return {"/bin/sh", {"-c", script}, {"PATH=/usr/bin:/bin"}};
}

Captured run(const std::string& script, milliseconds timeout = milliseconds(20'000),
             std::size_t limit = 1 << 20) {
  return run_and_capture({shell(script)}, timeout, limit)[0];
}

bool have_children() { return ::waitpid(-1, nullptr, WNOHANG) != -1 || errno != ECHILD; }

}  // namespace

TEST_CASE("output and status of a helper are captured") {
  Captured result = run("echo out; echo err >&2; exit 3");
  CHECK(result.start_error == 0);
  CHECK(result.output == "out\n");
  REQUIRE(result.status_known);
  CHECK(WEXITSTATUS(result.status) == 3);
  CHECK(!have_children());
}

TEST_CASE("helpers run at once and a program that is missing is told") {
  auto results = run_and_capture({shell("echo a"), {"/no/such/program", {}, {}}, shell("echo b")},
                                 milliseconds(20'000), 100);
  CHECK(results[0].output == "a\n");
  CHECK(results[1].start_error == ENOENT);
  CHECK(results[2].output == "b\n");
  CHECK(run_and_capture({}, milliseconds(1), 1).empty());
}

TEST_CASE("a helper inherits neither descriptors, nor environment, nor blocked signals") {
  int leak = ::fcntl(STDIN_FILENO, F_DUPFD, 57);
  REQUIRE(leak >= 57);
  sigset_t all, before;
  sigfillset(&all);
  ::sigprocmask(SIG_BLOCK, &all, &before);
  Captured result = run("echo /proc/self/fd/*; grep SigBlk /proc/self/status; env | grep -c HOME");
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  ::close(leak);
  CHECK(result.output.find("/fd/5") == std::string::npos);
  CHECK(result.output.find("SigBlk:\t0000000000000000\n0\n") != std::string::npos);
}

TEST_CASE("a helper that hangs is killed with its whole group, and no zombie is left") {
  test::TempFolder folder;
  auto begin = steady_clock::now();
  Captured result =
      run("echo before; sleep 1000 & echo $! > " + folder / "pid" + "; wait", milliseconds(300));
  auto took = steady_clock::now() - begin;
  CHECK(result.timed_out);
  CHECK(result.output == "before\n");
  CHECK(took >= milliseconds(300));
  CHECK(took < milliseconds(5'000));
  CHECK(!have_children());
  int pid = 0;
  std::ifstream(folder / "pid") >> pid;
  REQUIRE(pid > 0);
  // It was sent SIGKILL, which takes its time; then it is its new parent's zombie until that looks.
  auto is_gone = [&] {
    std::string state;
    std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
    stat >> state >> state >> state;
    return state.empty() || state == "Z" || state == "X";
  };
  const auto patience = steady_clock::now() + milliseconds(5'000);
  while (!is_gone() && steady_clock::now() < patience) ::usleep(1000);
  CHECK(is_gone());
}

TEST_CASE("a background process that keeps the pipe open does not keep the caller") {
  auto begin = steady_clock::now();
  Captured result = run("echo done; sleep 1000 & exit 0");
  CHECK(result.output == "done\n");
  CHECK(!result.timed_out);
  CHECK(steady_clock::now() - begin < milliseconds(10'000));
}

TEST_CASE("output is bounded") {
  Captured result = run("yes", milliseconds(20'000), 1000);
  CHECK(result.too_much);
  CHECK(result.output.size() == 1000);
  CHECK(!have_children());
  Captured exact = run("printf 12345", milliseconds(20'000), 5);
  CHECK(!exact.too_much);
  CHECK(exact.output == "12345");
}

TEST_CASE("a host that ignores SIGCHLD still gets the output") {
  auto before = ::signal(SIGCHLD, SIG_IGN);
  Captured result = run("echo out; exit 3");
  ::signal(SIGCHLD, before);
  CHECK(result.output == "out\n");
  CHECK(!result.status_known);
  CHECK(!result.timed_out);
}

TEST_CASE("a host without standard descriptors can capture") {
  int saved = ::dup(STDOUT_FILENO);
  ::close(STDOUT_FILENO);
  Captured result = run("echo out");
  ::dup2(saved, STDOUT_FILENO);
  ::close(saved);
  CHECK(result.output == "out\n");
}

}  // namespace chronos
