// One run: an operation by a victim that dies or stops at one visit of one crash point.
#pragma once

#include <optional>
#include <string>

#include "tests/crash/operations.hpp"

namespace chronos::crash {

enum class How : std::uint32_t { kNot, kKill, kStopThenKill, kStopThenGoOn, kCount };

struct Run {
  const Operation* operation = nullptr;
  std::uint64_t seed = 0;
  std::uint32_t point = kAnyPoint;
  std::int32_t visit = 0;
  How how = How::kNot;

  // "create:7:ledger_made:1:kill", as --replay takes it.
  std::string text() const;
  static std::optional<Run> parse(const std::string& text);
};

// Carries it out, in a process of its own and with a bound on its time. Empty if all held, else
// what did not. `directory` is emptied first.
std::string carry_out(const Run& run, const std::string& directory);

// What the last carry_out() of this process saw.
Control& seen();

}  // namespace chronos::crash
