#include "core/ledger.hpp"

#include <algorithm>
#include <new>

#include "core/clock.hpp"
#include "core/crash_point.hpp"

// Calls cost more here than what they do.
#define CHRONOS_INLINE [[gnu::always_inline]] inline

namespace chronos {
namespace {

// How often a request that does not fit is tried again before the refusal stands. With the pauses
// below some 20 microseconds in all: long enough for any request in flight to be decided, unless
// its process was stopped in that very instant.
constexpr int kAttempts = 12;

void pause_for(int attempt) {
  for (int i = 0; i < (1 << std::min(attempt, 8)); ++i) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    std::atomic_signal_fence(std::memory_order_seq_cst);
#endif
  }
}

inline std::uint64_t limit_of(const Terms& terms) {
  return std::min(terms.limit->load(), terms.most_bytes);
}

CHRONOS_INLINE Verdict closed(bool ended, const Terms& terms) {
  if (ended || terms.ended->load() != 0) return Verdict::kEnded;
  if (deadline_passed(std::min(terms.deadline->load(), terms.latest_deadline))) {
    return Verdict::kExpired;
  }
  return Verdict::kAdmitted;
}

}  // namespace

void Ledger::initialise(LedgerLayout& layout, const Token& token, const BootId& boot_id,
                        uid_t owner) {
  new (&layout) LedgerLayout{};
  layout.header.magic = LedgerLayout::kMagic;
  layout.header.version = LedgerLayout::kVersion;
  layout.header.slot_count = kLedgerSlots;
  layout.header.token = token;
  layout.header.boot_id = boot_id;
  layout.header.owner_uid = owner;
}

std::size_t Ledger::slots_in_use() const {
  return std::min<std::size_t>(layout_->header.slots_high.load(), kLedgerSlots);
}

bool Ledger::claim_slot(std::size_t index, const ProcessIdentity& self, SlotRef& out, bool locked) {
  LedgerSlot& slot = layout_->slots[index];
  std::uint64_t word = slot.owner.load();
  OwnerWord owner = OwnerWord::unpack(word);
  if (owner.state != SlotState::kFree) return false;

  // Before anything else: whoever sums after a charge must look this far, and so must whoever
  // reclaims after a death in the next few instructions.
  std::uint64_t high = layout_->header.slots_high.load();
  while (high < index + 1 && !layout_->header.slots_high.compare_exchange_weak(high, index + 1)) {
  }
  CHRONOS_POINT(claim_high_raised);
  OwnerWord claiming{owner.generation, SlotState::kClaiming, static_cast<std::uint32_t>(self.pid)};
  std::uint64_t start_before = slot.start_ticks.load();
  std::uint64_t namespace_before = slot.pid_namespace.load();
  if (!slot.owner.compare_exchange_strong(word, claiming.pack())) return false;
  CHRONOS_POINT(claim_marked);
  // Compare-and-swap, because a claimer that was delayed here and judged dead must not write over
  // the identity of the next one.
  const std::uint64_t space = self.pid_namespace | (locked ? 0 : kClaimedUnlocked);
  if (!slot.start_ticks.compare_exchange_strong(start_before, self.start_ticks) ||
      !slot.pid_namespace.compare_exchange_strong(namespace_before, space)) {
    return false;
  }
  CHRONOS_POINT(claim_identified);
  OwnerWord live = claiming;
  live.state = SlotState::kLive;
  word = claiming.pack();
  if (!slot.owner.compare_exchange_strong(word, live.pack())) return false;
  CHRONOS_POINT(claim_live);
  out = {static_cast<std::uint32_t>(index), owner.generation};
  return true;
}

CHRONOS_INLINE Ledger::Announced Ledger::announce(SlotRef ref, std::uint64_t size) {
  std::atomic<std::uint64_t>& bytes = layout_->slots[ref.index].bytes;
  std::uint64_t word = bytes.load(std::memory_order_relaxed);
  for (;;) {
    BytesWord now = BytesWord::unpack(word);
    if (now.generation != ref.generation) return Announced::kSlotLost;
    if (size > kMaxBytes - now.bytes) return Announced::kTooLarge;
    if (bytes.compare_exchange_weak(word, word + size)) return Announced::kYes;
  }
}

void Ledger::credit(SlotRef ref, std::uint64_t size) {
  std::atomic<std::uint64_t>& bytes = layout_->slots[ref.index].bytes;
  std::uint64_t word = bytes.load(std::memory_order_relaxed);
  for (;;) {
    BytesWord now = BytesWord::unpack(word);
    if (now.generation != ref.generation) return;
    CHRONOS_POINT(credit_loaded);
    if (bytes.compare_exchange_weak(word, word - std::min(size, now.bytes))) {
      CHRONOS_POINT(credit_done);
      return;
    }
  }
}

std::uint64_t Ledger::sum_slots() const {
  std::uint64_t sum = 0;
  const std::size_t high = slots_in_use();
  for (std::size_t i = 0; i < high; ++i) {
    sum += BytesWord::unpack(layout_->slots[i].bytes.load()).bytes;
    CHRONOS_POINT(sum_slot_read);
  }
  return sum;
}

