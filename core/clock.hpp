// The clock of deadlines: CLOCK_BOOTTIME of the initial time namespace, in nanoseconds. It counts
// through suspend, and nobody can set it. All functions are thread-safe and async-signal-safe once
// boot_now() has been called once.
#pragma once

#include <cstdint>

namespace chronos {

// Precise, about 35 ns.
std::uint64_t boot_now();

// What this process's CLOCK_BOOTTIME reads more than the initial namespace's (a time namespace
// shifts it; an unprivileged user can make one), from /proc/self/timens_offsets.
std::int64_t boot_offset();

// Whether `deadline` has passed. Exact, yet only a coarse clock is read (8 ns) while the deadline
// is more than 50 ms away.
bool deadline_passed(std::uint64_t deadline);

}  // namespace chronos
