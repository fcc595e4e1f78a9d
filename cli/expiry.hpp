// When a partition's end is announced and acted upon. Decides; does nothing itself, so that it can
// be tested without processes and without waiting.
//
// The ladder: any number of warnings, each a set time before; the end, at which new allocations are
// refused; a set time after it SIGTERM; a set time after that SIGKILL (the Supervisor's part).
//
// Times are CLOCK_BOOTTIME nanoseconds of the caller's own time namespace. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace chronos::cli {

enum class OnExpiry { kRefuse, kTerminate, kKill };

struct ExpiryPolicy {
  OnExpiry action = OnExpiry::kRefuse;
  std::vector<std::uint64_t> warn_before_ns;  // longest first; empty: no warning
  bool warn_if_short = false;  // also where the duration is less than twice the time before
  std::uint64_t terminate_after_ns = 0;  // between the end and SIGTERM, with kTerminate
  std::uint64_t grace_ns = 0;            // between SIGTERM and SIGKILL
  // The program may use any of the partitions, so it is ended with the last of them. Otherwise they
  // were named because it needs each, and the first end counts.
  bool end_with_last = false;
};

// How a partition stands right now.
struct Standing {
  enum class Kind { kActive, kEnded, kReleased, kUnknown } kind = Kind::kUnknown;
  std::uint64_t remaining_ns = 0;  // where kActive
};

struct WatchedPartition {
  std::string id;
  std::uint64_t duration_ns = 0, remaining_ns = 0;
  std::function<Standing()> look;
};

class Expiry {
 public:
  Expiry(ExpiryPolicy policy, std::vector<WatchedPartition> partitions, std::uint64_t now_ns);

  struct Step {
    std::vector<std::string> lines;  // to be said now
    bool act = false;                // SIGTERM or SIGKILL is due, at most once
  };

  // Looks at every partition if `look_at_all`, else only at those whose deadline is due. What
  // somebody released early has ended; what somebody extended goes on.
  Step advance(std::uint64_t now_ns, bool look_at_all);

  // When advance() has something to do next; none: nothing is left to wait for.
  std::optional<std::uint64_t> next_ns() const;

  // When step.act is due, as far as is known; none where it will not come.
  std::optional<std::uint64_t> action_ns() const;

 private:
  struct Watch {
    WatchedPartition partition;
    std::uint64_t deadline_ns = 0;
    std::vector<std::uint64_t> warnings;  // still to come, longest first
    bool ended = false;
  };

  std::vector<std::uint64_t> warnings_for(const WatchedPartition& partition) const;
  void look(Watch& watch, std::uint64_t now_ns, Step& step);
  void warn(Watch& watch, std::uint64_t now_ns, Step& step) const;
  void end(Watch& watch, bool released, std::uint64_t ended_ns, Step& step);
  bool program_is_to_end() const;
  std::string end_line(const Watch& watch, bool released, bool acting) const;
  std::string terms() const;

  ExpiryPolicy policy_;
  std::vector<Watch> watches_;
  std::optional<std::uint64_t> act_at_ns_;  // set once the partitions that count have ended
  bool acted_ = false;
};

}  // namespace chronos::cli
