#include "tests/hostile/mutate.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace chronos::test {
namespace {

constexpr std::array<std::uint64_t, 24> kNumbers = {0,
                                                    1,
                                                    2,
                                                    0x7f,
                                                    0x80,
                                                    0xff,
                                                    255,
                                                    256,
                                                    257,
                                                    4095,
                                                    4096,
                                                    65535,
                                                    0x7fffffff,
                                                    0x80000000,
                                                    0xffffffff,
                                                    0x100000000,
                                                    (std::uint64_t{1} << 46) - 1,
                                                    std::uint64_t{1} << 46,
                                                    (std::uint64_t{1} << 63) - 1,
                                                    std::uint64_t{1} << 63,
                                                    ~std::uint64_t{0},
                                                    ~std::uint64_t{0} - 1,
                                                    0x7ff0000000000000,   // as a double: infinity
                                                    0xfff8000000000001};  // and none at all

}  // namespace

std::uint64_t Mutator::number() {
  switch (below(4)) {
    case 0:
      return random_();
    case 1:
      return random_() >> below(64);
    default:
      return kNumbers[below(kNumbers.size())];
  }
}

std::string Mutator::noise(std::size_t most) {
  std::string bytes(below(most + 1), '\0');
  for (char& byte : bytes) byte = static_cast<char>(random_());
  return bytes;
}

void Mutator::damage_bytes(std::string& bytes) {
  if (bytes.empty()) return;
  const std::size_t at = below(bytes.size());
  const std::size_t length = 1 + below(std::min<std::size_t>(bytes.size() - at, 64));
  switch (below(5)) {
    case 0:
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
      break;
    case 1:
      for (std::size_t i = 0; i < length; ++i) bytes[at + i] = static_cast<char>(random_());
      break;
    case 2:
      std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), length,
                  static_cast<char>(number()));
      break;
    case 3:
      std::memmove(bytes.data() + below(bytes.size() - length + 1), bytes.data() + at, length);
      break;
    default: {
      const std::uint64_t value = number();
      std::memcpy(bytes.data() + at, &value, std::min(sizeof value, bytes.size() - at));
    }
  }
}

std::string Mutator::binary(std::string_view valid, const std::vector<Field>& fields) {
  if (chance(3)) return noise(2 * valid.size());
  std::string bytes(valid);
  for (std::uint64_t count = below(4); count > 0 && !fields.empty(); --count) {
    const Field& field = fields[below(fields.size())];
    if (field.offset + field.size > bytes.size()) continue;
    if (chance(20)) {
      for (std::size_t i = 0; i < field.size; ++i) {
        bytes[field.offset + i] = static_cast<char>(random_());
      }
    } else {
      const std::uint64_t value = number();
      std::memcpy(bytes.data() + field.offset, &value, std::min(sizeof value, field.size));
    }
  }
  for (std::uint64_t count = below(3); count > 0; --count) damage_bytes(bytes);
  if (chance(4)) bytes.resize(below(bytes.size() + 1));
  if (chance(4)) bytes += noise(4096);
  return bytes;
}

std::string Mutator::text(std::string_view valid, const std::vector<std::string>& words) {
  if (chance(3)) return noise(2 * valid.size());
  std::string bytes(valid);
  for (std::uint64_t count = below(4); count > 0 && !bytes.empty(); --count) {
    std::size_t at = below(bytes.size());
    // Whole lines, so that what comes of it may make sense.
    if (chance(50)) at = bytes.rfind('\n', at) + 1;
    if (at >= bytes.size()) at = 0;
    const std::size_t length = below(std::min<std::size_t>(bytes.size() - at, 40)) + 1;
    switch (below(7)) {
      case 0:
        bytes.erase(at, length);
        break;
      case 1:
        bytes.insert(at, bytes.substr(below(bytes.size()), length));
        break;
      case 2:
        if (!words.empty()) bytes.insert(at, words[below(words.size())]);
        break;
      case 3:
        if (!words.empty()) bytes.replace(at, length, words[below(words.size())]);
        break;
      case 4:
        bytes.insert(at, std::to_string(number()));
        break;
      case 5:  // deep nesting and endless tokens
        bytes.insert(at, std::string(below(300), "[{(\"'.,=#\n 0e-"[below(14)]));
        break;
      default:
        damage_bytes(bytes);
    }
  }
  return bytes;
}

}  // namespace chronos::test
