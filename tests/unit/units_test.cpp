#include "core/units.hpp"

#include <rapidcheck.h>

#include <cmath>
#include <vector>

#include "core/text.hpp"
#include "tests/unit/catch.hpp"

namespace chronos {
namespace {

constexpr std::uint64_t kKi = 1024, kMi = kKi << 10, kGi = kMi << 10, kTi = kGi << 10;

std::uint64_t bytes_of(std::string_view text) {
  auto amount = parse_memory(text);
  INFO(text);
  REQUIRE(amount);
  return amount->bytes;
}

double fraction_of(std::string_view text) {
  auto amount = parse_memory(text);
  INFO(text);
  REQUIRE(amount);
  REQUIRE(amount->bytes == 0);
  return amount->fraction;
}

std::uint64_t nanos_of(std::string_view text) {
  auto nanos = parse_duration(text);
  INFO(text);
  REQUIRE(nanos);
  return *nanos;
}

bool is_one_printable_line(const std::string& text) {
  return !text.empty() && text.find_first_not_of("\\'") != text.npos &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
}

}  // namespace

TEST_CASE("shares and percentages are read exactly") {
  CHECK(fraction_of("0.5") == 0.5);
  CHECK(fraction_of(".5") == 0.5);
  CHECK(fraction_of("1") == 1.0);
  CHECK(fraction_of("1.0") == 1.0);
  CHECK(fraction_of("01.000") == 1.0);
  CHECK(fraction_of("50%") == 0.5);
  CHECK(fraction_of("50 %") == 0.5);
  CHECK(fraction_of("100%") == 1.0);
  CHECK(fraction_of("33.3%") == 0.333);
  CHECK(fraction_of("0.3") == 0.3);
}

TEST_CASE("sizes are read exactly") {
  CHECK(bytes_of("1GiB") == 1073741824);
  CHECK(bytes_of("4G") == 4 * kGi);
  CHECK(bytes_of("4g") == 4 * kGi);
  CHECK(bytes_of("512MiB") == 512 * kMi);
  CHECK(bytes_of("1.5 GB") == 1'500'000'000);
  CHECK(bytes_of("1.5gib") == kGi + kGi / 2);
  CHECK(bytes_of("0.1GB") == 100'000'000);
  CHECK(bytes_of("0.7TB") == 700'000'000'000);
  CHECK(bytes_of("1B") == 1);
  CHECK(bytes_of("1KB") == 1000);
  CHECK(bytes_of("1K") == 1024);
  CHECK(bytes_of("1MB") == 1'000'000);
  CHECK(bytes_of("63.999999TiB") < 64 * kTi);
  CHECK(bytes_of("70368744177663B") == (1ull << 46) - 1);
  CHECK(bytes_of("0.00000000093132257461547851563GiB") == 1);  // a hair above 2^-30
  CHECK(bytes_of("000000000000000000000000000000001GiB") == kGi);
}

TEST_CASE("other memory texts are refused with the text in the message") {
  using namespace std::string_view_literals;
  for (std::string_view text : {""sv,
                                " "sv,
                                "0"sv,
                                "0.0"sv,
                                "0%"sv,
                                "0GiB"sv,
                                "0.4B"sv,
                                "1.5"sv,
                                "2"sv,
                                "1024"sv,
                                "-1"sv,
                                "+1"sv,
                                "-0.5"sv,
                                "nan"sv,
                                "NaN"sv,
                                "inf"sv,
                                "infinity"sv,
                                "1e400"sv,
                                "1e-1"sv,
                                "0x10"sv,
                                "0x1p3"sv,
                                "1."sv,
                                "."sv,
                                "1..5"sv,
                                "1.5.5GiB"sv,
                                "1,5GiB"sv,
                                "1GiB "sv,
                                " 1GiB"sv,
                                "1  GiB"sv,
                                "1\tGiB"sv,
                                "1 "sv,
                                "1GiBx"sv,
                                "1GiB 1MiB"sv,
                                "1PiB"sv,
                                "1 parsec"sv,
                                "100.0001%"sv,
                                "101%"sv,
                                "50%%"sv,
                                "64TiB"sv,
                                "70368744177664B"sv,
                                "18446744073709551616B"sv,
                                "99999999999999999999999999TiB"sv,
                                "1.00000000000000000000000000001"sv,
                                "1GiB\0"sv,
                                "0.5\0"sv,
                                "0.5\n"sv,
                                "half"sv,
                                "%"sv,
                                "GiB"sv,
                                "\xc2\xbd"sv}) {
    auto amount = parse_memory(text);
    INFO(chronos::quoted(text));
    REQUIRE(!amount);
    CHECK(amount.error().code == ErrorCode::kInvalid);
    CHECK(amount.error().message.find("invalid memory " + chronos::quoted(text) + ": ") == 0);
    CHECK(is_one_printable_line(amount.error().message));
    CHECK(!amount.error().hint.empty());
  }
  CHECK(!parse_memory("0." + std::string(400, '0') + "1"));
  CHECK(parse_memory("1.5").error().message ==
        "invalid memory '1.5': a share must be above 0 and at most 1 (or give a unit, as in "
        "1.5GiB)");
}

TEST_CASE("durations are read exactly") {
  constexpr std::uint64_t s = kNanosPerSecond;
  CHECK(nanos_of("3600") == 3600 * s);
  CHECK(nanos_of("0.5") == s / 2);
  CHECK(nanos_of("90s") == 90 * s);
  CHECK(nanos_of("1h30m") == 5400 * s);
  CHECK(nanos_of("1h 30m") == 5400 * s);
  CHECK(nanos_of("1 h 30 m") == 5400 * s);
  CHECK(nanos_of("0.5h") == 1800 * s);
  CHECK(nanos_of("0.1s") == s / 10);
  CHECK(nanos_of("8H") == 8 * 3600 * s);
  CHECK(nanos_of("2d") == 2 * 86400 * s);
  CHECK(nanos_of("1w") == 7 * 86400 * s);
  CHECK(nanos_of("250ms") == s / 4);
  CHECK(nanos_of("1w2d3h4m5s6ms") ==
        (7 * 86400 + 2 * 86400 + 3 * 3600 + 4 * 60 + 5) * s + 6'000'000);
  CHECK(nanos_of("0h30m") == 1800 * s);
  CHECK(nanos_of("0.000000001") == 1);
  CHECK(nanos_of("36500d") == kMaxDurationSeconds * s);
  CHECK(nanos_of("3153600000") == kMaxDurationSeconds * s);
}

TEST_CASE("other durations are refused with the text in the message") {
  using namespace std::string_view_literals;
  for (std::string_view text : {""sv,
                                " "sv,
                                "0"sv,
                                "0s"sv,
                                "0h0m"sv,
                                "0.0000000001"sv,
                                "-1"sv,
                                "-5m"sv,
                                "+5"sv,
                                "nan"sv,
                                "inf"sv,
                                "1e3"sv,
                                "1e400"sv,
                                "0x10"sv,
                                "12 parsecs"sv,
                                "1h30"sv,
                                "30 1h"sv,
                                "30m1h"sv,
                                "1h1h"sv,
                                "1m1m"sv,
                                "1h  30m"sv,
                                "1h "sv,
                                " 1h"sv,
                                "1 "sv,
                                "h"sv,
                                "1.h"sv,
                                "1:30"sv,
                                "36501d"sv,
                                "3153600000.000000001"sv,
                                "36500d1ms"sv,
                                "99999999999999999999"sv,
                                "18446744073709551615w"sv,
                                "5s\0"sv,
                                "5\n"sv,
                                "5\x1b[2J"sv,
                                "1y"sv,
                                "1hm"sv}) {
    auto nanos = parse_duration(text);
    INFO(chronos::quoted(text));
    REQUIRE(!nanos);
    CHECK(nanos.error().code == ErrorCode::kInvalid);
    CHECK(nanos.error().message.find("invalid duration " + chronos::quoted(text) + ": ") == 0);
    CHECK(is_one_printable_line(nanos.error().message));
    CHECK(!nanos.error().hint.empty());
  }
}

TEST_CASE("amounts on a device are rounded down, never up") {
  CHECK(MemoryAmount{0.5, 0}.on(101) == 50);
  CHECK(MemoryAmount{1, 0}.on(~0ull) == ~0ull);
  CHECK(MemoryAmount{0.3, 0}.on(10 * kGi) == 3221225472);
  CHECK(MemoryAmount{1.0 / 3, 0}.on(3) == 1);  // the nearest double is below a third
  CHECK(MemoryAmount{5e-324, 0}.on(~0ull) == 0);
  CHECK(MemoryAmount{std::nextafter(1.0, 0.0), 0}.on(~0ull) < ~0ull);
  CHECK(MemoryAmount{0, 7}.on(3) == 7);
  CHECK(MemoryAmount{0, 7}.share_of(14) == 0.5);
  CHECK(MemoryAmount{0, 7}.share_of(0) == 0);
  CHECK(MemoryAmount{0.25, 0}.share_of(0) == 0.25);
}

TEST_CASE("sizes are written with three digits") {
  CHECK(format_bytes(0) == "0 B");
  CHECK(format_bytes(1023) == "1023 B");
  CHECK(format_bytes(kKi) == "1 KiB");
  CHECK(format_bytes(1536) == "1.50 KiB");
  CHECK(format_bytes(812 * kMi) == "812 MiB");
  CHECK(format_bytes(kGi + kGi / 2) == "1.50 GiB");
  CHECK(format_bytes(24 * kGi) == "24 GiB");
  CHECK(format_bytes(24 * kGi + 1) == "24.0 GiB");
  CHECK(format_bytes(10 * kGi - 1) == "10.0 GiB");
  CHECK(format_bytes(100 * kGi - 1) == "100 GiB");
  CHECK(format_bytes(kGi - 1) == "1.00 GiB");
  CHECK(format_bytes(~0ull) == "16.0 EiB");
}

TEST_CASE("durations are written with their two largest units") {
  constexpr std::uint64_t s = kNanosPerSecond;
  CHECK(format_duration(0) == "0s");
  CHECK(format_duration(999'999) == "0s");
  CHECK(format_duration(250'000'000) == "250ms");
  CHECK(format_duration(42 * s + s - 1) == "42s");
  CHECK(format_duration(3598 * s) == "59m 58s");
  CHECK(format_duration(3600 * s) == "1h");
  CHECK(format_duration(5400 * s) == "1h 30m");
  CHECK(format_duration((2 * 86400 + 3 * 3600 + 59 * 60) * s) == "2d 3h");
  CHECK(format_duration((86400 + 59 * 60) * s) == "1d");
}

TEST_CASE("percentages are written with three digits") {
  CHECK(format_percent(0.5) == "50");
  CHECK(format_percent(1) == "100");
  CHECK(format_percent(1.0 / 3) == "33.3");
  CHECK(format_percent(0.0435) == "4.35");
  CHECK(format_percent(0.125) == "12.5");
  CHECK(format_percent(0.3) == "30");
  CHECK(format_percent(0.00001) == "0.001");
  CHECK(format_percent(12.5) == "1250");
  CHECK(format_percent(0) == "0");
  CHECK(format_percent(-1) == "0");
  CHECK(format_percent(std::nan("")) == "0");
}

TEST_CASE("escaping keeps any text on one printable line") {
  CHECK(chronos::quoted("p1") == "'p1'");
  CHECK(chronos::quoted("a\nb\x1b[2J\t\\") == "'a\\nb\\x1b[2J\\t\\\\'");
  CHECK(chronos::quoted(std::string(300, 'x')) == "'" + std::string(37, 'x') + "...'");
  CHECK(chronos::quoted(std::string(40, 'x')) == "'" + std::string(40, 'x') + "'");
  CHECK(escaped(std::string(20, '\n'), 10) == "\\n\\n\\n...");
  CHECK(escaped("abc", 2).empty());
}

TEST_CASE("properties of units") {
  CHECK(rc::check("any text is read or refused in one line", [](const std::string& text) {
    for (const auto& message :
         {parse_memory(text).map_error([](Error e) { return e.message; }).map([](auto) {
            return 0;
          }),
          parse_duration(text).map_error([](Error e) { return e.message; }).map([](auto) {
            return 0;
          })}) {
      if (!message) RC_ASSERT(is_one_printable_line(message.error()));
    }
  }));
  CHECK(rc::check("texts of the alphabet of amounts stay in range", [] {
    auto text = *rc::gen::container<std::string>(
        rc::gen::elementOf(std::string("0123456789..%  kmgtibwdhs-e")));
    if (auto amount = parse_memory(text)) {
      RC_ASSERT((amount->bytes > 0) != (amount->fraction > 0));
      RC_ASSERT(amount->fraction <= 1);
      RC_ASSERT(amount->bytes < 1ull << 46);
    }
    if (auto nanos = parse_duration(text)) {
      RC_ASSERT(*nanos > 0u);
      RC_ASSERT(*nanos <= kMaxDurationSeconds * kNanosPerSecond);
    }
  }));
  CHECK(rc::check("bytes survive being written as bytes", [] {
    auto bytes = *rc::gen::inRange<std::uint64_t>(1, 1ull << 46);
    RC_ASSERT(parse_memory(std::to_string(bytes) + "B")->bytes == bytes);
  }));
  CHECK(rc::check("format_bytes is read back within half of its last digit", [] {
    auto bytes = *rc::gen::inRange<std::uint64_t>(1, 1ull << 45);
    bytes >>= *rc::gen::inRange(0, 45);
    RC_PRE(bytes > 0u);
    auto back = static_cast<double>(parse_memory(format_bytes(bytes))->bytes);
    auto exact = static_cast<double>(bytes);
    RC_ASSERT(std::abs(back - exact) <= exact * 0.0051 + 1);
  }));
  CHECK(rc::check("format_duration rounds down, by less than its second unit", [] {
    auto nanos =
        *rc::gen::inRange<std::uint64_t>(kNanosPerSecond, kMaxDurationSeconds * kNanosPerSecond);
    nanos >>= *rc::gen::inRange(0, 30);
    RC_PRE(nanos >= kNanosPerSecond);
    auto back = *parse_duration(format_duration(nanos));
    RC_ASSERT(back <= nanos);
    RC_ASSERT(nanos - back < 3600 * kNanosPerSecond);
    RC_ASSERT(format_duration(back) == format_duration(nanos));
  }));
  CHECK(rc::check("shares that sum to at most 1 fit", [] {
    auto weights = *rc::gen::container<std::vector<unsigned>>(rc::gen::inRange(1u, 100000u));
    auto total = *rc::gen::inRange<std::uint64_t>(1, 1ull << 46);
    double sum = 0;
    for (unsigned weight : weights) sum += weight;
    std::uint64_t used = 0;
    for (unsigned weight : weights) used += MemoryAmount{weight / sum, 0}.on(total);
    RC_ASSERT(used <= total);
  }));
  CHECK(rc::check("percentages that sum to 100 fit", [] {
    auto total = *rc::gen::inRange<std::uint64_t>(1, 1ull << 46);
    unsigned left = 10000;  // hundredths of a percent
    std::uint64_t used = 0;
    while (left > 0) {
      unsigned part = *rc::gen::inRange(1u, left + 1);
      left -= part;
      auto text = std::to_string(part / 100) + "." + std::to_string(part % 100 / 10) +
                  std::to_string(part % 10) + "%";
      used += parse_memory(text)->on(total);
    }
    RC_ASSERT(used <= total);
  }));
}

}  // namespace chronos
