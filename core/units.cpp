#include "core/units.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <optional>

#include "core/text.hpp"

namespace chronos {
namespace {

constexpr std::uint64_t kMaxBytes = (std::uint64_t{1} << 46) - 1;
constexpr std::uint64_t kMaxNanos = kMaxDurationSeconds * kNanosPerSecond;
constexpr std::uint64_t kNanosPerMilli = kNanosPerSecond / 1000;

struct Unit {
  std::string_view name;  // lower case
  std::uint64_t size;
};

constexpr std::array kMemoryUnits = {
    Unit{"b", 1},
    Unit{"k", 1ull << 10},
    Unit{"kib", 1ull << 10},
    Unit{"kb", 1'000},
    Unit{"m", 1ull << 20},
    Unit{"mib", 1ull << 20},
    Unit{"mb", 1'000'000},
    Unit{"g", 1ull << 30},
    Unit{"gib", 1ull << 30},
    Unit{"gb", 1'000'000'000},
    Unit{"t", 1ull << 40},
    Unit{"tib", 1ull << 40},
    Unit{"tb", 1'000'000'000'000},
};

constexpr std::array kTimeUnits = {
    // largest first
    Unit{"w", 604800 * kNanosPerSecond}, Unit{"d", 86400 * kNanosPerSecond},
    Unit{"h", 3600 * kNanosPerSecond},   Unit{"m", 60 * kNanosPerSecond},
    Unit{"s", kNanosPerSecond},          Unit{"ms", kNanosPerMilli},
};

// std::isdigit and its kin depend on the locale of the host program.
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// A plain decimal number, kept as text so that nothing is rounded before the unit is known.
struct Decimal {
  std::string_view text, whole, fraction;

  bool is_zero() const {
    auto only_zeros = [](std::string_view s) { return s.find_first_not_of('0') == s.npos; };
    return only_zeros(whole) && only_zeros(fraction);
  }

  // whole.fraction * unit, rounded down; none if it does not fit. unit < 2^60.
  std::optional<std::uint64_t> times(std::uint64_t unit) const {
    std::uint64_t result = 0;
    for (char c : whole) {
      if (__builtin_mul_overflow(result, std::uint64_t{10}, &result) ||
          __builtin_add_overflow(result, static_cast<std::uint64_t>(c - '0'), &result)) {
        return std::nullopt;
      }
    }
    if (__builtin_mul_overflow(result, unit, &result)) return std::nullopt;
    // From the last digit on. A floor inside of a floor of whole numbers loses nothing.
    std::uint64_t below = 0;
    for (auto c = fraction.rbegin(); c != fraction.rend(); ++c) {
      below = (static_cast<std::uint64_t>(*c - '0') * unit + below) / 10;
    }
    if (__builtin_add_overflow(result, below, &result)) return std::nullopt;
    return result;
  }

  // whole.fraction * 10^exponent as the nearest double; 0 if it is too small for one.
  double to_double(const char* exponent = "") const {
    std::string number = (whole.empty() ? "0" : "") + std::string(text) + exponent;
    double value = 0;
    auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
    return error == std::errc() ? value : 0;
  }

  // Compared as text: 1.00000000000000000001 is above 1, though not as a double.
  bool is_at_most(std::string_view limit) const {
    std::string_view digits = whole.substr(std::min(whole.find_first_not_of('0'), whole.size()));
    if (digits.size() != limit.size()) return digits.size() < limit.size();
    if (digits != limit) return digits < limit;
    return fraction.find_first_not_of('0') == fraction.npos;
  }
};

// Takes "digits", "digits.digits" or ".digits" off the front of `text`.
std::optional<Decimal> take_decimal(std::string_view& text) {
  std::size_t at = 0;
  while (at < text.size() && is_digit(text[at])) ++at;
  Decimal number{{}, text.substr(0, at), {}};
  if (at < text.size() && text[at] == '.') {
    std::size_t start = ++at;
    while (at < text.size() && is_digit(text[at])) ++at;
    number.fraction = text.substr(start, at - start);
    if (number.fraction.empty()) return std::nullopt;
  }
  if (at == 0) return std::nullopt;
  number.text = text.substr(0, at);
  text.remove_prefix(at);
  return number;
}

void take_one_space(std::string_view& text) {
  if (!text.empty() && text.front() == ' ') text.remove_prefix(1);
}

template <std::size_t N>
const Unit* find_unit(const std::array<Unit, N>& units, std::string_view name) {
  auto same = [&](const Unit& unit) {
    return std::equal(name.begin(), name.end(), unit.name.begin(), unit.name.end(),
                      [](char a, char b) { return (is_letter(a) ? (a | 0x20) : a) == b; });
  };
  auto found = std::find_if(units.begin(), units.end(), same);
  return found == units.end() ? nullptr : &*found;
}

tl::unexpected<Error> bad_memory(std::string_view text, std::string_view why) {
  return fail(ErrorCode::kInvalid, fmt::format("invalid memory {}: {}", quoted(text), why),
              "give a share of the device (0.5), a percentage (50%) or a size with a unit "
              "(512MiB, 4GB)");
}

tl::unexpected<Error> bad_duration(std::string_view text, std::string_view why) {
  return fail(ErrorCode::kInvalid, fmt::format("invalid duration {}: {}", quoted(text), why),
              "give seconds (3600) or units, largest first (90s, 1h30m, 8h, 2d)");
}

}  // namespace

std::uint64_t MemoryAmount::on(std::uint64_t total) const {
  if (bytes != 0) return bytes;
  if (!(fraction > 0)) return 0;
  if (fraction >= 1) return total;
  // The fraction is the double nearest to a decimal such as 0.3, so half of its last bit is added:
  // 0.3 of 10 GiB is 3 GiB, not one byte less. Below 2^51 bytes the error of shares that sum to 1
  // stays below one byte in all, so that they fit; a product of doubles would not promise that.
  // fraction = mantissa * 2^-shift, a mantissa of 53 bits.
  // Taken apart here, because frexp() would bring libm into every process that the shim rides in.
  __extension__ using Wide = unsigned __int128;
  const auto bits = std::bit_cast<std::uint64_t>(fraction);
  const int shift = 1075 - static_cast<int>(bits >> 52);
  if (shift + 1 >= 128) return 0;
  const std::uint64_t mantissa = (bits & ((1ull << 52) - 1)) | 1ull << 52;
  return static_cast<std::uint64_t>((static_cast<Wide>(2 * mantissa + 1) * total) >> (shift + 1));
}

double MemoryAmount::share_of(std::uint64_t total) const {
  if (bytes == 0) return fraction;
  return total == 0 ? 0 : static_cast<double>(bytes) / static_cast<double>(total);
}

Result<MemoryAmount> parse_memory(std::string_view text) {
  std::string_view rest = text;
  std::optional<Decimal> number = take_decimal(rest);
  if (!number) {
    bool negative = !text.empty() && text.front() == '-';
    return bad_memory(text, negative ? "it must be above 0" : "it is not a number with a unit");
  }
  if (rest.empty()) {
    if (number->is_zero() || !number->is_at_most("1") || !(number->to_double() > 0)) {
      return bad_memory(text,
                        fmt::format("a share must be above 0 and at most 1 (or give a unit, as in "
                                    "{}GiB)",
                                    number->is_zero() ? "1" : escaped(number->text, 12)));
    }
    return MemoryAmount{number->to_double(), 0};
  }
  take_one_space(rest);
  if (rest == "%") {
    double fraction = number->to_double("e-2");
    if (!number->is_at_most("100") || !(fraction > 0)) {
      return bad_memory(text, "a percentage must be above 0 and at most 100");
    }
    return MemoryAmount{fraction, 0};
  }
  const Unit* unit = find_unit(kMemoryUnits, rest);
  if (unit == nullptr) {
    return bad_memory(text, rest.empty() ? "a unit must follow the space"
                                         : fmt::format("there is no unit {}", quoted(rest)));
  }
  std::optional<std::uint64_t> bytes = number->times(unit->size);
  if (!bytes || *bytes > kMaxBytes) return bad_memory(text, "a size must be below 64TiB");
  if (*bytes == 0) return bad_memory(text, "a size must be at least one byte");
  return MemoryAmount{0, *bytes};
}

Result<std::uint64_t> parse_duration(std::string_view text) {
  constexpr std::string_view kTooLong = "at most 100 years (36500d) can be asked for";
  constexpr std::string_view kTooShort = "it must be more than 0";
  std::uint64_t sum = 0;
  std::size_t next_unit = 0;  // units before this one have been used, or are larger than one used
  std::string_view rest = text;
  do {
    std::optional<Decimal> number = take_decimal(rest);
    if (!number) {
      bool negative = !text.empty() && text.front() == '-';
      return bad_duration(text, negative ? kTooShort : "it is not a number with a unit");
    }
    std::uint64_t unit = kNanosPerSecond;
    if (!rest.empty() || rest.size() + number->text.size() != text.size()) {
      take_one_space(rest);
      std::size_t length = 0;
      while (length < rest.size() && is_letter(rest[length])) ++length;
      std::string_view name = rest.substr(0, length);
      const Unit* found = find_unit(kTimeUnits, name);
      if (found == nullptr) {
        return bad_duration(text, name.empty() ? "a number must be followed by its unit"
                                               : fmt::format("there is no unit {}", quoted(name)));
      }
      auto index = static_cast<std::size_t>(found - kTimeUnits.data());
      if (index < next_unit) return bad_duration(text, "units go once each, largest first");
      next_unit = index + 1;
      unit = found->size;
      rest.remove_prefix(length);
      if (rest.size() > 1) take_one_space(rest);
    }
    std::optional<std::uint64_t> nanos = number->times(unit);
    if (!nanos || __builtin_add_overflow(sum, *nanos, &sum) || sum > kMaxNanos) {
      return bad_duration(text, kTooLong);
    }
  } while (!rest.empty());
  if (sum == 0) return bad_duration(text, kTooShort);
  return sum;
}

}  // namespace chronos
