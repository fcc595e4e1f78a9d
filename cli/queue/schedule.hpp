// Which jobs to start now, and on which devices. Decides; does nothing itself, so that it can be
// tested without processes, devices and waiting.
//
// Order: as the line is handed in (priority, then first in first out). The first job that has no
// room is the head: its place is kept. Those behind it may start only where that cannot delay it,
// by the deadlines of everything that runs (EASY backfill): because they are over before the head
// can start, or because they take only what it will not need then. Among devices with room the one
// is taken that the job fills best.
//
// Pure functions, any thread. Times in nanoseconds from now.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "cli/queue/job.hpp"

namespace chronos::queue {

inline constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();

// Memory that comes back at the latest then.
struct Ending {
  std::uint64_t in_ns = kNever;
  std::uint64_t bytes = 0;
  bool slot = false;  // and one of the places that jobs_per_gpu counts
};

struct DeviceLoad {
  int index = 0;
  std::uint64_t total = 0;      // what a share is of
  std::uint64_t available = 0;  // may be reserved now
  unsigned slots = 0;           // jobs with a jobs_per_gpu on it
  std::vector<Ending> endings;  // of what is reserved, in any order
};

struct Candidate {
  JobId id = 0;
  MemoryAmount memory;  // on each device
  unsigned gpus = 1;
  std::vector<int> devices;       // empty: all
  std::uint64_t duration_ns = 0;  // 0: has no end
  unsigned jobs_per_gpu = 0;      // 0: does not matter
};

struct Start {
  JobId id = 0;
  std::vector<int> devices;
};

struct Plan {
  std::vector<Start> starts;          // in this order
  std::optional<JobId> head;          // the first that has no room now
  std::uint64_t head_in_ns = kNever;  // when it can start at the latest, if all deadlines hold
  std::vector<JobId> impossible;      // never fit these devices, however empty
};

Plan make_plan(const std::vector<Candidate>& line, std::vector<DeviceLoad> devices);

// Whether `job` could run on these devices if they were empty.
bool could_ever_fit(const Candidate& job, const std::vector<DeviceLoad>& devices);

}  // namespace chronos::queue
