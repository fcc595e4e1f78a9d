// Charge or refuse: the one place where it is decided whether an allocation may go on. Knows no
// OpenCL. Threads: any number.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/attachment.hpp"

namespace chronos::shim {

// What allocations in a context are charged to: one partition for each of its devices that has
// one. Made once for each different set, and never destroyed: a thread may have it in its hand.
struct Assignment {
  std::vector<Attachment*> attachments;   // without duplicates; empty: nothing is charged
  const std::string* why = nullptr;       // set: every allocation is refused, this is the line
  bool counted = false;                   // references must be counted: there are no callbacks
  std::uint64_t index = 0;                // in receipts; of no meaning without attachments
  std::uint64_t device_bytes = kNoBound;  // no device could give more at once

  bool is_free() const { return attachments.empty() && why == nullptr; }

  static constexpr std::uint64_t kNoBound = ~std::uint64_t{0};
};

// The proof of a charge, in one word, so that it travels through a driver as a callback's argument
// without an allocation of our own. Carries the process it is good in: given back in a forked
// child it does nothing. 0 is the receipt of what was not charged.
class Receipt {
 public:
  Receipt() = default;
  explicit Receipt(void* word) : word_(reinterpret_cast<std::uintptr_t>(word)) {}
  Receipt(std::uint64_t epoch, std::uint64_t assignment, std::uint64_t bytes)
      : word_(kTag | (epoch & 0x1ff) << 54 | assignment << 46 | bytes) {}

  bool is_charged() const { return word_ != 0; }
  std::uint64_t epoch() const { return word_ >> 54 & 0x1ff; }
  std::uint64_t assignment() const { return word_ >> 46 & 0xff; }
  std::uint64_t bytes() const { return word_ & kMaxBytes; }
  void* word() const { return reinterpret_cast<void*>(static_cast<std::uintptr_t>(word_)); }

 private:
  static constexpr std::uint64_t kTag = 1ull << 63;
  std::uint64_t word_ = 0;
};
inline constexpr std::size_t kMaxAssignments = 256;

// Charges `size` bytes to every partition of the assignment, or to none. Empty: refused, and the
// program gets at most one line that says why.
[[nodiscard]] Receipt reserve(const Assignment& assignment, std::uint64_t size);

namespace detail {
bool change(const Assignment& assignment, std::uint64_t actual, Receipt& receipt);
}

// Makes `receipt` one for `actual` bytes, when the driver has said what an object really takes.
// False, and nothing changed, if the partition has no room for the difference.
[[nodiscard]] inline bool adjust(const Assignment& assignment, std::uint64_t actual,
                                 Receipt& receipt) {
  return actual == receipt.bytes() || detail::change(assignment, actual, receipt);
}

// Gives back what was reserved for an allocation that came to nothing: the driver failed, or else
// the rest of it was refused.
void undo(Receipt receipt, bool by_driver = true);

// Undoes a reserve(). Any thread, any number of threads; in a forked child nothing happens.
void give_back(Receipt receipt);

// The assignment of these attachments and reason, made if there is none yet. The caller holds
// process().mutex.
const Assignment& assignment_for(const std::vector<Attachment*>& attachments,
                                 const std::string* why, bool counted = false,
                                 std::uint64_t device_bytes = Assignment::kNoBound);

// The attachment has been retired: nothing of this process is charged to it nor ever will be, so
// that the numbers of its assignments can be used again. The caller holds process().mutex.
void free_assignments_of(const Attachment* attachment);

}  // namespace chronos::shim
