// Makes damaged files out of whole ones: for tests of what reads other users' files.
// Reproducible: the same seed makes the same files. One thread each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace chronos::test {

// Where the fields of a format are, so that a mutation can hit one of them whole.
struct Field {
  std::size_t offset = 0, size = 0;
};

class Mutator {
 public:
  explicit Mutator(std::uint64_t seed) : random_(seed) {}

  std::uint64_t below(std::uint64_t end) { return end == 0 ? 0 : random_() % end; }
  bool chance(unsigned percent) { return below(100) < percent; }

  // Of a binary file: a few fields take values that hurt, bits flip, parts move, the end goes or
  // grows; now and then nothing of it is left but noise.
  std::string binary(std::string_view valid, const std::vector<Field>& fields);
  // Of a text: lines and tokens are taken away, doubled and swapped, numbers and words replaced.
  std::string text(std::string_view valid, const std::vector<std::string>& words);

 private:
  std::uint64_t number();
  std::string noise(std::size_t most);
  void damage_bytes(std::string& bytes);

  std::mt19937_64 random_;
};

}  // namespace chronos::test
