#include "core/units_text.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <string_view>

namespace chronos {

std::string format_bytes(std::uint64_t bytes) {
  constexpr std::array kNames = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  std::size_t index = 0;
  std::uint64_t unit = 1;
  while (index + 1 < kNames.size() && bytes / unit >= 1024) {
    unit <<= 10;
    ++index;
  }
  if (bytes % unit == 0) return fmt::format("{} {}", bytes / unit, kNames[index]);
  // Three digits, to the nearest; when rounding reaches the next unit, that one is used.
  double value = static_cast<double>(bytes) / static_cast<double>(unit);
  if (value >= 1023.5 && index + 1 < kNames.size()) {
    value = 1;
    ++index;
  }
  int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f} {}", value, decimals, kNames[index]);
}

constexpr std::uint64_t kNanosPerMilli = kNanosPerSecond / 1000;

std::string format_duration(std::uint64_t nanos) {
  if (nanos >= kNanosPerMilli && nanos < kNanosPerSecond) {
    return fmt::format("{}ms", nanos / kNanosPerMilli);
  }
  std::uint64_t seconds = nanos / kNanosPerSecond;
  struct Unit {
    std::string_view name;
    std::uint64_t size;
  };
  constexpr std::array kParts = {Unit{"d", 86400}, Unit{"h", 3600}, Unit{"m", 60}, Unit{"s", 1}};
  for (std::size_t i = 0; i + 1 < kParts.size(); ++i) {
    if (seconds < kParts[i].size) continue;
    std::string text = fmt::format("{}{}", seconds / kParts[i].size, kParts[i].name);
    std::uint64_t second = seconds % kParts[i].size / kParts[i + 1].size;
    if (second != 0) text += fmt::format(" {}{}", second, kParts[i + 1].name);
    return text;
  }
  return fmt::format("{}s", seconds);
}

std::string format_percent(double fraction) {
  if (!(fraction > 0) || !std::isfinite(fraction)) return "0";
  double percent = fraction * 100;
  // Three digits, but never less than whole numbers nor more than six decimals.
  int decimals = 0;
  for (double bound = 100; decimals < 6 && percent < bound; bound /= 10) ++decimals;
  std::string text = fmt::format("{:.{}f}", percent, decimals);
  if (text.find('.') != text.npos) {
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') text.pop_back();
  }
  return text;
}

}  // namespace chronos
