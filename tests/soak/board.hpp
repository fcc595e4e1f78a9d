// What the processes of one user's storm and soak.py share: a file that all of them map. board.py
// reads and writes the same layout: change both.
//
//   0      BoardHeader
//   256    Lane[8]     what may be allocated on, told by soak.py
//   1024   Counters    added up by all
//   2048   Entry[512]  the processes that there are
//
// Threads: everything that changes is atomic. Nothing here waits.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace chronos::soak {

inline constexpr std::uint64_t kBoardMagic = 0x31534b414f53;  // "SOAKS1"
inline constexpr std::size_t kLanes = 8;
inline constexpr std::size_t kEntries = 512;

struct BoardHeader {
  std::uint64_t magic;
  std::uint64_t seed;
  std::atomic<std::uint64_t> per_mille;  // kills a second, times 1000
  std::atomic<std::uint64_t> processes;  // to be kept alive
  std::atomic<std::uint64_t> hang_ns;    // a call that takes longer hangs
  std::atomic<std::uint64_t> sweeps;     // how often the keeper has looked at its processes
  std::uint64_t user;                    // its number
  std::byte padding[256 - 56];
};

// A place of one device on which this user has a partition now and then.
struct alignas(64) Lane {
  std::atomic<std::uint64_t> open;  // 0: soak.py wants nobody here; the keeper kills them
  std::atomic<std::uint64_t>
      generation;  // the partition's name is "u<user>l<lane>g<generation>"; 0: none
  std::atomic<std::uint64_t> limit;   // bytes, a hint for sizes
  std::atomic<std::uint64_t> device;  // the fake device is called "Soak <device>"
  std::atomic<std::uint64_t> is_pocl;
  std::atomic<std::uint64_t> emptied;  // the sweep at which nobody was left after `open` was 0
  std::byte padding[64 - 48];
};

enum Counter : std::size_t {
  kKills,         // SIGKILL sent by the storm
  kKillsStopped,  // of these, to stopped processes
  kKillsInCall,   // of these, while a call of OpenCL was under way
  kStops,
  kContinues,
  kForks,  // by the storm and by its processes
  kExecs,  // of a program anew, in the same process
  kRuns,   // of `chronos run`
  kExits,  // processes that came to their own end
  kTried,  // allocations
  kAdmitted,
  kRefused,
  kFreed,
  kForeign,   // objects of the parent's that a child released
  kNoDevice,  // a context could not be had: the device is hidden, or its partition has ended
  // The longest calls of processes that were not stopped in them; on PoCL all kinds are one.
  kWorstSetupNs,     // drivers loaded, a device found, a context made
  kWorstAllocateNs,  // the first of a process also finds it a place in the ledger
  kWorstFreeNs,
  kWorstPoclNs,
  kHangs,
  kCrashes,
  kMistakes,  // answers that OpenCL must not give, wrong exit statuses
  kPoclAdmitted,
  kRushes,  // times that a process tried for what was left at the same instant as others
  kCounters
};

struct Counters {
  std::atomic<std::uint64_t> values[kCounters];
};

// A process, known from before it is forked. `word` is the token of its claim and its pid, or 0.
struct alignas(64) Entry {
  std::atomic<std::uint64_t> word;
  std::atomic<std::uint64_t> lane;
  std::atomic<std::uint64_t> call_started;  // nanoseconds of CLOCK_MONOTONIC; 0: in no call
  std::atomic<std::uint64_t> stops;         // grows at each SIGSTOP and SIGCONT; odd: stopped
  std::atomic<std::uint64_t> claimed_at;
  std::atomic<std::uint64_t> killed;    // SIGKILL is on its way
  std::atomic<std::uint64_t> reported;  // its hang is counted
  std::byte padding[64 - 56];
};

struct Board {
  BoardHeader header;
  Lane lanes[kLanes];
  std::byte padding1[1024 - 256 - kLanes * sizeof(Lane)];
  Counters counters;
  std::byte padding2[1024 - sizeof(Counters)];
  Entry entries[kEntries];

  void count(Counter what, std::uint64_t by = 1) {
    counters.values[what].fetch_add(by, std::memory_order_relaxed);
  }
};
static_assert(sizeof(BoardHeader) == 256 && sizeof(Lane) == 64 && sizeof(Entry) == 64);
static_assert(offsetof(Board, counters) == 1024 && offsetof(Board, entries) == 2048);

constexpr pid_t pid_of(std::uint64_t word) { return static_cast<pid_t>(word & 0xffffffff); }
constexpr std::uint64_t token_of(std::uint64_t word) { return word >> 32; }
constexpr std::uint64_t make_word(std::uint64_t token, pid_t pid) {
  return token << 32 | static_cast<std::uint32_t>(pid);
}

// The board that the environment names (CHRONOS_SOAK_BOARD), mapped; nullptr after a line on
// stderr.
Board* map_board();

// Claims a free entry for a process that is about to be made; kEntries if there is none.
std::size_t claim_entry(Board& board, std::uint64_t lane, std::uint64_t& token);

// Says that the calling process is the one that `index` was claimed for; ends the process if the
// claim was given up meanwhile.
void take_entry(Board& board, std::size_t index, std::uint64_t token);

std::uint64_t monotonic_ns();

// SplitMix64: a generator that can be seeded with anything and costs nothing to start.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  std::uint64_t below(std::uint64_t bound) { return bound == 0 ? 0 : next() % bound; }
  bool one_in(std::uint64_t count) { return below(count) == 0; }

 private:
  std::uint64_t state_;
};

// Works on `lane` as the process of the entry `index`; never returns.
[[noreturn]] void work(Board& board, std::size_t index, std::uint64_t lane, std::uint64_t seed);

// Allocates `bytes` in one buffer on the device of that name, as it pleases the shim: 0, or 3 if it was
// refused.
int fill(const char* bytes, const char* device);

// Replaces the calling process by a worker that starts anew: `own_words` comes before the program
// (as in `chronos run --partition P --`). Returns only if that fails.
void exec_worker(Board& board, std::size_t index, std::uint64_t token, std::uint64_t lane,
                 std::uint64_t seed, const char* const* own_words = nullptr);

}  // namespace chronos::soak
