// Every crash point × every operation that visits it × seeds. README.md says what is checked.
//
//   chronos_crash_tests [--seeds N] [--first N] [--operation NAME]
//   chronos_crash_tests --replay OPERATION:SEED:POINT:VISIT:HOW
//
// Without --seeds by CHRONOS_TEST_LEVEL: fast 3, normal 20, full 1,000. The last line is
// "N passed, M failed", counted in runs; a failed run is printed as --replay takes it.
#include <fmt/format.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <new>
#include <string_view>
#include <thread>

#include "core/registry_lock.hpp"
#include "tests/crash/points.hpp"
#include "tests/crash/run.hpp"

namespace chronos::crash {
namespace {

struct Totals {
  std::atomic<std::uint64_t> next{0}, passed{0}, failed{0}, missed{0};
  std::atomic<std::uint64_t> killed_at[kPoints] = {}, stopped_at[kPoints] = {};
};

struct Options {
  std::uint64_t seeds = 20, first = 0;
  std::string operation, replay;
};

struct Directory {
  Directory() {
    char name[] = "/dev/shm/chronos-crash-XXXXXX";
    if (::mkdtemp(name) != nullptr) path = name;
  }
  ~Directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::string path;
};

bool judge(const Run& run, const std::string& directory, Totals& totals) {
  const std::string bad = carry_out(run, directory);
  ++(bad.empty() ? totals.passed : totals.failed);
  if (!bad.empty()) {
    fmt::print("FAILED --replay {}: {}\n", run.text(), bad.substr(0, bad.find('\n')));
    std::fflush(stdout);
  }
  return bad.empty();
}

// An operation once undisturbed, to see what it visits, and once for each point that it visited.
void go_through(const Operation& operation, std::uint64_t seed, const std::string& directory,
                Totals& totals) {
  if (operation.needs_root && ::geteuid() != 0) return;
  Run run{&operation, seed, kAnyPoint, 0, How::kNot};
  if (!judge(run, directory, totals)) return;
  std::uint32_t visits[kPoints];
  for (std::uint32_t i = 0; i < kPoints; ++i) visits[i] = seen().visits[i];
  std::mt19937_64 random(seed);
  for (std::uint32_t i = 0; i < kPoints; ++i) {
    if (visits[i] == 0) continue;
    run.point = i;
    run.visit = static_cast<std::int32_t>(1 + random() % visits[i]);
    run.how = static_cast<How>(1 + (seed + i) % 3);
    // Its parent waits for it and would never be seen to stop.
    if (i == static_cast<std::uint32_t>(Point::word_child_began)) run.how = How::kKill;
    judge(run, directory, totals);
    if (seen().fired == 0) {
      ++totals.missed;
    } else {
      ++(run.how == How::kKill ? totals.killed_at : totals.stopped_at)[i];
    }
  }
}

void work(const Options& options, const std::string& directory, Totals& totals) {
  const auto& all = operations();
  for (;;) {
    const std::uint64_t job = totals.next.fetch_add(1);
    if (job >= options.seeds * all.size()) return;
    const Operation& operation = all[job % all.size()];
    if (!options.operation.empty() && options.operation != operation.name) continue;
    go_through(operation, options.first + job / all.size(), directory, totals);
  }
}

// How long the registry's lock stays with a holder that is killed.
void measure_dead_holder(const std::string& directory, Totals& totals) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> took;
  for (int i = 0; i < 101; ++i) {
    int ends[2];
    if (::pipe(ends) != 0) return;
    auto state = StateDir::open_at(directory.c_str());
    const pid_t holder = ::fork();
    if (holder == 0) {
      auto lock = RegistryLock::acquire(*state);
      if (!lock || ::write(ends[1], "", 1) != 1) ::_exit(1);
      for (;;) ::pause();
    }
    char ready = 0;
    while (::read(ends[0], &ready, 1) < 0) {
    }
    const auto start = Clock::now();
    ::kill(holder, SIGKILL);
    auto lock = RegistryLock::acquire(*state);
    took.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
    ::waitpid(holder, nullptr, 0);
    ::close(ends[0]);
    ::close(ends[1]);
  }
  std::sort(took.begin(), took.end());
  const double median = took[took.size() / 2];
  fmt::print(
      "a killed holder of the registry's lock costs {:.2f} ms (median of {}; {:.2f} to {:.2f})\n",
      median, took.size(), took.front(), took.back());
  ++(median <= 100 ? totals.passed : totals.failed);
}

void check_points(const Totals& totals, Totals& count) {
  const std::string wrong = compare_list_with_sources();
  if (!wrong.empty()) fmt::print("core/crash_points.def and the sources:\n{}", wrong);
  ++(wrong.empty() ? count.passed : count.failed);
  for (std::size_t i = 0; i < kPoints; ++i) {
    if (!is_visited_here(i)) continue;
    const bool stops = i != static_cast<std::size_t>(Point::word_child_began);
    if (totals.killed_at[i] > 0 && (!stops || totals.stopped_at[i] > 0)) continue;
    fmt::print("FAILED {}: killed {} times there, stopped {} times\n",
               name_of(static_cast<Point>(i)), totals.killed_at[i].load(),
               totals.stopped_at[i].load());
    ++count.failed;
  }
}

int run_all(const Options& options) {
  void* at =
      ::mmap(nullptr, sizeof(Totals), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  Totals& totals = *new (at) Totals;
  const unsigned workers = std::clamp(std::thread::hardware_concurrency(), 1u, 8u);
  std::vector<pid_t> children;
  const auto start = std::chrono::steady_clock::now();
  std::fflush(stdout);
  for (unsigned i = 0; i < workers; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      {
        Directory directory;
        work(options, directory.path, totals);
      }
      ::_exit(0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ::waitpid(child, &status, 0);
    if (status != 0) ++totals.failed;
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  fmt::print("{} runs in {:.0f} s, {} of which came by their point too seldom to be hit\n",
             totals.passed + totals.failed, took.count(), totals.missed.load());
  if (options.operation.empty() && options.seeds >= 3) {
    Directory directory;
    measure_dead_holder(directory.path, totals);
    check_points(totals, totals);
  }
  fmt::print("{} passed, {} failed\n", totals.passed.load(), totals.failed.load());
  return totals.failed == 0 && totals.passed > 0 ? 0 : 1;
}

int replay(const std::string& text) {
  auto run = Run::parse(text);
  if (!run) {
    fmt::print(stderr, "not a run: {}\n", text);
    return 2;
  }
  Directory directory;
  const std::string bad = carry_out(*run, directory.path);
  fmt::print("{}{}\n", seen().fired == 0 && run->how != How::kNot ? "the point was not hit; " : "",
             bad.empty() ? "all holds" : bad);
  return bad.empty() ? 0 : 1;
}

int main(int argc, char** argv) {
  if (argc == 4 && std::strcmp(argv[1], "--new-image") == 0) return run_new_image(argv + 2);
  Options options;
  const char* level = ::getenv("CHRONOS_TEST_LEVEL");
  if (level != nullptr && std::string_view(level) == "fast") options.seeds = 3;
  if (level != nullptr && std::string_view(level) == "full") options.seeds = 1000;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view name = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : nullptr;
    if (value != nullptr && name == "--seeds") {
      options.seeds = std::strtoull(value, nullptr, 10);
    } else if (value != nullptr && name == "--first") {
      options.first = std::strtoull(value, nullptr, 10);
    } else if (value != nullptr && name == "--operation") {
      options.operation = value;
    } else if (value != nullptr && name == "--replay") {
      options.replay = value;
    } else {
      fmt::print(stderr, "usage: {} [--seeds N] [--first N] [--operation NAME] [--replay RUN]\n",
                 argv[0]);
      return 2;
    }
  }
  // The tests' own policy is none: this machine's may refuse what they ask for.
  ::setenv("HOME", "/nonexistent", 1);
  ::unsetenv("CHRONOS_CONFIG");
  return options.replay.empty() ? run_all(options) : replay(options.replay);
}

}  // namespace
}  // namespace chronos::crash

int main(int argc, char** argv) { return chronos::crash::main(argc, argv); }
