#include <fmt/format.h>

#include <cmath>
#include <cstdlib>

#include "core/ledger.hpp"
#include "core/units.hpp"
#include "tests/hostile/readers.hpp"
#include "tests/hostile/scene.hpp"

namespace chronos::test {
namespace {

// The same sums in another way: in floating point, for texts that were accepted.
long double unit_size(std::string_view unit, bool of_time) {
  std::string name(unit);
  for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
  if (of_time) {
    if (name.empty() || name == "s") return 1e9L;
    if (name == "ms") return 1e6L;
    if (name == "m") return 60e9L;
    if (name == "h") return 3600e9L;
    return name == "d" ? 86400e9L : 604800e9L;
  }
  if (name.empty()) return 1;
  if (name == "%") return 0.01L;
  const long double base = name.size() == 2 ? 1000 : 1024;
  return name == "b"
             ? 1
             : std::pow(base, static_cast<long double>(1 + std::string_view("kmgt").find(name[0])));
}

long double expected(const std::string& text, bool of_time) {
  long double sum = 0;
  const char* at = text.c_str();
  while (*at != '\0') {
    char* end = nullptr;
    const long double number = std::strtold(at, &end);
    require(end != at, "a number that is none");
    while (*end == ' ') ++end;
    const char* unit = end;
    while (*end != '\0' && *end != ' ' && *end != '.' && !(*end >= '0' && *end <= '9')) ++end;
    sum += number * unit_size({unit, static_cast<std::size_t>(end - unit)}, of_time);
    while (*end == ' ') ++end;
    at = end;
  }
  return sum;
}

bool is_near(long double value, long double wanted, long double share) {
  return std::fabs(value - wanted) <= 8 + wanted * share;
}

class UnitsReader final : public Reader {
 public:
  const char* name() const override { return "units"; }
  std::string make(Mutator& mutator) override {
    const std::vector<std::string> whole = seeds();
    static const std::vector<std::string> words = {"GiB", "MB", "%", "w",
                                                   "ms",  ".",  "0", "99999999999999999999"};
    return mutator.text(whole[mutator.below(whole.size())], words);
  }
  std::vector<std::string> seeds() override {
    return {"0.5",    "1",      "50%",    "33.333 %",
            "512MiB", "1.5 GB", "4G",     "70368744177663B",
            "63.9T",  "1h30m",  "2d 3h",  "1w",
            "250ms",  "3600",   "36500d", "0.000000001s",
            ".5",     "1.",     "-1",     "1e9",
            "nan",    "inf",    "0x10",   "18446744073709551616"};
  }
  bool read(std::string_view bytes) override {
    const bool memory = read_memory(bytes), duration = read_duration(bytes);
    return memory || duration;
  }

 private:
  static void check(const Error& error) {
    require(error.code == ErrorCode::kInvalid, "another kind of error");
    require_line(error.message, "an error that is no line of text");
    require(error.message.size() < 1024, "an endless error");
  }

  static bool read_memory(std::string_view text) {
    auto amount = parse_memory(text);
    if (!amount) {
      check(amount.error());
      return false;
    }
    const long double wanted = expected(std::string(text), false);
    if (amount->bytes > 0) {
      require(amount->fraction == 0 && amount->bytes <= kMaxBytes, "a size above 64 TiB");
      require(is_near(static_cast<long double>(amount->bytes), wanted, 1e-15L), "another size");
      require(amount->on(1) == amount->bytes, "a size that depends on the device");
      auto same = parse_memory(fmt::format("{}B", amount->bytes));
      require(same && same->bytes == amount->bytes, "bytes that cannot be read");
      auto shown = parse_memory(format_bytes(amount->bytes));
      require((!shown && amount->bytes >= kMaxBytes / 1000 * 999) ||
                  (shown && is_near(static_cast<long double>(shown->bytes), wanted, 0.006L)),
              "a size that is shown as another");
      return true;
    }
    // None at all is no share either.
    const double share = amount->fraction;
    require(share > 0 && share <= 1, "a share that is none");
    require(std::fabs(share - static_cast<double>(wanted)) <= share * 1e-15 + 1e-320,
            "another share");
    for (const std::uint64_t total : {std::uint64_t{0}, std::uint64_t{1}, kTotal, kMaxBytes}) {
      require(amount->on(total) <= total, "a share above the whole");
      require(is_near(static_cast<long double>(amount->on(total)),
                      static_cast<long double>(share) * static_cast<long double>(total), 1e-15L),
              "a share of another size");
    }
    auto same = parse_memory(fmt::format("{:.1074f}", share));
    require(same && same->fraction == share, "a share that cannot be read");
    if (share >= 0.001) {
      auto shown = parse_memory(format_percent(share) + "%");
      require(shown && std::fabs(shown->fraction - share) <= share * 0.006,
              "a share that is shown as another");
    }
    return true;
  }

  static bool read_duration(std::string_view text) {
    auto nanos = parse_duration(text);
    if (!nanos) {
      check(nanos.error());
      return false;
    }
    require(*nanos > 0 && *nanos <= kMaxDurationSeconds * kNanosPerSecond, "above 100 years");
    require(is_near(static_cast<long double>(*nanos), expected(std::string(text), true), 1e-15L),
            "another duration");
    auto same =
        parse_duration(fmt::format("{}.{:09}", *nanos / kNanosPerSecond, *nanos % kNanosPerSecond));
    require(same && *same == *nanos, "a duration that cannot be read");
    const std::string shown = format_duration(*nanos);
    auto again = parse_duration(shown);
    if (*nanos < 1'000'000) return true;  // shown as 0s
    require(again && *again <= *nanos && *again >= *nanos / 2 && format_duration(*again) == shown,
            "a duration that is shown as another");
    return true;
  }
};

}  // namespace

Reader* units_reader() {
  static auto* const reader = new UnitsReader;
  return reader;
}

}  // namespace chronos::test
