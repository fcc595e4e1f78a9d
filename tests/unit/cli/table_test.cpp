#include "cli/table.hpp"

#include "catch.hpp"

using namespace chronos::cli;

namespace {

Table sample() {
  Table table({{"NAME", Table::Align::kLeft, 5}, {"USED", Table::Align::kRight}, {"WHO"}});
  table.add({{"a long name", Style::kBold}, {"1 MiB"}, {"alice"}});
  table.add({{"b"}, {"10 GiB"}, {""}});
  return table;
}

}  // namespace

TEST_CASE("a table is aligned and has no trailing blanks") {
  CHECK(sample().render(Screen{}) ==
        "NAME           USED  WHO\n"
        "a long name   1 MiB  alice\n"
        "b            10 GiB\n");
}

TEST_CASE("names are cut to the width of the terminal, numbers never") {
  Screen narrow;
  narrow.width = 20;
  CHECK(sample().render(narrow) ==
        "NAME     USED  WHO\n"
        "a lo~   1 MiB  alice\n"
        "b      10 GiB\n");
  narrow.width = 3;  // as far as may be cut, and no further
  CHECK(sample().render(narrow).find("10 GiB") != std::string::npos);
}

TEST_CASE("colour does not move columns") {
  Screen color;
  color.color = true;
  std::string text = sample().render(color);
  CHECK(text.find("\x1b[1ma long name\x1b[0m   1 MiB  alice\n") != std::string::npos);
  for (std::size_t at; (at = text.find('\x1b')) != std::string::npos;) {
    text.erase(at, text.find('m', at) + 1 - at);
  }
  CHECK(text == sample().render(Screen{}));
}

TEST_CASE("a hidden column is gone from every row") {
  Table table = sample();
  table.hide("USED");
  CHECK(table.render(Screen{}) == "NAME         WHO\na long name  alice\nb\n");
}
