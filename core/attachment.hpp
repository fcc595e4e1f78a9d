// A process's place in a partition: the two files mapped, a slot claimed, charges and credits.
//
// Threads: any number, after attach(). An Attachment lives as long as its process: programs call
// OpenCL until their very last destructor, so it is never destroyed.
// Fork: the child has no slot and holds nothing; after_fork() is what its fork handler calls, and
// the first charge in the child claims a slot of its own.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "core/grant.hpp"
#include "core/ledger.hpp"
#include "core/posix.hpp"
#include "core/result.hpp"
#include "core/state_dir.hpp"

namespace boost::interprocess {
class mapped_region;  // its header would bring a static initialiser into all who include this one
}

namespace chronos {

class Attachment {
 public:
  // Maps the files of a partition that the caller owns. Errors: kNotFound, kDamaged, kPermission,
  // kSystem; the message says which file and what is wrong.
  static Result<std::unique_ptr<Attachment>> attach(const StateDir& state, const Grant& grant);

  Attachment(const Attachment&) = delete;
  Attachment& operator=(const Attachment&) = delete;
  ~Attachment();

  // Charges `size` bytes to this process. On a refusal, first drops what dead processes held and
  // tries again.
  struct Outcome {
    Verdict verdict = Verdict::kAdmitted;
    // Set when there was no slot to charge: kFull (no free slot), kSystem (no descriptor left).
    const char* no_slot = nullptr;
    bool admitted() const { return verdict == Verdict::kAdmitted && no_slot == nullptr; }
  };
  Outcome charge(std::uint64_t size) {
    const std::uint64_t slot = slot_.load(std::memory_order_acquire);
    if (slot == 0 || refused_.load(std::memory_order_relaxed)) [[unlikely]] {
      return charge_with_care(size);
    }
    const Verdict verdict = ledger_.charge(unpack(slot), size, terms_, false);
    if (verdict == Verdict::kAdmitted) [[likely]]
      return {};
    return after_refusal(unpack(slot), size, verdict);
  }
  // Gives back what a charge() of this very process took.
  void credit(std::uint64_t size) {
    const std::uint64_t slot = slot_.load(std::memory_order_acquire);
    if (slot != 0) ledger_.credit(unpack(slot), size);
    if (terms_.ended->load(std::memory_order_relaxed) != 0 || ledger_.ended()) [[unlikely]] {
      tell_who_waits();
    }
  }

  void count_refusal() { ledger_.count_refusal(); }

  const Grant& grant() const { return grant_; }  // as it was when attached
  std::uint64_t limit() const { return std::min(terms_.limit->load(), terms_.most_bytes); }
  // May be above the limit, where that was lowered.
  std::uint64_t used() const { return std::min(ledger_.sum_slots(), kMaxBytes); }
  // Processes that have a slot, this one included.
  unsigned sharers() const;

  // Lets go of a partition that is over, once this process holds nothing in it: its descriptor and
  // its memory in the state directory. False, and nothing has changed, while that is not so. From
  // then on every charge is refused, one that another thread is in the middle of too.
  bool retire_if_over();

  // In a forked child, before anything else: async-signal-safe.
  void after_fork();

 private:
  Attachment(const Grant& grant, std::string directory, std::string ledger_name);
  UniqueFd open_ledger(int flags) const;
  bool is_ledger(int fd) const;
  const char* claim();
  Outcome charge_with_care(std::uint64_t size);
  Outcome after_refusal(SlotRef slot, std::uint64_t size, Verdict verdict);
  void tell_who_waits() const;
  bool reclaim();
  bool is_over() const;
  bool holds_nothing() const;

  const Grant grant_;
  const std::string directory_, ledger_name_;
  std::unique_ptr<boost::interprocess::mapped_region> grant_region_, ledger_region_;
  dev_t ledger_device_ = 0;
  ino_t ledger_inode_ = 0;
  Ledger ledger_{nullptr};
  Terms terms_;

  // The slot, packed so that a charge reads it in one load: generation << 32 | index + 1; 0: none.
  static std::uint64_t pack(SlotRef slot) {
    return std::uint64_t{slot.generation} << 32 | (slot.index + 1);
  }
  static SlotRef unpack(std::uint64_t word) {
    return {static_cast<std::uint32_t>(word) - 1, static_cast<std::uint32_t>(word >> 32)};
  }
  std::atomic<std::uint64_t> slot_{0};
  std::atomic<bool> refused_{false};  // the last charge was: look before announcing
  std::mutex claiming_;
  bool has_siblings_ = false;  // others in this process had the ledger before us
  int lock_fd_ = -1;
};

}  // namespace chronos
