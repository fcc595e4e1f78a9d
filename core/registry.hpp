// Which partitions exist. Creates, ends and lists them; keeps no thread and no daemon.
//
// Threads: a Registry may be used by one thread at a time; any number of processes at once.
// Time: deadlines are on CLOCK_BOOTTIME of the initial time namespace, in nanoseconds.
// Failure: nothing is changed when an error is returned, and a process killed at any instruction
// leaves either the old or the new state (see docs/architecture.md).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/device.hpp"
#include "core/name.hpp"
#include "core/process.hpp"
#include "core/result.hpp"
#include "core/state_dir.hpp"
#include "core/units.hpp"

namespace chronos {

class GrantClamp;
struct FileName;

struct CreateRequest {
  Device device;
  MemoryAmount memory;
  std::uint64_t duration_ns = 0;
  std::optional<uid_t> owner;  // none: the caller; another user: root only
  std::string name;            // empty: known by its number only
  bool held = false;           // ends when the calling process ends (chronos run --device ...)
};

enum class PartitionState { kActive, kDraining };
const char* to_string(PartitionState state);  // "active", "draining"

struct ProcessUse {
  pid_t pid = 0;
  std::uint64_t used_bytes = 0;
  // `pid` counts in the caller's own pid namespace. Of a container that the caller can look into, it
  // is the number that the process has outside.
  bool is_here = true;
  ProcessIdentity self{};  // as the process itself knows it
};

struct PartitionInfo {
  std::string id;    // the name if it has one, else "partition_0001"
  std::string name;  // empty if it has none
  std::uint64_t number = 0;
  std::string token;  // the random part of its files, 32 hexadecimal digits
  std::string device_key, device_name;
  int device_index = -1;  // as its creator saw it; see resolve_devices()
  std::uint64_t device_total_bytes = 0;
  double fraction = 0;
  std::uint64_t limit_bytes = 0, used_bytes = 0, peak_bytes = 0, refusals = 0;
  // What must come back before this partition takes no more than its limit (0 once it has ended).
  std::uint64_t draining_bytes = 0;
  std::uint64_t duration_ns = 0, remaining_ns = 0;
  std::int64_t expires_at = 0;  // seconds since the epoch, by the wall clock as it stands now
  uid_t owner = 0, creator = 0;
  bool is_mine = false;    // the caller owns it
  bool may_write = false;  // the caller made it, or is root
  pid_t pid = 0;  // of the process that created it
  PartitionState state = PartitionState::kActive;
  bool held = false;                  // ends with a process, and those in the partition:
  ProcessIdentity holder;             // which, where it is held
  std::vector<ProcessUse> processes;  // those that hold memory now

  // What CHRONOS_PARTITION holds for children: the id and the token ("p1@0123..."), which no later
  // partition of the same name can match.
  std::string handle() const { return id + "@" + token; }
};

struct DeviceUse {
  std::uint64_t used_bytes = 0;      // held by processes in partitions, draining ones included
  std::uint64_t reserved_bytes = 0;  // the limits of active partitions
  // Still held in partitions that have ended, or above a limit that was lowered.
  std::uint64_t draining_bytes = 0;
  std::uint64_t available_bytes = 0;  // total - reserved - draining, never below 0
  unsigned active_partitions = 0;

  double available_percent(std::uint64_t total) const;
};

// How a request that waits stands.
struct WaitState {
  std::size_t ahead = 0;  // requests in line before this one for any of its devices
  // Of several devices: the most that is asked for on one, and the most that is free on one.
  std::uint64_t asked_bytes = 0, available_bytes = 0;
  std::size_t with_room = 0;  // devices that have room for it, whoever comes first
  // The partition on these devices whose time is up first; none: nothing is reserved there.
  std::optional<PartitionInfo> next_to_end;
};

struct WaitOptions {
  std::optional<std::uint64_t> timeout_ns;          // none: for ever
  int cancel_fd = -1;                               // gives up when this can be read
  std::function<void(const WaitState&)> on_change;  // called in the waiting thread
};

struct Claim;
struct ReserveRequest;  // core/reservation.hpp, where waiting in line is, too
struct Waiting;
class Outlook;
class Reservation;

class Registry {
 public:
  // Errors: kSystem.
  static Result<Registry> open();
  // The registry in a directory of the caller's choice.
  explicit Registry(StateDir state) : state_(std::move(state)) {}

  const StateDir& state() const { return state_; }

  // Reserves memory on a device. Errors: kInvalid (name, amount, duration), kNoCapacity ("Not
  // enough available memory on device N"), kNameInUse, kPermission (owner is another user and the
  // caller is not root; the policy), kFull, kBusy, kSystem.
  Result<PartitionInfo> create(const CreateRequest& request);

  // The same on several devices: all partitions or none, in the order of the candidates. Errors: as
  // create(); also kInvalid for a request that contradicts itself or whose holder is gone.
  Result<std::vector<PartitionInfo>> reserve(const ReserveRequest& request);

  // As create(), but waits in line until there is room (core/reservation.hpp). Wakes when somebody
  // frees memory, leaves, or their time is up. Errors: as create(); kNoCapacity when the time is up
  // or the device is too small, kCancelled.
  Result<PartitionInfo> create_when_free(const CreateRequest& request, const WaitOptions& options);

