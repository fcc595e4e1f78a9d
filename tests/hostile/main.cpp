// chronos_hostile_files [COUNT [SEED]]: damaged input goes through its readers; built with
// sanitizers it finds what they find. First every file of the fuzzers' corpora (tests/fuzz/corpus)
// and some mutations of each, then COUNT damaged files (20,000 if not told, 1,000,000 with
// CHRONOS_TEST_LEVEL=full). Ends with 1 if a reader took longer than kTooLong.
//
// chronos_hostile_files --seeds FOLDER: writes what fuzzers start from, a folder for each reader.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "tests/hostile/readers.hpp"
#include "tests/unit/temp_state.hpp"

namespace {

namespace fs = std::filesystem;
using chronos::test::Mutator;
using chronos::test::Reader;
using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kTooLong{10};
constexpr int kMutationsOfEach = 10;

struct Row {
  Reader* reader;
  unsigned weight;  // most of it to grants and ledgers
  std::uint64_t read = 0, believed = 0, from_corpus = 0;
};

bool is_full_level() {
  const char* level = std::getenv("CHRONOS_TEST_LEVEL");
  return level != nullptr && std::strcmp(level, "full") == 0;
}

class Run {
 public:
  void read(Row& row, const std::string& bytes) {
    const auto before = Clock::now();
    row.believed += row.reader->read(bytes) ? 1 : 0;
    ++row.read;
    if (Clock::now() - before <= longest_) return;
    longest_ = Clock::now() - before;
    slowest_ = row.reader->name();
  }
  std::chrono::nanoseconds longest() const { return longest_; }
  const std::string& slowest() const { return slowest_; }

 private:
  std::chrono::nanoseconds longest_{0};
  std::string slowest_;
};

std::vector<std::string> corpus_of(const Reader& reader) {
  std::error_code none;
  std::vector<fs::path> paths;
  for (const auto& entry :
       fs::directory_iterator(fs::path(CHRONOS_FUZZ_CORPUS) / reader.name(), none)) {
    paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());  // so that one seed makes one run
  std::vector<std::string> files;
  for (const fs::path& path : paths) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    files.push_back(text.str());
  }
  return files;
}

int write_seeds(const fs::path& folder, const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    const std::vector<std::string> seeds = row.reader->seeds();
    if (seeds.empty()) continue;
    fs::create_directories(folder / row.reader->name());
    for (std::size_t i = 0; i < seeds.size(); ++i) {
      std::ofstream out(folder / row.reader->name() / fmt::format("seed-{:02}", i),
                        std::ios::binary);
      if (!(out << seeds[i]).flush()) {
        fmt::print(stderr, "chronos_hostile_files: cannot write to {}\n", folder.string());
        return 1;
      }
    }
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace chronos::test;
  const TempState state;
  std::vector<Row> rows = {{grant_reader(), 5},   {ledger_reader(), 3}, {ticket_reader(), 2},
                           {counter_reader(), 1}, {policy_reader(), 3}, {inventory_reader(), 1},
                           {trace_reader(), 1},   {units_reader(), 3},  {names_reader(), 1}};
  if (argc == 3 && std::strcmp(argv[1], "--seeds") == 0) return write_seeds(argv[2], rows);
  const std::uint64_t count = argc > 1          ? std::strtoull(argv[1], nullptr, 10)
                              : is_full_level() ? 1'000'000
                                                : 20'000;
  const std::uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;

  Mutator mutator(seed);
  Run run;
  const auto started = Clock::now();
  for (Row& row : rows) {
    for (const std::string& input : corpus_of(*row.reader)) {
      run.read(row, row.reader->file_of(input));
      ++row.from_corpus;
      for (int i = 0; i < kMutationsOfEach; ++i) {
        run.read(row, row.reader->file_of(mutator.chance(50) ? mutator.binary(input, {})
                                                             : mutator.text(input, {})));
      }
    }
  }
  std::vector<Row*> order;
  for (Row& row : rows) order.insert(order.end(), row.weight, &row);
  for (std::uint64_t i = 0; i < count; ++i) {
    Row& row = *order[i % order.size()];
    run.read(row, row.reader->make(mutator));
  }

  for (const Row& row : rows) {
    fmt::print("{:>9} {} inputs, {} of them from the corpus, {} believed in part\n", row.read,
               row.reader->name(), row.from_corpus, row.believed);
  }
  using Milliseconds = std::chrono::duration<double, std::milli>;
  using Seconds = std::chrono::duration<double>;
  fmt::print("{} inputs in {:.1f} s, the longest took {:.1f} ms ({}); seed {}\n", count,
             Seconds(Clock::now() - started).count(), Milliseconds(run.longest()).count(),
             run.slowest(), seed);
  return run.longest() > kTooLong ? 1 : 0;
}
