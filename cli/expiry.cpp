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
    : policy_(std::move(policy)) {
  for (WatchedPartition& partition : partitions) {
    Watch watch;
    watch.deadline_ns = now_ns + partition.remaining_ns;
    watch.warnings = warnings_for(partition);
    watch.partition = std::move(partition);
    watches_.push_back(std::move(watch));
  }
}

std::vector<std::uint64_t> Expiry::warnings_for(const WatchedPartition& partition) const {
  std::vector<std::uint64_t> warnings = policy_.warn_before_ns;
  if (!policy_.warn_if_short) {
    std::erase_if(warnings,
                  [&](std::uint64_t before) { return partition.duration_ns / 2 <= before; });
  }
  return warnings;
}

Expiry::Step Expiry::advance(std::uint64_t now_ns, bool look_at_all) {
  Step step;
  for (Watch& watch : watches_) {
    if (watch.ended) continue;
    if (look_at_all || watch.deadline_ns <= now_ns) look(watch, now_ns, step);
    if (!watch.ended) warn(watch, now_ns, step);
  }
  if (act_at_ns_ && !acted_ && *act_at_ns_ <= now_ns) {
    acted_ = step.act = true;
    if (policy_.action == OnExpiry::kTerminate && policy_.terminate_after_ns > 0) {
      step.lines.push_back("chronos: the program is told to end " + terms());
    }
  }
  return step;
}

// One line, however many times to warn at have passed since the last look.
void Expiry::warn(Watch& watch, std::uint64_t now_ns, Step& step) const {
  const std::uint64_t left = watch.deadline_ns - std::min(watch.deadline_ns, now_ns);
  if (std::erase_if(watch.warnings, [&](std::uint64_t before) { return before >= left; }) == 0) {
    return;
  }
  step.lines.push_back(
      fmt::format("chronos: partition {} ends in {}", watch.partition.id, rounded_duration(left)));
}

void Expiry::look(Watch& watch, std::uint64_t now_ns, Step& step) {
  Standing standing = watch.partition.look();
  switch (standing.kind) {
    case Standing::Kind::kActive: {
      if (standing.remaining_ns == 0) return end(watch, false, watch.deadline_ns, step);
      std::uint64_t deadline = now_ns + standing.remaining_ns;
      if (deadline > watch.deadline_ns + kNanosPerSecond) {
        // Extended: what lies ahead again is said again, by how long the partition now lasts.
        watch.partition.duration_ns += deadline - watch.deadline_ns;
        watch.warnings = warnings_for(watch.partition);
        std::erase_if(watch.warnings,
                      [&](std::uint64_t before) { return before >= standing.remaining_ns; });
      }
      watch.deadline_ns = deadline;
      return;
    }
    case Standing::Kind::kEnded:
      return end(watch, false, std::min(watch.deadline_ns, now_ns), step);
    case Standing::Kind::kReleased:
      return end(watch, watch.deadline_ns > now_ns, std::min(watch.deadline_ns, now_ns), step);
    case Standing::Kind::kUnknown:
      // Nobody can tell just now. Before the deadline there will be another look.
      if (watch.deadline_ns <= now_ns) end(watch, false, watch.deadline_ns, step);
      return;
  }
}

void Expiry::end(Watch& watch, bool released, std::uint64_t ended_ns, Step& step) {
  watch.ended = true;
  const bool acting = !act_at_ns_ && program_is_to_end();
  if (acting) {
    act_at_ns_ = ended_ns;
    if (policy_.action == OnExpiry::kTerminate) *act_at_ns_ += policy_.terminate_after_ns;
  }
  step.lines.push_back(end_line(watch, released, acting));
}

bool Expiry::program_is_to_end() const {
  auto ended = [](const Watch& watch) { return watch.ended; };
  return policy_.end_with_last ? std::all_of(watches_.begin(), watches_.end(), ended)
                               : std::any_of(watches_.begin(), watches_.end(), ended);
}

std::string Expiry::terms() const {
  return fmt::format("(SIGTERM, then SIGKILL after {})", format_duration(policy_.grace_ns));
}

std::string Expiry::end_line(const Watch& watch, bool released, bool acting) const {
  std::string what = "new allocations are refused";
  if (acting && policy_.action == OnExpiry::kKill) {
    what = "the program is killed";
  } else if (acting && policy_.action == OnExpiry::kTerminate && policy_.terminate_after_ns > 0) {
    what += fmt::format(", and in {} the program is told to end {}",
                        format_duration(policy_.terminate_after_ns), terms());
  } else if (acting && policy_.action == OnExpiry::kTerminate) {
    what = "the program is told to end " + terms();
  }
  return fmt::format("chronos: partition {} {}; {}", watch.partition.id,
                     released ? "was released" : "has ended", what);
}

std::optional<std::uint64_t> Expiry::next_ns() const {
  std::optional<std::uint64_t> next;
  if (act_at_ns_ && !acted_) next = act_at_ns_;
  for (const Watch& watch : watches_) {
    if (watch.ended) continue;
    std::uint64_t due = watch.deadline_ns;
    if (!watch.warnings.empty()) due -= std::min(due, watch.warnings.front());
    next = std::min(next.value_or(due), due);
  }
  return next;
}

std::optional<std::uint64_t> Expiry::action_ns() const {
  if (acted_ || policy_.action == OnExpiry::kRefuse) return std::nullopt;
  if (act_at_ns_) return act_at_ns_;
  std::optional<std::uint64_t> due;
  for (const Watch& watch : watches_) {
    if (watch.ended) continue;
    due = !due                    ? watch.deadline_ns
          : policy_.end_with_last ? std::max(*due, watch.deadline_ns)
                                  : std::min(*due, watch.deadline_ns);
  }
  if (due && policy_.action == OnExpiry::kTerminate) *due += policy_.terminate_after_ns;
  return due;
}

}  // namespace chronos::cli
