// Memory sizes and durations as they are shown. Apart from reading them (units.hpp), because the
// shim only shows, and reading brings in much of a C++ runtime. Pure functions, any thread.
#pragma once

#include <cstdint>
#include <string>

namespace chronos {

inline constexpr std::uint64_t kNanosPerSecond = 1'000'000'000;

// "812 MiB", "1.50 GiB", "24 GiB": at most three significant decimals, binary units.
std::string format_bytes(std::uint64_t bytes);

// "2d 3h", "1h 30m", "59m 58s", "42s": the two largest units, rounded down.
std::string format_duration(std::uint64_t nanos);

// "50", "33.3", "4.35": a share as a percentage without sign, trailing zeros dropped.
std::string format_percent(double fraction);

}  // namespace chronos
