#include "shim/gate.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>

#include "core/crash_point.hpp"
#include "core/units_text.hpp"
#include "shim/message.hpp"
#include "shim/once.hpp"
#include "shim/process.hpp"
#include "shim/trace.hpp"

namespace chronos::shim {
namespace {

// Read without a lock by whoever gives back.
std::array<std::atomic<const Assignment*>, kMaxAssignments> assignments;
// Numbers whose assignment has become of no use; it stays in its place until another comes.
std::array<bool, kMaxAssignments> is_free_index{};

// Refuses everything.
struct TooMany : Assignment {
  TooMany() { why = &line; }
  const std::string line = "too many different sets of devices in one program";
};
constinit std::atomic<TooMany*> too_many{nullptr};

std::string place_name(const Attachment& attachment) {
  const Grant& grant = attachment.grant();
  return fmt::format("device {} ({})", grant.device_index, grant.device_name);
}

void explain(const Attachment& attachment, std::uint64_t size, Attachment::Outcome outcome) {
  const Grant& grant = attachment.grant();
  if (outcome.no_slot != nullptr) {
    if (first_time(Topic::kUnusable)) {
      say(fmt::format("partition {}: refused {} on {}: {}", grant.id(), format_bytes(size),
                      place_name(attachment), outcome.no_slot));
    }
  } else if (outcome.verdict == Verdict::kOverLimit) {
    if (!first_time(Topic::kRefusal)) return;
    const unsigned sharers = attachment.sharers();
    say(fmt::format("partition {}: refused {} on {}: {} of {} in use by {} process{}", grant.id(),
                    format_bytes(size), place_name(attachment), format_bytes(attachment.used()),
                    format_bytes(attachment.limit()), sharers, sharers == 1 ? "" : "es"));
  } else if (first_time(Topic::kEnded)) {
    say(fmt::format("partition {} has ended: refused {} on {}, and every allocation from now on",
                    grant.id(), format_bytes(size), place_name(attachment)));
  }
}

[[gnu::cold]] void refuse_all(const std::string& why) {
  if (first_time(Topic::kUnusable)) say(fmt::format("{}; every allocation is refused", why));
}

// What the first `charged` attachments took is given back; the next one refused.
[[gnu::cold]] void refuse(const Assignment& assignment, std::uint64_t size, std::size_t charged,
                          Attachment::Outcome outcome) {
  Attachment& attachment = *assignment.attachments[charged];
  while (charged-- > 0) assignment.attachments[charged]->credit(size);
  attachment.count_refusal();
  explain(attachment, size, outcome);
}

// Empty: refused.
[[gnu::always_inline]] inline Receipt charge(const Assignment& assignment, std::uint64_t size) {
  notice_fork();
  if (assignment.why != nullptr) {
    refuse_all(*assignment.why);
    return Receipt();
  }
  for (std::size_t i = 0; i < assignment.attachments.size(); ++i) {
    const Attachment::Outcome outcome = assignment.attachments[i]->charge(size);
    if (outcome.admitted()) continue;
    refuse(assignment, size, i, outcome);
    return Receipt();
  }
  return Receipt(epoch(), assignment.index, size);
}

// Of a charge, and of one of this very process.
inline bool is_ours(Receipt receipt) {
  if (!receipt.is_charged()) return false;
  notice_fork();
  return receipt.epoch() == (epoch() & 0x1ff);
}

// Of a receipt that is ours.
inline void credit(Receipt receipt) {
  const Assignment* assignment = assignments[receipt.assignment()].load(std::memory_order_acquire);
  for (Attachment* attachment : assignment->attachments) attachment->credit(receipt.bytes());
}

}  // namespace

Receipt reserve(const Assignment& assignment, std::uint64_t size) {
  const Receipt receipt = charge(assignment, size);
  CHRONOS_POINT(shim_reserved);
  if (trace::on()) receipt.is_charged() ? trace::admitted(size) : trace::refused(size);
  return receipt;
}

bool detail::change(const Assignment& assignment, std::uint64_t actual, Receipt& receipt) {
  const std::uint64_t reserved = receipt.bytes();
  if (actual > reserved) {
    if (!charge(assignment, actual - reserved).is_charged()) {
      if (trace::on()) trace::refused(actual);
      return false;
    }
  } else if (is_ours(receipt)) {
    credit(Receipt(receipt.epoch(), receipt.assignment(), reserved - actual));
  }
  if (trace::on()) trace::corrected(reserved, actual);
  receipt = Receipt(receipt.epoch(), receipt.assignment(), actual);
  return true;
}

void give_back(Receipt receipt) {
  if (!is_ours(receipt)) return;
  if (trace::on()) trace::given_back(receipt.bytes());
  CHRONOS_POINT(shim_giving_back);
  credit(receipt);
  CHRONOS_POINT(shim_given_back);
}

void undo(Receipt receipt, bool by_driver) {
  if (trace::on() && is_ours(receipt)) trace::undone(receipt.bytes(), by_driver);
  give_back(receipt);
}

const Assignment& assignment_for(const std::vector<Attachment*>& wanted, const std::string* why,
                                 bool counted, std::uint64_t device_bytes) {
  std::vector<Attachment*> attachments = wanted;
  std::sort(attachments.begin(), attachments.end());
  attachments.erase(std::unique(attachments.begin(), attachments.end()), attachments.end());
  auto is_wanted = [&](const Assignment& known) {
    return known.attachments == attachments && known.why == why && known.counted == counted &&
           known.device_bytes == device_bytes;
  };
  if (attachments.empty()) {
    auto& known = process().uncharged;
    auto found = std::find_if(known.begin(), known.end(),
                              [&](const auto& assignment) { return is_wanted(*assignment); });
    if (found != known.end()) return **found;
    known.push_back(std::make_unique<const Assignment>(
        Assignment{std::move(attachments), why, counted, 0, device_bytes}));
    return *known.back();
  }
  std::size_t index = kMaxAssignments;
  for (std::size_t i = 0; i < kMaxAssignments; ++i) {
    if (is_free_index[i]) {
      index = std::min(index, i);
    } else if (const Assignment* known = assignments[i].load(std::memory_order_relaxed)) {
      if (is_wanted(*known)) return *known;
    } else {
      index = std::min(index, i);
      break;  // nor is there any after it
    }
  }
  if (index == kMaxAssignments) {
    return made_once(too_many);
  }
  if (is_free_index[index]) process().former.emplace_back(assignments[index].load());
  is_free_index[index] = false;
  auto* made = new Assignment{std::move(attachments), why, counted, index, device_bytes};
  assignments[index].store(made, std::memory_order_release);
  return *made;
}

void free_assignments_of(const Attachment* attachment) {
  for (std::size_t i = 0; i < kMaxAssignments; ++i) {
    const Assignment* known = assignments[i].load(std::memory_order_relaxed);
    if (known == nullptr) break;
    is_free_index[i] =
        is_free_index[i] || std::find(known->attachments.begin(), known->attachments.end(),
                                      attachment) != known->attachments.end();
  }
}

}  // namespace chronos::shim
