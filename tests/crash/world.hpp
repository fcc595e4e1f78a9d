// One run's surroundings: a state directory of its own, a device of 1000 MiB, the partition "a" on
// it with a process (the runner, which is also the judge) that holds some of it, and whatever else
// an operation starts from.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "core/attachment.hpp"
#include "core/registry.hpp"
#include "tests/crash/control.hpp"

namespace chronos::crash {

inline constexpr std::uint64_t kMiB = 1 << 20;
inline constexpr std::uint64_t kTotal = 1000 * kMiB;
inline constexpr std::uint64_t kHour = 3600ull * 1'000'000'000;
inline constexpr unsigned kOther = 54321;  // a user that is nobody's

// Ends the runner with one line of what is wrong.
[[noreturn]] void wrong(const std::string& what);
inline void expect(bool good, const std::string& what) {
  if (!good) wrong(what);
}

struct World {
  World(const std::string& directory, std::uint64_t seed, Control* armed);

  Registry registry() const;
  CreateRequest request(std::uint64_t bytes, const std::string& name = "") const;
  PartitionInfo create(std::uint64_t bytes, const std::string& name);
  std::unique_ptr<Attachment> attach(const std::string& token) const;
  std::vector<PartitionInfo> list();  // as it must be: without an error or a warning
  std::uint64_t pick(std::uint64_t least, std::uint64_t most) {
    return std::uniform_int_distribution<std::uint64_t>(least, most)(random);
  }
  // Runs `what` in a child and waits for it. Its exit status, or minus the signal.
  template <class Do>
  int in_child(const Do& what) {
    return finish(begin([&] { what(); }));
  }

  std::uint64_t held_in_a() const { return held + neighbours; }
  // Starts the neighbour, who reclaims, takes a slot, charges, and stays. It must have room.
  void bring_neighbour(std::uint64_t bytes);
  void part_from_neighbour();

  const std::string directory;
  Control* const armed;
  std::mt19937_64 random;
  PartitionInfo a;
  std::unique_ptr<Attachment> place;  // the runner's, in "a"
  std::uint64_t held = 0;             // what it holds there
  pid_t neighbour = 0;                // another process in "a", if there is one: it only holds
  std::uint64_t neighbours = 0;       // bytes
  PartitionInfo b;                    // some operations have another one
  std::uint32_t faults = 0;           // of the victim
  std::string control_path;           // where an exec'd victim finds `armed`

 private:
  static int begin(const std::function<void()>& what);
  static int finish(int child);
};

// After the victim is gone: see README.md for what must hold.
void check_world(World& world);

}  // namespace chronos::crash
