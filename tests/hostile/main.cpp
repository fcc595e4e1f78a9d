// chronos_hostile_files [COUNT [SEED]]: COUNT damaged files (20,000 if not told, 1,000,000 with
// CHRONOS_TEST_LEVEL=full) go through their readers; built with sanitizers it finds what they find.
// Ends with 1 if a reader took longer than kTooLong.
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "tests/hostile/readers.hpp"
#include "tests/unit/temp_state.hpp"

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kTooLong{10};

std::uint64_t count_by_level() {
  const char* level = std::getenv("CHRONOS_TEST_LEVEL");
  return level != nullptr && std::strcmp(level, "full") == 0 ? 1'000'000 : 20'000;
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t count = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : count_by_level();
  const std::uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  const TempState state;
  const auto readers = chronos::test::all_readers();
  // Most of it to grants and ledgers.
  const std::vector<std::size_t> order = {0, 1, 0, 1, 0, 4, 2, 0, 4, 3, 0, 1, 5, 0, 2, 4};
  std::vector<std::uint64_t> read(readers.size()), believed(readers.size());
  std::chrono::nanoseconds longest{0};
  std::string slowest;
  chronos::test::Mutator mutator(seed);
  const auto started = Clock::now();
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::size_t which = order[i % order.size()];
    const std::string bytes = readers[which]->make(mutator);
    const auto before = Clock::now();
    believed[which] += readers[which]->read(bytes) ? 1 : 0;
    ++read[which];
    if (Clock::now() - before > longest) {
      longest = Clock::now() - before;
      slowest = readers[which]->name();
    }
  }
  for (std::size_t i = 0; i < readers.size(); ++i) {
    fmt::print("{:>9} {} files, {} believed in part\n", read[i], readers[i]->name(), believed[i]);
  }
  using Milliseconds = std::chrono::duration<double, std::milli>;
  using Seconds = std::chrono::duration<double>;
  fmt::print("{} files in {:.1f} s, the longest took {:.1f} ms ({}); seed {}\n", count,
             Seconds(Clock::now() - started).count(), Milliseconds(longest).count(), slowest, seed);
  return longest > kTooLong ? 1 : 0;
}
