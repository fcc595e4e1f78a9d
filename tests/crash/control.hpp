// What happens at the crash points (core/crash_point.hpp) of a process, and what was seen of them.
//
// A Control lies in memory that the test shares with the process under test; the test arms it, the
// process meets it. A program that is exec'd or preloaded finds it through the file that
// CHRONOS_CRASH_CONTROL names. Threads and processes: any number.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "core/crash_point.hpp"

namespace chronos::crash {

inline constexpr std::size_t kPoints = static_cast<std::size_t>(Point::kCount);
inline constexpr std::uint32_t kAnyPoint = ~std::uint32_t{0};
inline constexpr char kControlVariable[] = "CHRONOS_CRASH_CONTROL";

enum class Action : std::uint32_t { kNothing, kKill, kStop };

struct Control {
  // Armed: at the visit of `point` that takes `countdown` to 0, `action` happens.
  std::atomic<std::uint32_t> point{kAnyPoint};
  std::atomic<std::int32_t> countdown{0};
  std::atomic<Action> action{Action::kNothing};
  std::atomic<std::uint32_t> faults{0};
  // Seen.
  std::atomic<std::uint32_t> steps{0};
  std::atomic<std::uint32_t> fired{0};
  std::atomic<std::uint32_t> visits[kPoints] = {};

  void arm(std::uint32_t at, std::int32_t visit, Action what) {
    point = at;
    action = what;
    countdown = visit;
  }
};

const char* name_of(Point point);

// From here on the points of this process, and of children that it forks, answer to `control`.
void activate(Control* control);

// Calls `what` at the next visit of `point` in this process, whether or not one is activated.
void call_at(Point point, void (*what)());

}  // namespace chronos::crash
