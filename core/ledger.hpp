// Who holds how many bytes in one partition: a table of slots in shared memory, one per process,
// each in a cache line of its own.
//
// The algorithm is announce, then check. A process adds the request to the word of its own slot,
// then reads whether the partition has ended and its limit, then sums all words; if the sum is
// over the limit it takes the request back. Whoever announces last sees everybody else, so no
// interleaving admits more than the limit. There is no lock that a killed process could leave
// behind: what it leaves is words, which a single compare-and-swap drops.
//
// Each word carries the generation of its slot, so that a late writer of an earlier generation
// fails instead of corrupting a later one. tests/model/ledger.pml is the model of this file; the
// steps have the same names there. docs/formats.md describes the layout.
//
// Threads: any number, of any number of processes. Nothing here waits for anybody, allocates or
// throws. A Ledger does not own the memory it works on.
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/process.hpp"

namespace chronos {

inline constexpr std::size_t kLedgerSlots = 256;
inline constexpr std::uint64_t kMaxBytes = (1ull << 46) - 1;  // 64 TiB less one

using Token = std::array<std::uint8_t, 16>;
using BootId = std::array<std::uint8_t, 16>;

// The owner word of a slot: generation, state, pid. The bytes word: generation, bytes.
enum class SlotState : std::uint8_t { kFree, kClaiming, kLive };

struct OwnerWord {
  std::uint32_t generation = 0;  // 18 bits
  SlotState state = SlotState::kFree;
  std::uint32_t pid = 0;

  std::uint64_t pack() const {
    return std::uint64_t{generation} << 34 | std::uint64_t(state) << 32 | pid;
  }
  static OwnerWord unpack(std::uint64_t word) {
    return {static_cast<std::uint32_t>(word >> 34), static_cast<SlotState>(word >> 32 & 3),
            static_cast<std::uint32_t>(word)};
  }
};

struct BytesWord {
  std::uint32_t generation = 0;  // 18 bits
  std::uint64_t bytes = 0;       // 46 bits

  std::uint64_t pack() const { return std::uint64_t{generation} << 46 | bytes; }
  static BytesWord unpack(std::uint64_t word) {
    return {static_cast<std::uint32_t>(word >> 46), word & kMaxBytes};
  }
};

inline constexpr std::uint32_t kGenerationMask = (1u << 18) - 1;

// The file, word for word. Integers are in the machine's own order: shared memory never leaves it.
struct LedgerHeader {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t slot_count;
  Token token;
  BootId boot_id;
  std::uint32_t owner_uid;
  std::uint32_t entered;  // written for the time that the kernel then gives the file
  // Of the grant that it was made with; 0: not told. In a user namespace that does not show who
  // made the grant, this is the owner's or root's word for it.
  std::uint64_t grant_inode;
  alignas(64) std::atomic<std::uint64_t> ended;       // set once by the owner, never cleared
  alignas(64) std::atomic<std::uint64_t> slots_high;  // no slot at or above it was ever claimed
  alignas(64) std::atomic<std::uint64_t> peak;        // most bytes admitted at once; for display
  std::atomic<std::uint64_t> refusals;                // for display
};

struct alignas(64) LedgerSlot {
  std::atomic<std::uint64_t> owner;
  std::atomic<std::uint64_t> bytes;
  std::atomic<std::uint64_t> start_ticks;
  std::atomic<std::uint64_t> pid_namespace;  // with kClaimedUnlocked
};
// Above the 32 bits of the namespace: a stranger's read lock was in the way of the claimer's own,
// so that a free lock says nothing of this slot's process.
inline constexpr std::uint64_t kClaimedUnlocked = std::uint64_t{1} << 32;

struct LedgerLayout {
  static constexpr std::uint64_t kMagic = 0x3152474c4e524843;  // "CHRNLGR1"
  static constexpr std::uint32_t kVersion = 2;
  LedgerHeader header;
  alignas(4096) LedgerSlot slots[kLedgerSlots];
};
static_assert(offsetof(LedgerHeader, grant_inode) == 56 && offsetof(LedgerHeader, ended) == 64);
static_assert(sizeof(LedgerSlot) == 64 && sizeof(LedgerLayout) == 4096 + 64 * kLedgerSlots);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

// What bounds the charges of a partition: words of its grant, which may change at any time.
struct Terms {
  const std::atomic<std::uint64_t>* limit = nullptr;
  const std::atomic<std::uint64_t>* ended = nullptr;
  const std::atomic<std::uint64_t>* deadline = nullptr;
  // Their owner may have written anything into them: they count for no more than this.
  std::uint64_t most_bytes = kMaxBytes, latest_deadline = UINT64_MAX;
};

enum class Verdict {
  kAdmitted,
  kOverLimit,
  kEnded,     // released
  kExpired,   // past its deadline
  kSlotLost,  // somebody judged this process dead and reclaimed its slot
};

struct SlotRef {
  std::uint32_t index = 0;
  std::uint32_t generation = 0;
};

// Answers the two questions about a slot that shared memory cannot. The real one asks the kernel;
// tests bring their own.
class SlotJudge {
 public:
  virtual bool lock_is_held(std::size_t index) = 0;
  // No process of this number, in our own pid namespace.
  virtual bool pid_is_gone(pid_t pid) = 0;
  virtual Liveness owner_lives(const ProcessIdentity& owner) = 0;
  virtual Liveness owner_maps_ledger(const ProcessIdentity& owner) = 0;

