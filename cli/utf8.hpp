// UTF-8 for terminals: what is shown, and how many columns it takes. Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace chronos::cli {

// The character at the front of `text` and its length in bytes; length 0 where it is not valid
// UTF-8 (overlong forms, surrogates and values above U+10FFFF included). `text` is not empty.
struct Character {
  std::uint32_t code = 0;
  std::size_t length = 0;
};
Character first_character(std::string_view text);

// True for what would move the cursor or turn the direction of the line round.
bool is_control(std::uint32_t code);

// 0 for combining marks, 2 for East Asian wide characters and emoji, else 1. An approximation by
// ranges: the tables of the C library would need a locale to be loaded.
std::size_t columns_of(std::uint32_t code);

}  // namespace chronos::cli
