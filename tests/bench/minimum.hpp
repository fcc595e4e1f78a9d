// Times several ways of doing one thing against each other on a machine that others use too: short
// batches, taken in turn, so that whatever slows one way down slows its neighbours down as well.
// The minimum is what the thing costs; the median also has what the neighbours cost.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace chronos::bench {

struct Way {
  std::string name{};
  std::function<void()> prepare{};  // not timed; may be empty
  std::function<void()> batch{};
  std::vector<double> nanoseconds{};  // of each batch, per operation
  std::vector<double> processors{};   // their time for each batch, where somebody looked
};

inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Of what each round took, in parts of what the first way took in that round: what lasts longer
// than a round, as a busy neighbour does, is in both.
inline double ratio_of_rounds(const std::vector<double>& ours, const std::vector<double>& first) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < std::min(ours.size(), first.size()); ++i) {
    ratios.push_back(ours[i] / first[i]);
  }
  return median(std::move(ratios));
}

inline double time_batch(Way& way, int operations_in_a_batch) {
  using Clock = std::chrono::steady_clock;
  if (way.prepare) way.prepare();
  const auto start = Clock::now();
  way.batch();
  const std::chrono::duration<double, std::nano> taken = Clock::now() - start;
  return taken.count() / operations_in_a_batch;
}

// kShifting: forwards and backwards, from another one each time, for what a batch leaves behind (a
// warm cache, a drained queue) must not favour one of them. kFixed: for steps that need the one
// before.
enum class Order { kShifting, kFixed };

// Whether every minimum is as low as it gets: none has fallen in the last third of the rounds.
class Settled {
 public:
  explicit Settled(std::size_t count) : least_(count, 1e300) {}
  void saw(std::size_t way, double nanoseconds, std::size_t round) {
    constexpr double kWorthMore = 0.998;
    if (nanoseconds < least_[way] * kWorthMore) fell_ = round;
    least_[way] = std::min(least_[way], nanoseconds);
  }
  bool after(std::size_t rounds) const { return (fell_ + 1) * 3 < rounds * 2; }

 private:
  std::vector<double> least_;
  std::size_t fell_ = 0;
};

// What the figures are for: kMedian takes just the rounds asked for; kMinimum up to four times as
// many while a minimum still falls and it takes no more than some seconds.
enum class Aim { kMinimum, kMedian };

// Takes `rounds` of them; on a machine that is very busy fewer, after a minute and a half.
inline void alternate(std::vector<Way>& ways, int rounds, int operations_in_a_batch,
                      Order order = Order::kShifting, Aim aim = Aim::kMinimum) {
  const std::size_t count = ways.size();
  const auto wanted = static_cast<std::size_t>(std::max(rounds, 1));
  Settled settled(count);
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t round = 0;; ++round) {
    const auto taken = std::chrono::steady_clock::now() - start;
    if (round >= wanted && (aim == Aim::kMedian || taken > std::chrono::seconds(15) ||
                            round >= 4 * wanted || settled.after(round))) {
      break;
    }
    if (round >= 5 && taken > std::chrono::seconds(90)) break;
    for (std::size_t i = 0; i < count; ++i) {
      std::size_t at = i;
      if (order == Order::kShifting) {
        at = (round % 2 == 0 ? i : count - 1 - i) + round / 2;
      }
      Way& way = ways[at % count];
      way.nanoseconds.push_back(time_batch(way, operations_in_a_batch));
      settled.saw(at % count, way.nanoseconds.back(), round);
    }
  }
}

inline double least(const std::vector<double>& values) {
  return *std::min_element(values.begin(), values.end());
}

// One line of JSON for each way.
inline void print(const char* group, const std::vector<Way>& ways) {
  for (const Way& way : ways) {
    std::printf(R"({"group": "%s", "name": "%s", "min_ns": %.2f, "median_ns": %.2f, )", group,
                way.name.c_str(), least(way.nanoseconds), median(way.nanoseconds));
    std::printf(R"("ratio_of_rounds": %.4f, "batches": %zu)",
                ratio_of_rounds(way.nanoseconds, ways[0].nanoseconds), way.nanoseconds.size());
    if (!way.processors.empty()) {
      std::printf(R"(, "cpu_ns": %.0f, "cpu_ratio_of_rounds": %.4f)", least(way.processors),
                  ratio_of_rounds(way.processors, ways[0].processors));
    }
    std::printf("}\n");
  }
}

}  // namespace chronos::bench