// Only after announcing, and in this order: whoever ends the partition or changes its limit stores
// first and sums after, so one of the two always sees the other.
CHRONOS_INLINE Verdict Ledger::check(const Terms& terms) {
  Verdict open = closed(ended(), terms);
  if (open != Verdict::kAdmitted) return open;
  CHRONOS_POINT(check_open);
  const std::uint64_t limit = limit_of(terms);
  CHRONOS_POINT(check_limit_read);
  const std::uint64_t sum = sum_slots();
  if (sum > limit) return Verdict::kOverLimit;
  note_peak(sum);
  return Verdict::kAdmitted;
}

Verdict Ledger::charge(SlotRef slot, std::uint64_t size, const Terms& terms, bool look_first) {
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (size > limit_of(terms)) {
      Verdict open = closed(ended(), terms);
      return open == Verdict::kAdmitted ? Verdict::kOverLimit : open;
    }
    if (attempt > 0) pause_for(attempt);
    if (look_first || attempt > 0) {
      Verdict open = closed(ended(), terms);
      if (open != Verdict::kAdmitted) return open;
      if (sum_slots() + size > limit_of(terms)) continue;
    }
    switch (announce(slot, size)) {
      case Announced::kSlotLost:
        return Verdict::kSlotLost;
      case Announced::kTooLarge:
        continue;
      case Announced::kYes:
        break;
    }
    CHRONOS_POINT(charge_announced);
    Verdict verdict = check(terms);
    CHRONOS_POINT(charge_checked);
    if (verdict == Verdict::kAdmitted) return verdict;
    credit(slot, size);  // withdraw
    CHRONOS_POINT(charge_withdrawn);
    if (verdict != Verdict::kOverLimit) return verdict;
  }
  return Verdict::kOverLimit;
}

void Ledger::note_peak(std::uint64_t sum) {
  std::atomic<std::uint64_t>& peak = layout_->header.peak;
  std::uint64_t seen = peak.load(std::memory_order_relaxed);
  CHRONOS_POINT(peak_read);
  while (seen < sum && !peak.compare_exchange_weak(seen, sum, std::memory_order_relaxed)) {
  }
}

bool Ledger::is_dead(std::size_t index, OwnerWord owner, SlotJudge& judge) const {
  if (owner.state == SlotState::kFree) return false;
  // The claimer took the lock before it touched the word, and its identity may not be written yet.
  // The pid alone may be somebody else's by now, and the lock may be held for an instant by another
  // claimer that comes too late: either is enough, because freeing a claim that goes on after all
  // costs it only another slot.
  if (owner.state == SlotState::kClaiming) {
    return !judge.lock_is_held(index) || judge.pid_is_gone(static_cast<pid_t>(owner.pid));
  }

  const LedgerSlot& slot = layout_->slots[index];
  ProcessIdentity identity{static_cast<pid_t>(owner.pid),
                           static_cast<std::uint32_t>(slot.pid_namespace.load()),
                           slot.start_ticks.load()};
  switch (judge.owner_lives(identity)) {
    case Liveness::kDead:  // even if a forked child still has the lock's descriptor
      return true;
    case Liveness::kUnknown:  // another pid namespace: only the lock tells, if that
      return (slot.pid_namespace.load() & kClaimedUnlocked) == 0 && !judge.lock_is_held(index);
    case Liveness::kAlive:
      break;
  }
  // Alive without the lock: it has exec'd, or it closed descriptors that it did not know.
  return !judge.lock_is_held(index) && judge.owner_maps_ledger(identity) == Liveness::kDead;
}

void Ledger::reclaim_slot(std::size_t index, OwnerWord owner) {
  LedgerSlot& slot = layout_->slots[index];
  std::uint64_t expected = owner.pack();
  // A claimer has charged nothing yet, and its bytes word must not be touched: if it lives after
  // all and has gone on to kLive, only this compare-and-swap is there to notice.
  if (owner.state == SlotState::kClaiming) {
    slot.owner.compare_exchange_strong(expected,
                                       OwnerWord{owner.generation, SlotState::kFree, 0}.pack());
    CHRONOS_POINT(reclaim_claim_freed);
    return;
  }
  const std::uint32_t next = (owner.generation + 1) & kGenerationMask;
  // The bytes first: a slot that is free must hold none, and a late writer must already fail.
  std::uint64_t word = slot.bytes.load();
  while (BytesWord::unpack(word).generation == owner.generation &&
         !slot.bytes.compare_exchange_weak(word, BytesWord{next, 0}.pack())) {
  }
  CHRONOS_POINT(reclaim_bytes_dropped);
  slot.owner.compare_exchange_strong(expected, OwnerWord{next, SlotState::kFree, 0}.pack());
  CHRONOS_POINT(reclaim_slot_freed);
}

bool Ledger::reclaim(SlotJudge& judge, std::size_t own) {
  bool any = false;
  const std::size_t high = slots_in_use();
  for (std::size_t i = 0; i < high; ++i) {
    const OwnerWord owner = OwnerWord::unpack(layout_->slots[i].owner.load());
    if (i == own || !is_dead(i, owner, judge)) continue;
    CHRONOS_POINT(reclaim_judged);
    // The identity that was judged belongs to this owner word only if the word still stands.
    if (layout_->slots[i].owner.load() != owner.pack()) continue;
    CHRONOS_POINT(reclaim_begun);
    reclaim_slot(i, owner);
    any = true;
  }
  return any;
}

}  // namespace chronos
