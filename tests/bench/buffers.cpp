// buffers DRIVER SHIM EMPTY_LAYER CALLBACK_LAYER ROUNDS: what a buffer's creation and release cost
// by each door, in one process, in turn. Makes a partition where CHRONOS_STATE_DIR says. Under
// callgrind it counts instructions instead: `ROUNDS` pairs each way, one dump for each.
#include <cstdio>
#include <cstdlib>

#include "core/registry.hpp"
#include "tests/bench/mini_loader.hpp"
#include "tests/bench/minimum.hpp"

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#define BENCH_HAS_CALLGRIND 1
#endif

namespace {

using namespace chronos;
using namespace chronos::bench;

constexpr int kPairs = 1000;
constexpr std::size_t kSize = 4096;

struct Doors {
  const char* name;
  Layer layer;
  bool driver_door;
};
constexpr Doors kDoors[] = {
    {"bare", Layer::kNone, false},
    {"empty layer", Layer::kEmpty, false},
    {"callback layer", Layer::kCallback, false},
    {"layer door", Layer::kShim, false},
    {"driver door", Layer::kNone, true},
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

// A partition of the driver's device, for this process. (Its name may be another one than a minute
// ago: PoCL names its device by what the CPU can do, and valgrind's CPU can do less.)
void make_partition(const Device& device) {
  Result<Registry> registry = Registry::open();
  CreateRequest request;
  request.device = device;
  request.memory = *parse_memory("64MiB");
  request.duration_ns = 3'600'000'000'000;
  request.held = true;
  if (!registry || !registry->create(request)) {
    std::fprintf(stderr, "bench: no partition could be made\n");
    std::exit(1);
  }
}

// What enforces nothing is not what we mean to time.
void check_doors(MiniLoader& loader) {
  for (const Doors& doors : kDoors) {
    loader.open_doors(doors.layer, doors.driver_door);
    pairs(loader, 10);
    const bool enforces = doors.layer == Layer::kShim || doors.driver_door;
    cl_int error = CL_SUCCESS;
    cl_mem buffer = loader.create_buffer(CL_MEM_READ_WRITE, 65 << 20, &error);
    if (enforces != (buffer == nullptr && error == CL_MEM_OBJECT_ALLOCATION_FAILURE)) {
      std::fprintf(stderr, "bench: %s does not do what it should\n", doors.name);
      std::exit(1);
    }
    if (buffer != nullptr) loader.release(buffer);
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
  if (argc != 6) {
    std::fprintf(stderr, "usage: %s DRIVER SHIM EMPTY_LAYER CALLBACK_LAYER ROUNDS\n", argv[0]);
    return 2;
  }
  const int rounds = std::atoi(argv[5]);
  MiniLoader loader(argv[1], argv[2], argv[3], argv[4]);
  make_partition(loader.device());
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
