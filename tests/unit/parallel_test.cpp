#include "core/parallel.hpp"

#include <pthread.h>

#include <atomic>
#include <csignal>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "tests/unit/catch.hpp"

using namespace chronos;

namespace {

// How often each piece was done.
std::vector<int> done_by(std::size_t count, std::size_t worth_a_thread) {
  std::vector<std::atomic<int>> done(count);
  in_parallel(count, worth_a_thread, [&](std::size_t first, std::size_t end) {
    for (std::size_t i = first; i < end; ++i) done[i].fetch_add(1);
  });
  return {done.begin(), done.end()};
}

}  // namespace

TEST_CASE("every piece is done once, however many there are") {
  for (const std::size_t count : {0, 1, 63, 64, 65, 1000, 4097}) {
    for (const std::size_t worth : {std::size_t{0}, std::size_t{1}, std::size_t{64}, count + 1}) {
      CHECK(done_by(count, worth) == std::vector<int>(count, 1));
    }
  }
}

TEST_CASE("few pieces are done by the caller's own thread") {
  bool elsewhere = false;
  in_parallel(100, 51, [&, self = std::this_thread::get_id()](std::size_t, std::size_t) {
    elsewhere = elsewhere || std::this_thread::get_id() != self;
  });
  CHECK_FALSE(elsewhere);
}

TEST_CASE("what is thrown comes out, after all have stopped") {
  std::atomic<int> inside{0};
  CHECK_THROWS_AS(in_parallel(10000, 1,
                              [&](std::size_t first, std::size_t) {
                                ++inside;
                                if (first >= 128) {
                                  --inside;
                                  throw std::runtime_error("no");
                                }
                                --inside;
                              }),
                  std::runtime_error);
  CHECK(inside == 0);
}

TEST_CASE("the threads take no signal of the program's, and its own mask stays") {
  std::mutex mutex;
  std::set<bool> blocked;
  sigset_t before;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  in_parallel(1000, 1, [&, self = std::this_thread::get_id()](std::size_t, std::size_t) {
    if (std::this_thread::get_id() == self) return;
    sigset_t now;
    pthread_sigmask(SIG_SETMASK, nullptr, &now);
    const std::lock_guard lock(mutex);
    blocked.insert(sigismember(&now, SIGUSR1) == 1 && sigismember(&now, SIGTERM) == 1);
  });
  CHECK(blocked.count(false) == 0);
  sigset_t after;
  pthread_sigmask(SIG_SETMASK, nullptr, &after);
  CHECK(sigismember(&after, SIGUSR1) == sigismember(&before, SIGUSR1));
}

TEST_CASE("where no thread can be made, the caller does it all") {
  pthread_attr_t before;
  REQUIRE(pthread_getattr_default_np(&before) == 0);
  pthread_attr_t too_large = before;
  REQUIRE(pthread_attr_setstacksize(&too_large, std::size_t{1} << 60) == 0);
  REQUIRE(pthread_setattr_default_np(&too_large) == 0);
  const std::vector<int> done = done_by(1000, 1);
  REQUIRE(pthread_setattr_default_np(&before) == 0);
  CHECK(done == std::vector<int>(1000, 1));
}
