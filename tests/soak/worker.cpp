// One process of the storm: allocates and frees on one device, forks, starts anew, ends.
#include <CL/cl.h>
#include <CL/cl_ext.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/soak/board.hpp"

namespace chronos::soak {
namespace {

constexpr std::size_t kMostHeld = 24;
constexpr std::uint64_t kMinimum = 4096;  // of what a partition's limit is taken to be

// Tells the keeper that a call is under way, and keeps the longest.
class Timed {
 public:
  Timed(Board& board, Entry& entry, Counter worst, bool is_first_thread)
      : board_(board), entry_(entry), worst_(worst), first_(is_first_thread) {
    stops_ = entry_.stops.load();
    started_ = monotonic_ns();
    if (first_) entry_.call_started = started_;
  }
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;
  ~Timed() {
    if (first_) entry_.call_started = 0;
    if (entry_.stops.load() != stops_) return;
    const std::uint64_t took = monotonic_ns() - started_;
    std::atomic<std::uint64_t>& worst = board_.counters.values[worst_];
    std::uint64_t seen = worst.load(std::memory_order_relaxed);
    while (seen < took && !worst.compare_exchange_weak(seen, took)) {
    }
  }

 private:
  Board& board_;
  Entry& entry_;
  Counter worst_;
  bool first_;
  std::uint64_t stops_ = 0, started_ = 0;
};

struct Memory {
  cl_mem mem = nullptr;
  void* svm = nullptr;
  void* usm = nullptr;
};

struct Place {
  Board& board;
  Entry& entry;
  std::uint64_t lane;
  bool is_pocl = false;
  cl_platform_id platform = nullptr;
  cl_device_id device = nullptr;
  cl_context context = nullptr;
  clDeviceMemAllocINTEL_fn usm_alloc = nullptr;
  clMemFreeINTEL_fn usm_free = nullptr;
};

void mistake(const Place& place, const char* what, long value) {
  place.board.count(kMistakes);
  std::fprintf(stderr, "soak: pid %d lane %llu: %s: %ld\n", getpid(),
               static_cast<unsigned long long>(place.lane), what, value);
}

std::string_view device_name(cl_device_id device, char (&buffer)[64]) {
  buffer[0] = '\0';
  clGetDeviceInfo(device, CL_DEVICE_NAME, sizeof buffer, buffer, nullptr);
  return buffer;
}

// False: the partition is gone, or its device is not to be seen. That is an answer too.
bool find_place(Place& place) {
  const Timed timed(place.board, place.entry, place.is_pocl ? kWorstPoclNs : kWorstSetupNs, true);
  cl_platform_id platforms[8];
  cl_uint platform_count = 0;
  cl_int error = clGetPlatformIDs(8, platforms, &platform_count);
  if (error != CL_SUCCESS) {
    mistake(place, "clGetPlatformIDs", error);
    return false;
  }
  char wanted[64];
  std::snprintf(wanted, sizeof wanted, "Soak %llu",
                static_cast<unsigned long long>(place.board.lanes[place.lane].device.load()));
  for (cl_uint p = 0; p < platform_count && p < 8; ++p) {
    cl_device_id devices[64];
    cl_uint count = 0;
    error = clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, 64, devices, &count);
    if (error != CL_SUCCESS && error != CL_DEVICE_NOT_FOUND)
      mistake(place, "clGetDeviceIDs", error);
    if (error != CL_SUCCESS) continue;
    for (cl_uint d = 0; d < count && d < 64; ++d) {
      char name[64];
      if (!place.is_pocl && device_name(devices[d], name) != wanted) continue;
      place.platform = platforms[p];
      place.device = devices[d];
    }
  }
  if (place.device == nullptr) return false;
  place.context = clCreateContext(nullptr, 1, &place.device, nullptr, nullptr, &error);
  if (place.context == nullptr) {
    if (error != CL_DEVICE_NOT_AVAILABLE && error != CL_INVALID_DEVICE) {
      mistake(place, "clCreateContext", error);
    }
    return false;
  }
  if (!place.is_pocl) {
    place.usm_alloc = reinterpret_cast<clDeviceMemAllocINTEL_fn>(
        clGetExtensionFunctionAddressForPlatform(place.platform, "clDeviceMemAllocINTEL"));
    place.usm_free = reinterpret_cast<clMemFreeINTEL_fn>(
        clGetExtensionFunctionAddressForPlatform(place.platform, "clMemFreeINTEL"));
  }
  return true;
}

bool allocate(Place& place, Random& random, std::uint64_t size, Memory& made, bool first) {
  const Timed timed(place.board, place.entry, place.is_pocl ? kWorstPoclNs : kWorstAllocateNs,
                    first);
  place.board.count(kTried);
  cl_int error = CL_SUCCESS;
  cl_int refusal = CL_MEM_OBJECT_ALLOCATION_FAILURE;
  const std::uint64_t kind = random.below(10);
  if (kind == 8 && !place.is_pocl) {
    made.svm = clSVMAlloc(place.context, CL_MEM_READ_WRITE, size, 0);
    error = made.svm != nullptr ? CL_SUCCESS : refusal;
  } else if (kind == 9 && place.usm_alloc != nullptr && place.usm_free != nullptr) {
    refusal = CL_OUT_OF_RESOURCES;
    made.usm = place.usm_alloc(place.context, place.device, nullptr, size, 0, &error);
  } else {
    made.mem = clCreateBuffer(place.context, CL_MEM_READ_WRITE, size, nullptr, &error);
  }
  if (error == CL_SUCCESS) {
    place.board.count(place.is_pocl ? kPoclAdmitted : kAdmitted);
    return true;
  }
  place.board.count(kRefused);
  if (error != refusal) mistake(place, "an allocation was refused with", error);
  return false;
}

void give_back(Place& place, Memory& held, bool first) {
  const Timed timed(place.board, place.entry, place.is_pocl ? kWorstPoclNs : kWorstFreeNs, first);
  place.board.count(kFreed);
  if (held.mem != nullptr) {
    const cl_int error = clReleaseMemObject(held.mem);
    if (error != CL_SUCCESS) mistake(place, "clReleaseMemObject", error);
  }
  if (held.svm != nullptr) clSVMFree(place.context, held.svm);
  if (held.usm != nullptr) place.usm_free(place.context, held.usm);
  held = {};
}

void nap(std::uint64_t ns) {
  const struct timespec time = {static_cast<time_t>(ns / 1000000000),
                                static_cast<long>(ns % 1000000000)};
  nanosleep(&time, nullptr);
}

// Most are small; some would fill the partition alone.
std::uint64_t draw_size(const Place& place, Random& random) {
  const std::uint64_t limit =
      std::max<std::uint64_t>(place.board.lanes[place.lane].limit.load(), kMinimum);
  const std::uint64_t draw = random.below(100);
  if (draw < 45) return 1 + random.below(std::min<std::uint64_t>(limit, 65536));
  if (draw < 90) return 1 + random.below(limit / 8);
  return 1 + random.below(limit);
}

// Allocates and frees for a moment, then rests for twice as long, so that a crowd of these leaves
// the processor to others.
void burst(Place& place, Random& random, std::vector<Memory>& held, bool first) {
  const std::uint64_t begin = monotonic_ns();
  const std::uint64_t operations = 1 + random.below(place.is_pocl ? 20 : 200);
  for (std::uint64_t i = 0; i < operations; ++i) {
    if (held.size() == kMostHeld || (!held.empty() && random.one_in(3))) {
      const std::size_t which = random.below(held.size());
      give_back(place, held[which], first);
      held[which] = held.back();
      held.pop_back();
      continue;
    }
    Memory made;
    if (allocate(place, random, draw_size(place, random), made, first)) {
      held.push_back(made);
    } else if (!held.empty() && random.one_in(4)) {
      give_back(place, held.back(), first);
      held.pop_back();
    } else {
      break;
    }
  }
  nap(2 * (monotonic_ns() - begin) + random.below(12000000));
}

// Many at once for what is left, of which only one can have it: they wait for the same instant.
void rush(Place& place, Random& random) {
  constexpr std::uint64_t kTurn = 16000000, kLength = 1500000;
  std::uint64_t size = std::max(place.board.lanes[place.lane].limit.load(), kMinimum) / 2;
  Memory made;
  while (size > 64 && !allocate(place, random, size, made, true)) size /= 2;
  if (size <= 64) return;
  give_back(place, made, true);
  const std::uint64_t now = monotonic_ns(), begin = now - now % kTurn + kTurn;
  nap(begin - now);
  place.board.count(kRushes);
  while (monotonic_ns() < begin + kLength) {
    if (allocate(place, random, size, made, true)) give_back(place, made, true);
  }
}

void second_thread(Place place, std::uint64_t seed) {
  Random random(seed);
  std::vector<Memory> held;
  for (;;) burst(place, random, held, false);
}

// A child on the same partition. It holds nothing; what it releases of its parent's objects must
// credit nobody.
bool fork_child(Place& place, Random& random, std::vector<Memory>& held, std::size_t& index) {
  std::uint64_t token = 0;
  const std::uint64_t seed = random.next();
  const std::size_t claimed = claim_entry(place.board, place.lane, token);
  if (claimed == kEntries) return false;
  const pid_t child = fork();
  if (child < 0) {
    place.board.entries[claimed].word = 0;
    return false;
  }
  if (child > 0) {
    place.board.count(kForks);
    return false;
  }
  take_entry(place.board, claimed, token);
  index = claimed;
  random = Random(seed);
  if (random.one_in(3)) {
    for (Memory& memory : held) {
      if (memory.mem != nullptr) {
        clReleaseMemObject(memory.mem);
        place.board.count(kForeign);
      }
    }
  }
  held.clear();
  return true;
}

}  // namespace

