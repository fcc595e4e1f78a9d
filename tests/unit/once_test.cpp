#include "shim/once.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <future>
#include <thread>
#include <vector>

#include "catch.hpp"

using chronos::shim::made_once;

namespace {

std::atomic<int> made_count{0};
std::promise<void>* begun = nullptr;
std::shared_future<void> go_on;

// One that takes as long to make as the test wants, in the first thread that makes one.
struct Slow {
  Slow() {
    if (made_count.fetch_add(1) != 0) return;
    begun->set_value();
    go_on.wait();
  }
  int word = 7;
};

}  // namespace

TEST_CASE("a child forked while another thread makes it makes its own", "[once][processes]") {
  std::atomic<Slow*> place{nullptr};
  std::promise<void> has_begun, may_go_on;
  begun = &has_begun;
  go_on = may_go_on.get_future().share();
  Slow* of_thread = nullptr;
  std::thread maker([&] { of_thread = &made_once(place); });
  has_begun.get_future().wait();

  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(30);  // a lock that nobody lets go of
    ::_exit(made_once(place).word == 7 ? 0 : 1);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));

  // Nor does anybody else wait: the first that is made stands.
  Slow& here = made_once(place);
  may_go_on.set_value();
  maker.join();
  CHECK(of_thread == &here);
  CHECK(made_count == 2);
  delete &here;
}

TEST_CASE("of many threads all get the same", "[once][threads]") {
  for (int round = 0; round < 200; ++round) {
    std::atomic<std::vector<int>*> place{nullptr};
    std::atomic<int> ready{0};
    std::vector<std::vector<int>*> found(4);
    std::vector<std::thread> threads;
    for (auto& mine : found) {
      threads.emplace_back([&] {
        ++ready;
        while (ready < 4) std::this_thread::yield();
        mine = &made_once(place);
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (auto* one : found) REQUIRE(one == found.front());
    delete found.front();
  }
}
