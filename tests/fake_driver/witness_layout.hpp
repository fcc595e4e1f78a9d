// The shared file in which the witness counts. witness.py reads the same layout: change both, and
// kWitnessVersion with them.
//
//   0       WitnessHeader            one page
//   4096    WitnessDevice[64]        what a device holds in total
//   20480   WitnessSlot[512]         who a slot belongs to
//   24576   WitnessCell[512][64]     what each process holds on each device
//
// A device's total and the last operation on it are one 16-byte word ("head"), changed by one
// compare-and-swap. An operation is announced there with its slot and amount, and whoever wants to
// announce the next one first carries the announced one into the slot's cell. So the total is
// always the sum of the cells plus at most the announced operation, at whatever instruction a
// process is killed, and nobody ever waits for anybody.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace chronos::fake {

__extension__ using Word128 = unsigned __int128;

inline constexpr std::uint64_t kWitnessMagic = 0x31535354494e4843;  // "CHNITSS1"
inline constexpr std::uint32_t kWitnessVersion = 2;
inline constexpr std::uint32_t kWitnessDevices = 64;
inline constexpr std::uint32_t kWitnessSlots = 512;

struct WitnessHeader {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t device_count;
  std::byte padding[4096 - 16];
};

// head, from the low bit: total 44, slot 9, sequence 29, went over the limit 1, amount 45 (two's
// complement).
struct alignas(16) WitnessDevice {
  Word128 head;
  std::atomic<std::uint64_t> high_water;    // of what living processes held
  std::atomic<std::uint64_t> limit;         // 0: none
  std::atomic<std::uint64_t> over_limit;    // allocations after which the total was above `limit`
  std::atomic<std::uint64_t> worst_excess;  // by how much; set even if the offender dies at once
  std::atomic<std::uint64_t> allocations;
  std::atomic<std::uint64_t> frees;
  char name[256 - 64];
};

// identity: pid 22 bits (low); when it began, in ticks, 18; the page at which it maps this file,
// 16; PID namespace 8 (the last three the low bits). 0: free. By the page a process is told from
// what it was before an exec; where the kernel does not randomise addresses, it may not be.
struct WitnessSlot {
  std::atomic<std::uint64_t> identity;
};

// bytes in the low half, the sequence number of the last operation carried in in the high half.
struct alignas(16) WitnessCell {
  Word128 word;
};

struct WitnessFile {
  WitnessHeader header;
  WitnessDevice devices[kWitnessDevices];
  WitnessSlot slots[kWitnessSlots];
  WitnessCell cells[kWitnessSlots][kWitnessDevices];
};

static_assert(sizeof(WitnessHeader) == 4096);
static_assert(sizeof(WitnessDevice) == 256);
static_assert(offsetof(WitnessFile, slots) == 20480);
static_assert(offsetof(WitnessFile, cells) == 24576);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

}  // namespace chronos::fake