  // Ends a partition by id, name or handle; the caller's own wins where several match. What its
  // processes still hold drains. Errors: kNotFound, kPermission, kBusy, kSystem.
  Result<PartitionInfo> release(std::string_view id);

  // Moves the deadline of a partition `duration_ns` further away. Running programs see it at their
  // next allocation. By its creator or root. Errors: kNotFound, kExpired (it has ended), kInvalid
  // (more than 100 years in all), kPermission, kBusy, kSystem.
  Result<PartitionInfo> extend(std::string_view id, std::uint64_t duration_ns);

  // Changes the limit of a partition; who may, and when it is seen, as extend(). More memory passes
  // admission as in create(). Less than its programs hold is refused, unless with `drain`: then the
  // new limit holds at once, and what they hold above it counts against the device until they have
  // given it back. Errors: as extend(), kNoCapacity, kInUse (less than is held), kDamaged (what is
  // held cannot be read).
  Result<PartitionInfo> resize(std::string_view id, const MemoryAmount& memory, bool drain);

  // All partitions that are active or draining, oldest first. Takes no lock; also puts away what
  // has ended, as far as it is the caller's. Errors: kSystem.
  Result<std::vector<PartitionInfo>> list();

  // One partition as list() shows it. Errors: kNotFound, with the reason (never existed, released).
  Result<PartitionInfo> find(std::string_view id);

  // Whether a partition that create(), list() or find() told of goes on, and how long; looks at its
  // own files only. `processes` and the sums stay what they were. Errors: kNotFound (it is gone),
  // kDamaged, kSystem.
  struct Standing {
    bool active = false;
    std::uint64_t remaining_ns = 0;  // where active
  };
  Result<Standing> standing(const PartitionInfo& partition);

  // One line for each file of the caller's own that the last call could not use, and what to do.
  const std::vector<std::string>& warnings() const { return warnings_; }

  // Partitions that the last call could not judge: in a user namespace, those of users whom it does
  // not show.
  std::size_t hidden() const { return hidden_; }

  // Files of remembered devices that the last call came across, for InventoryStore::read().
  const std::vector<std::string>& inventories() const { return inventories_; }

  // Whether the last create() made the caller's first partition in this boot: the time to say what
  // is worth saying once.
  bool made_users_first() const { return made_users_first_; }

  // Admission's own sums for one device, from a list.
  static DeviceUse use_of(const Device& device, const std::vector<PartitionInfo>& partitions);

 private:
  struct Entry;   // a partition as one look found it
  struct Look;    // everything in the state directory at one time
  struct Change;  // a partition that is being changed, and the lock
  struct Scope;   // what of it one look is for
  struct Sighting;
  Sighting see(const FileName& name, bool all_ledgers, GrantClamp& clamp,
               std::mutex& clamping) const;
  Result<Look> look(const Scope& scope);
  Result<Look> look_at_all();
  Result<Look> look_and_tidy();
  Result<Look> look_for(std::string_view id);
  void sweep(Look& look);
  void forget_drained(const Entry& entry);
  Result<bool> put_away(const Entry& entry);
  // What a request must leave to those in line.
  struct Line {
    // Those before it, in order; none: everybody who waits.
    std::optional<std::vector<Waiting>> ahead;
    bool overtake = false;   // nothing to who could have had their turn and did not take it
    bool held_back = false;  // set: there was room, but it is somebody else's turn
  };
  struct Judged;  // of a request by one look
  friend class Reservation;
  Result<uid_t> check(const ReserveRequest& request) const;
  Result<std::vector<PartitionInfo>> admit(const ReserveRequest& request, uid_t owner, Line& line);
  Result<std::vector<PartitionInfo>> make(const ReserveRequest& request, uid_t owner,
                                          const std::vector<std::size_t>& chosen, const Look& seen);
  Result<Entry> make_one(const ReserveRequest& request, uid_t owner, const Device& device,
                         std::uint64_t number);
  Result<std::vector<std::size_t>> judge(const ReserveRequest& request, uid_t owner,
                                         const Look& seen, Line& line) const;
  Judged weigh(const ReserveRequest& request, uid_t owner, const Look& seen,
               const std::vector<Waiting>& ahead) const;
  // Who must come before whoever asks for `bytes` more of a device that has room for them.
  std::optional<Error> turn_of_another(const Look& look, const Device& device, std::uint64_t bytes,
                                       std::uint64_t duration_ns) const;
  Result<Change> begin_change(std::string_view id);
  static Result<void> check_terms(const Change& change, const Device& device,
                                  std::uint64_t limit_bytes, std::uint64_t duration_ns);
  Result<void> store_lower_limit(Change& change, std::uint64_t bytes, bool drain);

  // Admission: `bytes` fit into what others leave `available`. `own_bytes`, for the message only:
  // what the asker has of them. Needs the registry's lock. Errors: kNoCapacity.
  static Result<void> check_capacity(const Device& device, std::uint64_t bytes,
                                     std::uint64_t available, std::uint64_t own_bytes = 0);

  StateDir state_;
  std::vector<std::string> warnings_;
  std::size_t hidden_ = 0;
  std::vector<std::string> inventories_;
  bool made_users_first_ = false;
};

}  // namespace chronos
