#include "core/parallel.hpp"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace chronos {
namespace {

constexpr std::size_t kMostThreads = 4;
constexpr std::size_t kPiecesAtOnce = 64;

std::size_t processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  // Fails where there are more processors than a cpu_set_t has room for.
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return kMostThreads;
  return static_cast<std::size_t>(CPU_COUNT(&set));
}

// A signal that is for the program must not run its handler on a thread that it does not know.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace

void in_parallel(std::size_t count, std::size_t worth_a_thread,
                 const std::function<void(std::size_t first, std::size_t end)>& work) {
  std::size_t threads = count / std::max<std::size_t>(worth_a_thread, 1);
  if (threads > 1) threads = std::min({threads, kMostThreads, processors()});
  if (threads <= 1) {
    work(0, count);
    return;
  }
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::exception_ptr thrown;
  auto take_part = [&] {
    try {
      for (;;) {
        const std::size_t first = next.fetch_add(kPiecesAtOnce);
        if (first >= count) return;
        work(first, std::min(count, first + kPiecesAtOnce));
      }
    } catch (...) {
      next.store(count);
      const std::lock_guard lock(mutex);
      thrown = std::current_exception();
    }
  };
  std::vector<std::thread> others;
  others.reserve(threads - 1);
  {
    const SignalsBlocked blocked;
    try {
      while (others.size() < threads - 1) others.emplace_back(take_part);
    } catch (const std::system_error&) {
      // A limit on processes, say. Those that there are do it.
    }
  }
  take_part();
  for (std::thread& other : others) other.join();
  if (thrown) std::rethrow_exception(thrown);
}

}  // namespace chronos
