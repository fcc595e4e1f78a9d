// Who in line comes before whom: which devices a request may take without keeping those waiting who
// were there before it. Knows no files. Pure functions of their arguments, any thread.
//
// Who waits for one device is not overtaken there. Who waits for some of several devices holds a
// place on all of them, but lends each for as long as it cannot begin anyway: a request may take
// memory of these devices if, by the deadlines of all partitions, those before it could begin no
// later for that. docs/decisions/0008-several-devices-at-once.md says why nobody starves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/reservation.hpp"

namespace chronos {

// What somebody waits for: memory on `count` of these devices.
struct Claim {
  struct Wish {
    std::string device_key;
    std::uint64_t bytes = 0;
  };
  std::vector<Wish> wishes;
  std::size_t count = 1;
  std::uint64_t duration_ns = 0;

  // Then nobody overtakes it there.
  bool is_for_one_device() const { return wishes.size() == 1; }
  bool wants(const std::string& device_key) const;
};

// What devices have room for, now and by the deadlines of what is there.
class Outlook {
 public:
  static constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();

  explicit Outlook(std::uint64_t now_ns) : now_(now_ns) {}

  void add_device(const std::string& key, std::uint64_t total_bytes);
  bool knows(const std::string& key) const { return devices_.contains(key); }
  std::uint64_t total_bytes(const std::string& key) const;
  // Taken until `until_ns`. Of a device that is not known: nothing.
  void take(const std::string& key, std::uint64_t bytes, std::uint64_t until_ns);
  // Still held where the time is up: taken now, but it may come back at any moment.
  void drain(const std::string& key, std::uint64_t bytes);

  std::uint64_t now() const { return now_; }
  std::uint64_t room(const std::string& key) const;
  // The first moment at which so many of the wishes may have room; kNever if none.
  std::uint64_t start_of(const Claim& claim) const;

 private:
  struct Taken {
    std::uint64_t until = 0, bytes = 0;
  };
  struct State {
    std::uint64_t total = 0, draining = 0;
    std::vector<Taken> taken;
  };
  std::uint64_t room_from(const State& state, std::uint64_t wanted) const;

  std::uint64_t now_;
  std::map<std::string, State> devices_;
};

struct Turn {
  // Which of the wishes can be had now: as many as were claimed, else fewer.
  std::vector<std::size_t> chosen;
  std::size_t with_room = 0;  // wishes that have room, whoever may come first
  // If there is room for all that was claimed, but not before this one of those `ahead`.
  std::optional<std::size_t> behind;
};

// Whether `claim` may begin now, behind those `ahead`.
Turn turn_of(const Outlook& outlook, const Claim& claim, Choice choice,
             std::span<const Claim> ahead);

}  // namespace chronos
