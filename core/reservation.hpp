// Memory on one or several devices at once, all or nothing: now (Registry::reserve), or in line for
// it (Reservation). docs/decisions/0008-several-devices-at-once.md has the rules of the line.
//
// Threads: a Reservation belongs to one thread at a time, as its Registry does.
// Failure: an error means that nothing was made and that the place in line is lost.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/device.hpp"
#include "core/process.hpp"
#include "core/registry.hpp"
#include "core/result.hpp"
#include "core/units.hpp"

namespace chronos {

// Which of the candidates that have room are taken first.
enum class Choice { kBestFit, kMostFree, kInOrder };

inline constexpr std::size_t kMaxCandidates = 64;

struct ReserveRequest {
  std::vector<Device> candidates;  // of these, each another one, at most kMaxCandidates ...
  std::size_t count = 1;           // ... so many
  MemoryAmount memory;             // on each; a share is of each device's own total
  std::uint64_t duration_ns = 0;
  std::optional<uid_t> owner;  // none: the caller; another user: root only
  // With a count of 1 the partition's; with more, each one's is this, a full stop and the number of
  // its device ("train.0", "train.3").
  std::string name;
  // Ends with the holder. Several can only be held: that is how a maker who is killed half way
  // leaves nothing behind.
  bool held = false;
  // By this process, which must run as the caller; none: by the caller.
  std::optional<ProcessIdentity> holder;
  Choice choice = Choice::kBestFit;
};

// A request in line. Fair: see decision 0008. Whoever destroys it leaves the line.
class Reservation {
 public:
  // Gets it at once where there is room and nobody in line before it, else a place in line. The
  // registry must outlive it. `options.cancel_fd` counts in wait() only. Errors: as
  // Registry::reserve(), but kNoCapacity only if the devices are too small.
  static Result<Reservation> join(Registry& registry, ReserveRequest request,
                                  WaitOptions options = {});

  Reservation(Reservation&&) noexcept;
  Reservation& operator=(Reservation&&) noexcept;
  ~Reservation();

  // Can be read when it is time to look(): at once where join() has got it already. For poll() and
  // epoll; stays the same.
  int fd() const;

  // The partitions, or nothing yet; never waits but for the registry's lock. After the partitions
  // or an error have been handed out there is nothing more to look for. Errors: as
  // Registry::reserve(), kNoCapacity when the time is up.
  Result<std::optional<std::vector<PartitionInfo>>> look();

  // Blocks until look() has something to say. Errors: those, kCancelled.
  Result<std::vector<PartitionInfo>> wait();

  // As of the last look.
  const WaitState& state() const;

 private:
  class Waiter;
  explicit Reservation(std::unique_ptr<Waiter> waiter);
  std::unique_ptr<Waiter> waiter_;
};

}  // namespace chronos
