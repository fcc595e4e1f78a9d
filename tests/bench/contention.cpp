// contention PROCESSES ROUNDS: a charge and its credit by so many processes at once, on our ledger
// and on the stand-in for a region with a lock and a scan, in turns of some milliseconds. The
// figures are the time that the machine's cores take for one pair. Makes its partition where
// CHRONOS_STATE_DIR says.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <thread>

#include "tests/bench/holders.hpp"
#include "tests/bench/lock_and_scan.hpp"
#include "tests/bench/minimum.hpp"

namespace {

using namespace chronos;
using namespace chronos::bench;

constexpr std::uint64_t kSize = 4096;
constexpr int kMostProcesses = 256;
constexpr timespec kTurn{0, 8'000'000};

enum Turn { kNobody, kLedger, kStandIn, kEnd };

// What all processes map.
struct Shared {
  std::atomic<int> turn{kNobody};
  std::atomic<int> ready{0};
  std::atomic<int> failed{0};
  struct alignas(64) Count {
    std::atomic<std::uint64_t> pairs{0};
    std::atomic<bool> idle{true};
  } counts[kMostProcesses];
  char token[33] = {};
  LockAndScan region;
};

[[noreturn]] void give_up(const char* what) {
  std::fprintf(stderr, "bench: %s\n", what);
  std::exit(1);
}

template <class Pair>
void work(Shared& shared, Shared::Count& count, Turn turn, Pair pair) {
  constexpr int kBetweenLooks = 20;
  while (shared.turn.load(std::memory_order_relaxed) == turn) {
    for (int i = 0; i < kBetweenLooks; ++i) {
      if (!pair()) shared.failed.store(1);
    }
    count.pairs.store(count.pairs.load(std::memory_order_relaxed) + kBetweenLooks,
                      std::memory_order_relaxed);
  }
}

void take_part(Shared& shared, int number) {
  Attachment& ledger = enter_partition(shared.token);
  const pid_t self = ::getpid();
  if (!shared.region.enter(self)) ::_exit(1);
  Shared::Count& count = shared.counts[number];
  shared.ready.fetch_add(1);
  for (;;) {
    const int turn = shared.turn.load();
    if (turn == kEnd) ::_exit(0);
    count.idle.store(turn == kNobody);
    if (turn == kLedger) {
      work(shared, count, kLedger, [&] {
        const bool admitted = ledger.charge(kSize).admitted();
        if (admitted) ledger.credit(kSize);
        return admitted;
      });
    } else if (turn == kStandIn) {
      work(shared, count, kStandIn, [&] {
        const bool admitted = shared.region.charge(self, kSize);
        if (admitted) shared.region.credit(self, kSize);
        return admitted;
      });
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  }
}

class Crowd {
 public:
  Crowd(Shared& shared, int processes) : shared_(shared), processes_(processes) {
    for (int i = 0; i < processes; ++i) {
      const pid_t child = ::fork();
      if (child == 0) take_part(shared, i);
      if (child < 0) give_up("a process could not be made");
    }
    while (shared.ready.load() < processes) ::usleep(1000);
  }
  ~Crowd() {
    shared_.turn.store(kEnd);
    while (::wait(nullptr) > 0) {
    }
  }

  // Nanoseconds of the machine's cores for a pair.
  double turn(Turn turn) {
    for (int i = 0; i < processes_; ++i) {
      while (!shared_.counts[i].idle.load()) ::usleep(100);
    }
    const std::uint64_t before = pairs();
    const auto start = std::chrono::steady_clock::now();
    shared_.turn.store(turn);
    ::nanosleep(&kTurn, nullptr);
    shared_.turn.store(kNobody);
    const std::uint64_t done = pairs() - before;
    const std::chrono::duration<double, std::nano> taken = std::chrono::steady_clock::now() - start;
    if (shared_.failed.load() != 0) give_up("a charge was refused");
    const unsigned cores =
        std::min<unsigned>(std::thread::hardware_concurrency(), static_cast<unsigned>(processes_));
    return taken.count() * cores / static_cast<double>(std::max<std::uint64_t>(done, 1));
  }

 private:
  std::uint64_t pairs() const {
    std::uint64_t sum = 0;
    for (int i = 0; i < processes_; ++i) sum += shared_.counts[i].pairs.load();
    return sum;
  }
  Shared& shared_;
  int processes_;
};

}  // namespace

int main(int argc, char** argv) {
  const int processes = argc == 3 ? std::atoi(argv[1]) : 0;
  if (processes < 1 || processes > kMostProcesses) {
    std::fprintf(stderr, "usage: %s PROCESSES ROUNDS\n", argv[0]);
    return 2;
  }
  void* memory =
      ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) give_up("no shared memory");
  Shared& shared = *new (memory) Shared;
  shared.region.initialise(std::uint64_t{64} << 20);

  Device device;
  device.key = "uuid:00000000000000000000000000000be0";
  device.name = "Benchmark";
  device.total_bytes = std::uint64_t{1} << 40;
  const PartitionInfo partition = make_partition(device);
  partition.token.copy(shared.token, sizeof shared.token - 1);

  Crowd crowd(shared, processes);
  std::vector<Way> ways = {{"ledger", {}, {}, {}}, {"lock and scan", {}, {}, {}}};
  const Turn turns[] = {kLedger, kStandIn};
  for (int round = 0; round < std::atoi(argv[2]); ++round) {
    for (std::size_t i = 0; i < ways.size(); ++i) {
      ways[i].nanoseconds.push_back(crowd.turn(turns[i]));
    }
  }
  print("contention", ways);
  return 0;
}
