// Text from outside, made fit to be shown or stored. Pure functions, no state, any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace chronos {

// Printable ASCII on one line: everything else becomes \n, \t, \r, \\ or \xNN, so that a message
// can hold any input without breaking a log or steering a terminal. At most `limit` bytes; what is
// longer ends in "...".
std::string escaped(std::string_view text, std::size_t limit = 4096);

// escaped() in single quotes, short enough for an error message.
std::string quoted(std::string_view text);

// FNV-1a over 64 bits: the same in every build and process. Not for adversaries.
inline constexpr std::uint64_t kHashSeed = 0xcbf29ce484222325;
std::uint64_t hash_bytes(std::string_view bytes, std::uint64_t seed = kHashSeed);

// Lower case hexadecimal digits.
std::string to_hex(std::string_view bytes);
std::string to_hex(std::uint64_t value);  // always 16 digits

}  // namespace chronos
