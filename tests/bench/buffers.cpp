// buffers DRIVER SHIM EMPTY_LAYER ROUNDS: what a buffer's creation and release cost by each door,
// in one process, in turn. Wants CHRONOS_PARTITION to name a partition on the driver's device.
// Under callgrind it counts instructions instead: `ROUNDS` pairs each way, one dump for each.
#include <cstdio>
#include <cstdlib>

#include "tests/bench/mini_loader.hpp"
#include "tests/bench/minimum.hpp"

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#define BENCH_HAS_CALLGRIND 1
#endif

namespace {

using namespace chronos::bench;

constexpr int kPairs = 1000;
constexpr std::size_t kSize = 4096;

struct Doors {
  const char* name;
  Layer layer;
  bool driver_door;
};
constexpr Doors kDoors[] = {
    {"bare", Layer::kNone, false},       {"empty layer", Layer::kEmpty, false},
    {"layer door", Layer::kShim, false}, {"driver door", Layer::kNone, true},
    {"both doors", Layer::kShim, true},
};

void pairs(const MiniLoader& loader, int count) {
  for (int i = 0; i < count; ++i) {
    cl_int error = CL_SUCCESS;
    cl_mem buffer = loader.create_buffer(CL_MEM_READ_WRITE, kSize, &error);
    if (buffer == nullptr || loader.release(buffer) != CL_SUCCESS) {
      std::fprintf(stderr, "bench: a buffer was refused (%d)\n", error);
      std::exit(1);
    }
  }
}

// A door that lets an oversize buffer through is not the door that we mean to time.
void check_doors(MiniLoader& loader) {
  for (const Doors& doors : kDoors) {
    loader.open_doors(doors.layer, doors.driver_door);
    pairs(loader, 10);
    if (doors.layer != Layer::kShim && !doors.driver_door) continue;
    cl_int error = CL_SUCCESS;
    const char* oversize = std::getenv("BENCH_OVERSIZE");
    if (oversize == nullptr) continue;
    if (loader.create_buffer(CL_MEM_READ_WRITE, std::strtoull(oversize, nullptr, 10), &error) !=
        nullptr) {
      std::fprintf(stderr, "bench: %s enforces nothing\n", doors.name);
      std::exit(1);
    }
  }
}

bool count_instructions([[maybe_unused]] MiniLoader& loader, [[maybe_unused]] int count) {
#ifdef BENCH_HAS_CALLGRIND
  if (RUNNING_ON_VALGRIND == 0) return false;
  CALLGRIND_START_INSTRUMENTATION;
  for (const Doors& doors : kDoors) {
    loader.open_doors(doors.layer, doors.driver_door);
    pairs(loader, 10);
    CALLGRIND_ZERO_STATS;
    pairs(loader, count);
    CALLGRIND_DUMP_STATS_AT(doors.name);
  }
  CALLGRIND_STOP_INSTRUMENTATION;
  return true;
#else
  return false;
#endif
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: %s DRIVER SHIM EMPTY_LAYER ROUNDS\n", argv[0]);
    return 2;
  }
  const int rounds = std::atoi(argv[4]);
  MiniLoader loader(argv[1], argv[2], argv[3]);
  check_doors(loader);
  if (count_instructions(loader, rounds)) return 0;

  std::vector<Way> ways;
  for (const Doors& doors : kDoors) {
    ways.push_back({doors.name,
                    [&] { loader.open_doors(doors.layer, doors.driver_door); },
                    [&] { pairs(loader, kPairs); },
                    {}});
  }
  alternate(ways, rounds, kPairs);
  print("buffers", ways);
  return 0;
}