void work(Board& board, std::size_t index, std::uint64_t lane, std::uint64_t seed) {
  Random random(seed);
  const bool is_pocl = board.lanes[lane].is_pocl.load() != 0;
  std::uint64_t depth = 0;
  for (;;) {  // again after each fork, in the child: references do not change what they refer to
    Place place{board, board.entries[index], lane, is_pocl};
    if (!find_place(place)) {
      board.count(kNoDevice);
      break;
    }
    const bool has_threads = !is_pocl && random.one_in(6);
    if (has_threads) std::thread(second_thread, place, random.next()).detach();
    std::vector<Memory> held;
    bool is_child = false;
    const std::uint64_t rounds = 5 + random.below(400);
    for (std::uint64_t round = 0; round < rounds && !is_child; ++round) {
      burst(place, random, held, true);
      if (!is_pocl && random.one_in(20)) rush(place, random);
      const std::uint64_t draw = random.below(1000);
      if (has_threads || is_pocl) continue;
      if (draw < 12 && depth < 3) {
        is_child = fork_child(place, random, held, index);
      } else if (draw < 20) {
        exec_worker(board, index, token_of(board.entries[index].word.load()), lane, random.next());
        mistake(place, "exec failed", errno);
      }
    }
    if (is_child) {
      ++depth;
      continue;
    }
    if (has_threads) _exit((board.count(kExits), 0));
    if (random.one_in(2)) break;  // ends with all that it holds
    for (Memory& memory : held) give_back(place, memory, true);
    const Timed timed(board, board.entries[index], is_pocl ? kWorstPoclNs : kWorstFreeNs, true);
    clReleaseContext(place.context);
    break;
  }
  board.count(kExits);
  Entry& entry = board.entries[index];
  entry.call_started = 0;
  if (random.one_in(2)) exit(0);
  _exit(0);
}

}  // namespace chronos::soak
