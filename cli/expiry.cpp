#include "cli/expiry.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/units.hpp"

namespace chronos::cli {
namespace {

// To the nearest second: a warning five minutes ahead says so, though it comes a moment later.
std::string rounded_duration(std::uint64_t nanos) {
  if (nanos < kNanosPerSecond / 2) return format_duration(nanos);
  return format_duration((nanos + kNanosPerSecond / 2) / kNanosPerSecond * kNanosPerSecond);
}

}  // namespace

Expiry::Expiry(ExpiryPolicy policy, std::vector<WatchedPartition> partitions, std::uint64_t now_ns)
    : policy_(policy) {
  for (WatchedPartition& partition : partitions) {
    Watch watch;
    watch.deadline_ns = now_ns + partition.remaining_ns;
    bool is_short = partition.duration_ns / 2 <= policy.warn_before_ns;
    watch.warned = policy.warn_before_ns == 0 || (is_short && !policy.warn_if_short);
    watch.partition = std::move(partition);
    watches_.push_back(std::move(watch));
  }
}

Expiry::Step Expiry::advance(std::uint64_t now_ns, bool look_at_all) {
  Step step;
  for (Watch& watch : watches_) {
    if (watch.ended) continue;
    if (look_at_all || watch.deadline_ns <= now_ns) look(watch, now_ns, step);
    if (watch.ended || watch.warned) continue;
    std::uint64_t left = watch.deadline_ns - std::min(watch.deadline_ns, now_ns);
    if (left > policy_.warn_before_ns) continue;
    watch.warned = true;
    step.lines.push_back(fmt::format("chronos: partition {} ends in {}", watch.partition.id,
                                     rounded_duration(left)));
  }
  return step;
}

void Expiry::look(Watch& watch, std::uint64_t now_ns, Step& step) {
  Standing standing = watch.partition.look();
  switch (standing.kind) {
    case Standing::Kind::kActive: {
      if (standing.remaining_ns == 0) return end(watch, false, step);
      std::uint64_t deadline = now_ns + standing.remaining_ns;
      bool extended = deadline > watch.deadline_ns + kNanosPerSecond;
      if (extended && policy_.warn_before_ns > 0 &&
          standing.remaining_ns > policy_.warn_before_ns) {
        watch.warned = false;
      }
      watch.deadline_ns = deadline;
      return;
    }
    case Standing::Kind::kEnded:
      return end(watch, false, step);
    case Standing::Kind::kReleased:
      return end(watch, watch.deadline_ns > now_ns, step);
    case Standing::Kind::kUnknown:
      // Nobody can tell just now. Before the deadline there will be another look.
      if (watch.deadline_ns <= now_ns) end(watch, false, step);
      return;
  }
}

void Expiry::end(Watch& watch, bool released, Step& step) {
  watch.ended = true;
  bool acting = !acted_ && action_is_due();
  acted_ = acted_ || acting;
  step.act = step.act || acting;
  step.lines.push_back(end_line(watch, released, acting));
}

bool Expiry::action_is_due() const {
  auto ended = [](const Watch& watch) { return watch.ended; };
  return policy_.end_with_last ? std::all_of(watches_.begin(), watches_.end(), ended)
                               : std::any_of(watches_.begin(), watches_.end(), ended);
}

std::string Expiry::end_line(const Watch& watch, bool released, bool acting) const {
  std::string what = "new allocations are refused";
  if (acting && policy_.action == OnExpiry::kKill) {
    what = "the program is killed";
  } else if (acting && policy_.action == OnExpiry::kTerminate) {
    what = fmt::format("the program is told to end (SIGTERM, then SIGKILL after {})",
                       format_duration(policy_.grace_ns));
  }
  return fmt::format("chronos: partition {} {}; {}", watch.partition.id,
                     released ? "was released" : "has ended", what);
}

std::optional<std::uint64_t> Expiry::next_ns() const {
  std::optional<std::uint64_t> next;
  for (const Watch& watch : watches_) {
    if (watch.ended) continue;
    std::uint64_t due = watch.deadline_ns;
    if (!watch.warned) due -= std::min(due, policy_.warn_before_ns);
    next = std::min(next.value_or(due), due);
  }
  return next;
}

std::optional<std::uint64_t> Expiry::action_ns() const {
  if (acted_ || policy_.action == OnExpiry::kRefuse) return std::nullopt;
  std::optional<std::uint64_t> due;
  for (const Watch& watch : watches_) {
    if (watch.ended) continue;
    due = !due                    ? watch.deadline_ns
          : policy_.end_with_last ? std::max(*due, watch.deadline_ns)
                                  : std::min(*due, watch.deadline_ns);
  }
  return due;
}

}  // namespace chronos::cli
