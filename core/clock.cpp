#include "core/clock.hpp"

#include <time.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <string>

#include "core/posix.hpp"

namespace chronos {
namespace {

constexpr std::uint64_t kNano = 1'000'000'000;
// More than any tick of the coarse clock (10 ms at HZ=100) plus what a thread may be preempted for
// between two loads.
constexpr std::uint64_t kMargin = 50'000'000;

std::uint64_t read_clock(clockid_t id) {
  timespec ts{};
  ::clock_gettime(id, &ts);
  return static_cast<std::uint64_t>(ts.tv_sec) * kNano + static_cast<std::uint64_t>(ts.tv_nsec);
}

std::int64_t read_boot_offset() {
  std::string text;
  if (!read_small_file("/proc/self/timens_offsets", text, 4096)) return 0;
  std::size_t line = text.find("boottime");
  long long seconds = 0;
  long long nanos = 0;
  if (line == std::string::npos ||
      std::sscanf(text.c_str() + line, "boottime %lld %lld", &seconds, &nanos) != 2) {
    return 0;
  }
  return seconds * static_cast<long long>(kNano) + nanos;
}

// One precise reading per tick of the coarse clock, shared by all threads. Racing writers leave a
// pair that is at most one tick apart, which kMargin covers.
struct Tick {
  std::atomic<std::uint64_t> coarse{0};
  std::atomic<std::uint64_t> boot{0};
};
constinit Tick last_tick;

}  // namespace

std::int64_t boot_offset() {
  // No function-local constant: its guard could be held by a thread that a forked child lacks.
  constexpr std::int64_t kUnknown = INT64_MIN;
  static constinit std::atomic<std::int64_t> known{kUnknown};
  std::int64_t offset = known.load(std::memory_order_relaxed);
  if (offset == kUnknown) known.store(offset = read_boot_offset(), std::memory_order_relaxed);
  return offset;
}

std::uint64_t boot_now() {
  return read_clock(CLOCK_BOOTTIME) - static_cast<std::uint64_t>(boot_offset());
}

bool deadline_passed(std::uint64_t deadline) {
  std::uint64_t coarse = read_clock(CLOCK_MONOTONIC_COARSE);
  std::uint64_t boot;
  if (last_tick.coarse.load(std::memory_order_acquire) == coarse) {
    boot = last_tick.boot.load(std::memory_order_relaxed);
  } else {
    boot = boot_now();
    last_tick.boot.store(boot, std::memory_order_relaxed);
    last_tick.coarse.store(coarse, std::memory_order_release);
  }
  if (boot + kMargin < deadline) return false;
  return boot_now() >= deadline;
}

}  // namespace chronos
