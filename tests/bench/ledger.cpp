// What a charge and its credit cost on the ledger alone, by how many processes share it; and what
// the two usual locks would cost instead.
#include "core/ledger.hpp"

#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <new>

#include "core/clock.hpp"

namespace chronos {
namespace {

struct Grantlike {
  std::atomic<std::uint64_t> limit{kMaxBytes};
  std::atomic<std::uint64_t> ended{0};
  std::atomic<std::uint64_t> deadline{boot_now() + 3'600'000'000'000};
  Terms terms() const { return {&limit, &ended, &deadline}; }
};

void charge_and_credit(benchmark::State& state) {
  auto layout = std::make_unique<LedgerLayout>();
  Ledger::initialise(*layout, Token{}, BootId{}, ::getuid());
  Ledger ledger(layout.get());
  SlotRef slot;
  for (std::size_t i = 0; i < static_cast<std::size_t>(state.range(0)); ++i) {
    if (!ledger.claim_slot(i, ProcessIdentity{}, slot)) std::abort();
  }
  const Grantlike grant;
  const Terms terms = grant.terms();
  for (auto _ : state) {
    if (ledger.charge(slot, 4096, terms, false) != Verdict::kAdmitted) std::abort();
    ledger.credit(slot, 4096);
  }
}
BENCHMARK(charge_and_credit)->Arg(1)->Arg(8)->Arg(64)->Arg(256);

void deadline_check(benchmark::State& state) {
  const std::uint64_t deadline = boot_now() + 3'600'000'000'000;
  for (auto _ : state) benchmark::DoNotOptimize(deadline_passed(deadline));
}
BENCHMARK(deadline_check);

void robust_mutex_pair(benchmark::State& state) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_t mutex;
  pthread_mutex_init(&mutex, &attributes);
  std::uint64_t used = 0;
  for (auto _ : state) {
    pthread_mutex_lock(&mutex);
    benchmark::DoNotOptimize(used += 4096);
    pthread_mutex_unlock(&mutex);
    pthread_mutex_lock(&mutex);
    benchmark::DoNotOptimize(used -= 4096);
    pthread_mutex_unlock(&mutex);
  }
  pthread_mutex_destroy(&mutex);
}
BENCHMARK(robust_mutex_pair);

void flock_pair(benchmark::State& state) {
  char path[] = "/dev/shm/chronos-bench-XXXXXX";
  const int fd = ::mkostemp(path, O_CLOEXEC);
  if (fd < 0) std::abort();
  ::unlink(path);
  for (auto _ : state) {
    ::flock(fd, LOCK_EX);
    ::flock(fd, LOCK_UN);
    ::flock(fd, LOCK_EX);
    ::flock(fd, LOCK_UN);
  }
  ::close(fd);
}
BENCHMARK(flock_pair);

}  // namespace
}  // namespace chronos

BENCHMARK_MAIN();
