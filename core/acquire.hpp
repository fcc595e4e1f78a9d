// Whole devices for oneself: held through the registry, then looked at.
//
// First held, then looked at, because what is held nobody else takes meanwhile. A device that is
// not fit is given back, and others are tried. That a device becomes fit is no event: where there
// are too few that are, all that was not fit is tried again after a while, and nothing is held
// until then.
//
// Threads: blocks the calling one; a Registry is one thread's. Failure: nothing is held.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/facts/gpu_facts.hpp"
#include "core/facts/health.hpp"
#include "core/registry.hpp"
#include "core/result.hpp"

namespace chronos {

struct AcquireRequest {
  std::vector<Device> candidates;  // in the order in which they are preferred
  std::size_t count = 1;
  std::uint64_t duration_ns = 0;
  std::string name;         // as in ReserveRequest
  HealthConditions health;  // only what was asked for is looked at
  std::uint64_t look_again_ns = 10'000'000'000;
  // What a refusal adds for those who did not wait: how to.
  std::string wait_hint;
  // Who waits is told why devices are not fit, each time that they have been looked at and nothing
  // else is left to try. In the waiting thread.
  std::function<void(const std::string&)> on_unfit;
};

// Why a device was not to be had.
struct Obstacle {
  int device = 0;
  std::string reason;                      // "draws 120 W, more than 80 W"; of a partition: words
  std::optional<PartitionInfo> partition;  // that holds it
};

struct Acquired {
  std::vector<PartitionInfo> partitions;  // held by the calling process
  std::vector<Device> devices;            // that each is on
};

// With `wait`, in line for them and until they are fit; not where so many can never be, because
// there are fewer, or fewer that have as much memory, or of which anybody says what is asked for.
// Errors: as Registry::reserve() (kNoCapacity
// names who holds what and until when, and what is not fit: `obstacles` has the same), kCancelled.
Result<Acquired> acquire(Registry& registry, const AcquireRequest& request, const WaitOptions* wait,
                         std::vector<Obstacle>* obstacles = nullptr);

// The variables by which CUDA, ROCm and Level Zero choose these devices (core/facts/health.hpp), by
// name. Errors: kNoDevice, kSystem.
Result<std::vector<std::pair<std::string, std::string>>> variables_for(
    const Registry& registry, const Acquired& acquired, CudaNames names = CudaNames::kIds);

}  // namespace chronos
