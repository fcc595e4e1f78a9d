#include "cli/output.hpp"

#include "catch.hpp"
#include "cli/utf8.hpp"
#include "core/report.hpp"

using namespace chronos::cli;

TEST_CASE("what is printed cannot steer a terminal or break a line") {
  CHECK(printable("NVIDIA GeForce") == "NVIDIA GeForce");
  CHECK(printable("a\nb\tc\rd") == "a\\nb\\tc\\rd");
  CHECK(printable("\x1b[31m\x7f") == "\\x1b[31m\\x7f");
  CHECK(printable(std::string_view("\0x", 2)) == "\\x00x");
  CHECK(printable("größe") == "größe");
  CHECK(printable("\xc2\x9b") == "\\xc2\\x9b");           // CSI as one character
  CHECK(printable("\xe2\x80\xae") == "\\xe2\\x80\\xae");  // right-to-left override
}

TEST_CASE("bytes that are not UTF-8 are shown as such") {
  CHECK(printable("\xff") == "\\xff");
  CHECK(printable("a\xc3") == "a\\xc3");
  CHECK(printable("\xc0\xaf") == "\\xc0\\xaf");                    // overlong
  CHECK(printable("\xed\xa0\x80") == "\\xed\\xa0\\x80");           // surrogate
  CHECK(printable("\xf4\x90\x80\x80") == "\\xf4\\x90\\x80\\x80");  // above U+10FFFF
  CHECK(printable("\xe2\x82 x") == "\\xe2\\x82 x");
}

TEST_CASE("width counts columns, not bytes") {
  CHECK(display_width("größe") == 5);
  CHECK(display_width("日本") == 4);
  CHECK(display_width("e\xcc\x81") == 1);
}

TEST_CASE("long text is cut at a character and marked") {
  CHECK(shortened("short", 5, true) == "short");
  CHECK(shortened("longer", 5, false) == "long~");
  CHECK(shortened("größer", 4, true) == "grö…");
  CHECK(shortened("日本語", 4, true) == "日…");  // half a wide character does not fit
  CHECK(display_width(shortened("日本語", 4, true)) <= 4);
  CHECK(shortened("x", 0, true).empty());
}

TEST_CASE("percentages are exact and never rounded up") {
  CHECK(chronos::percent_of(29, 100) == "29.00");
  CHECK(chronos::percent_of(1, 3) == "33.33");
  CHECK(chronos::percent_of(2, 3) == "66.66");
  CHECK(chronos::percent_of(49'996, 100'000) == "49.99");
  CHECK(chronos::percent_of(10, 10) == "100.00");
  CHECK(chronos::percent_of(11, 10) == "100.00");
  CHECK(chronos::percent_of(0, 0) == "0.00");
  CHECK(chronos::percent_of(0xffff'ffff'ffff'fffe, 0xffff'ffff'ffff'ffff) == "99.99");
}

TEST_CASE("megabytes are of 2^20 bytes, without decimals") {
  CHECK(chronos::legacy_megabytes(0) == "0");
  CHECK(chronos::legacy_megabytes(5120ull << 20) == "5120");
  CHECK(chronos::legacy_megabytes((1 << 20) + 5) == "1");
  CHECK(chronos::legacy_megabytes(512 << 10) == "0.50");
}

TEST_CASE("seconds are whole where they can be") {
  CHECK(legacy_seconds(3600'000'000'000) == "3600");
  CHECK(legacy_seconds(1'500'000'000) == "1.5");
  CHECK(legacy_seconds(1) == "0.000000001");
}

TEST_CASE("a bar is empty at nothing, full at the limit and shows the first byte") {
  Screen screen;
  CHECK(bar(screen, 0, 100, 4) == "....");
  CHECK(bar(screen, 1, 100, 4) == "#...");
  CHECK(bar(screen, 50, 100, 4) == "##..");
  CHECK(bar(screen, 100, 100, 4) == "####");
  CHECK(bar(screen, 101, 100, 4) == "####");
  CHECK(bar(screen, 0, 0, 4) == "....");
  screen.unicode = true;
  CHECK(bar(screen, 1, 2, 2) == "█░");
}