 protected:
  ~SlotJudge() = default;
};

class Ledger {
 public:
  explicit Ledger(LedgerLayout* layout) : layout_(layout) {}

  static void initialise(LedgerLayout& layout, const Token& token, const BootId& boot_id,
                         uid_t owner);

  LedgerLayout& layout() const { return *layout_; }

  // Takes the free slot `index` for `self`; the caller holds the kernel's lock on it, which is what
  // tells a slot in the middle of this from one whose claimer died. False if somebody else was
  // first. Without `locked` the lock could not be had, though no other claimer holds it.
  bool claim_slot(std::size_t index, const ProcessIdentity& self, SlotRef& out, bool locked = true);

  // Charges `size` bytes to `slot`. Tries for a bounded moment (some microseconds) when only
  // requests in flight stand in the way. With `look_first` it never announces what does not fit
  // at that instant, so that a loop of oversize requests cannot get in a sibling's way.
  Verdict charge(SlotRef slot, std::uint64_t size, const Terms& terms, bool look_first);

  // Gives `size` bytes back. Never takes a word below zero; nothing happens if the slot is no
  // longer of this generation.
  void credit(SlotRef slot, std::uint64_t size);

  // Announced and admitted bytes of all slots.
  std::uint64_t sum_slots() const;

  // Drops the words of every slot whose process is gone. Returns whether any was dropped. Any
  // number of processes may do this at once and be killed anywhere in it. The caller's `own` slot
  // is not judged: to its own descriptor its lock looks free, and where /proc cannot be read (no
  // descriptor left, a chroot) the lock is all there is to go by.
  bool reclaim(SlotJudge& judge, std::size_t own = kLedgerSlots);

  // Whether the process of the slot `index` is gone; `owner` is the word that was judged.
  bool is_dead(std::size_t index, OwnerWord owner, SlotJudge& judge) const;

  bool ended() const { return layout_->header.ended.load() != 0; }
  void end() { layout_->header.ended.store(1); }
  void count_refusal() { layout_->header.refusals.fetch_add(1, std::memory_order_relaxed); }

 private:
  enum class Announced { kYes, kTooLarge, kSlotLost };
  Announced announce(SlotRef slot, std::uint64_t size);
  Verdict check(const Terms& terms);
  void reclaim_slot(std::size_t index, OwnerWord owner);
  void note_peak(std::uint64_t sum);
  std::size_t slots_in_use() const;

  LedgerLayout* layout_;
};

}  // namespace chronos
