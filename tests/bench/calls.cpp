// calls DRIVER SHIM EMPTY_LAYER CALLBACK_LAYER OPERATION ROUNDS [PROCESSES [THREADS]]: what an
// operation (see operations.hpp) costs by each door, in one process, in turn: with so many
// processes in its partition, itself included, and by so many threads at once. The partition is
// made where CHRONOS_STATE_DIR says. Under callgrind it counts instructions instead: `ROUNDS`
// operations each way, one dump for each.
#include <barrier>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "tests/bench/holders.hpp"
#include "tests/bench/mini_loader.hpp"
#include "tests/bench/minimum.hpp"
#include "tests/bench/operations.hpp"

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#define BENCH_HAS_CALLGRIND 1
#endif

namespace {

using namespace chronos;
using namespace chronos::bench;

struct Doors {
  const char* name;
  Layer layer;
  bool driver_door;
  bool enforces() const { return layer == Layer::kShim || driver_door; }
};
constexpr Doors kDoors[] = {
    {"bare", Layer::kNone, false},
    {"empty layer", Layer::kEmpty, false},
    {"callback layer", Layer::kCallback, false},
    {"layer door", Layer::kShim, false},
    {"driver door", Layer::kNone, true},
    {"both doors", Layer::kShim, true},
};

void open(MiniLoader& loader, const Operation& operation, const Doors& doors) {
  loader.open_doors(doors.layer, doors.driver_door);
  if (operation.prepare) operation.prepare();
}

// What enforces nothing is not what we mean to time.
void check_doors(MiniLoader& loader, const Operation& operation) {
  constexpr std::size_t kTooMuch = 65 << 20;  // of the partition's 64 MiB
  for (const Doors& doors : kDoors) {
    open(loader, operation, doors);
    operation.run(10);
    if (operation.refuses && operation.refuses(kTooMuch) != doors.enforces()) {
      std::fprintf(stderr, "bench: %s does not do what it should\n", doors.name);
      std::exit(1);
    }
  }
}

bool count_instructions([[maybe_unused]] MiniLoader& loader,
                        [[maybe_unused]] const Operation& operation, [[maybe_unused]] int count) {
#ifdef BENCH_HAS_CALLGRIND
  if (RUNNING_ON_VALGRIND == 0) return false;
  CALLGRIND_START_INSTRUMENTATION;
  for (const Doors& doors : kDoors) {
    open(loader, operation, doors);
    operation.run(10);
    CALLGRIND_ZERO_STATS;
    operation.run(count);
    CALLGRIND_DUMP_STATS_AT(doors.name);
  }
  CALLGRIND_STOP_INSTRUMENTATION;
  return true;
#else
  return false;
#endif
}

// Threads that run an operation together, each time that they are asked to.
class Team {
 public:
  Team(const Operation& operation, int threads) : operation_(operation), meet_(threads) {
    for (int i = 1; i < threads; ++i) {
      others_.emplace_back([this] {
        for (;;) {
          meet_.arrive_and_wait();
          if (over_) return;
          operation_.run(operation_.batch);
          meet_.arrive_and_wait();
        }
      });
    }
  }
  ~Team() {
    over_ = true;
    meet_.arrive_and_wait();
    for (std::thread& other : others_) other.join();
  }
  void run() {
    meet_.arrive_and_wait();
    operation_.run(operation_.batch);
    meet_.arrive_and_wait();
  }

 private:
  const Operation& operation_;
  std::barrier<> meet_;
  bool over_ = false;  // read after the barrier alone
  std::vector<std::thread> others_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 7 || argc > 9) {
    std::fprintf(stderr,
                 "usage: %s DRIVER SHIM EMPTY_LAYER CALLBACK_LAYER OPERATION ROUNDS "
                 "[PROCESSES [THREADS]]\n",
                 argv[0]);
    return 2;
  }
  const int rounds = std::atoi(argv[6]);
  const int threads = argc > 8 ? std::atoi(argv[8]) : 1;
  Holders holders(argc > 7 ? std::atoi(argv[7]) - 1 : 0);
  MiniLoader loader(argv[1], argv[2], argv[3], argv[4]);
  const Operation operation = make_operation(argv[5], loader);
  holders.enter(make_partition(loader.device()));
  check_doors(loader, operation);
  if (count_instructions(loader, operation, rounds)) return 0;

  Team team(operation, threads);
  std::vector<Way> ways;
  for (const Doors& doors : kDoors) {
    ways.push_back({doors.name, [&] { open(loader, operation, doors); }, [&] { team.run(); }, {}});
  }
  // Of threads that meet, the minimum is the one batch in which they did not.
  alternate(ways, rounds, operation.batch * threads, Order::kShifting,
            threads > 1 ? Aim::kMedian : Aim::kMinimum);
  print(argv[5], ways);
  return 0;
}
