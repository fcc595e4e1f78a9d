// Memory sizes and durations as people write them. Pure functions, no state, any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/result.hpp"
#include "core/units_text.hpp"

namespace chronos {

// The longest duration that is accepted: 100 years of 365 days.
inline constexpr std::uint64_t kMaxDurationSeconds = 100ull * 365 * 86400;

// How much memory is asked for: a share of a device, or bytes.
struct MemoryAmount {
  double fraction = 0;      // in (0, 1] when `bytes` is 0, else unused
  std::uint64_t bytes = 0;  // > 0 for an absolute size

  // Bytes on a device of `total` bytes, rounded down (so that shares that sum to 1 always fit).
  std::uint64_t on(std::uint64_t total) const;
  // The share of a device of `total` bytes; may be above 1 for an absolute size.
  double share_of(std::uint64_t total) const;
};

// Accepts a fraction in (0, 1] ("0.5", "1"), a percentage in (0, 100] ("50%"), or a size with a
// unit ("512MiB", "1.5 GB", "4G"): K, M, G, T and KiB, MiB, GiB, TiB are binary, KB, MB, GB, TB
// decimal, B bytes; case does not matter. Refuses everything else, at most 2^46 - 1 bytes.
// Errors: kInvalid, the message naming the text.
Result<MemoryAmount> parse_memory(std::string_view text);

// Accepts seconds ("3600", "0.5") or numbers with units, each at most once and largest first
// ("90s", "1h30m", "8h", "2d", "1w", "250ms"). More than 0, at most kMaxDurationSeconds.
// Returns nanoseconds. Errors: kInvalid.
Result<std::uint64_t> parse_duration(std::string_view text);

}  // namespace chronos
