#include "core/line.hpp"

#include <string>
#include <vector>

#include "tests/unit/catch.hpp"

using namespace chronos;

namespace {

constexpr std::uint64_t kHour = 3600;

// Four devices of 10, at noon.
Outlook four() {
  Outlook outlook(1000);
  for (const char* key : {"a", "b", "c", "d"}) outlook.add_device(key, 10);
  return outlook;
}

Claim claim(std::size_t count, std::vector<std::string> keys, std::uint64_t bytes,
            std::uint64_t duration = kHour) {
  Claim one{{}, count, duration};
  for (std::string& key : keys) one.wishes.push_back({std::move(key), bytes});
  return one;
}

Turn turn(const Outlook& outlook, const Claim& one, const std::vector<Claim>& ahead = {},
          Choice choice = Choice::kBestFit) {
  return turn_of(outlook, one, choice, ahead);
}

}  // namespace

TEST_CASE("which of several devices are taken", "[line]") {
  Outlook outlook = four();
  outlook.take("a", 2, 2000);
  outlook.take("b", 5, 2000);
  outlook.take("c", 9, 2000);
  const Claim one = claim(1, {"a", "b", "c", "d"}, 4);
  CHECK(turn(outlook, one).chosen == std::vector<std::size_t>{1});
  CHECK(turn(outlook, one, {}, Choice::kMostFree).chosen == std::vector<std::size_t>{3});
  CHECK(turn(outlook, one, {}, Choice::kInOrder).chosen == std::vector<std::size_t>{0});
  const Turn all = turn(outlook, claim(4, {"a", "b", "c", "d"}, 4));
  CHECK(all.chosen.size() == 3);
  CHECK(all.with_room == 3);
  CHECK(!all.behind);
  CHECK(turn(outlook, claim(2, {"x", "a"}, 1)).chosen.size() == 1);
}

TEST_CASE("who waits for one device is not overtaken there", "[line]") {
  Outlook outlook = four();
  outlook.take("a", 6, 1000 + 10 * kHour);
  const std::vector<Claim> ahead{claim(1, {"b"}, 10), claim(1, {"a"}, 8)};
  // Not even for a moment, and though there is room.
  const Turn behind = turn(outlook, claim(1, {"a"}, 1, 1), ahead);
  CHECK(behind.chosen.empty());
  CHECK(behind.behind == 1);
  CHECK(turn(outlook, claim(1, {"c"}, 10), ahead).chosen.size() == 1);
  // Of several devices those are left that nobody waits for.
  CHECK(turn(outlook, claim(2, {"a", "b", "c", "d"}, 1), ahead).chosen ==
        std::vector<std::size_t>{2, 3});
  CHECK(turn(outlook, claim(3, {"a", "b", "c", "d"}, 1), ahead).behind == 0);
}

TEST_CASE("who waits for several devices holds a place on all", "[line]") {
  Outlook outlook = four();
  for (const char* key : {"a", "b", "c"}) outlook.take(key, 10, 1000 + kHour);
  const std::vector<Claim> ahead{claim(2, {"a", "b", "c", "d"}, 10)};
  // It can begin in an hour, on d and another.
  CHECK(outlook.start_of(ahead.front()) == 1000 + kHour);
  CHECK(turn(outlook, claim(1, {"d"}, 10, kHour + 1), ahead).chosen.size() == 1);
  // Were there no other that is free by then, d would be lent for as long as that.
  outlook.take("a", 10, 1000 + 5 * kHour);
  outlook.take("b", 10, 1000 + 5 * kHour);
  CHECK(turn(outlook, claim(1, {"d"}, 10, kHour), ahead).chosen.size() == 1);
  CHECK(turn(outlook, claim(1, {"d"}, 10, kHour + 1), ahead).behind == 0);
  CHECK(turn(outlook, claim(1, {"d"}, 1, kHour + 1), ahead).behind == 0);
}

TEST_CASE("what several would take together must not keep anybody waiting", "[line]") {
  const std::vector<Claim> ahead{claim(1, {"a", "b"}, 10)};
  // One of the two can be spared, not both.
  CHECK(turn(four(), claim(1, {"a", "b"}, 10), ahead).chosen.size() == 1);
  const Turn both = turn(four(), claim(2, {"a", "b"}, 10), ahead);
  CHECK(both.chosen.size() == 1);
  CHECK(both.behind == 0);
}

TEST_CASE("what drains may be back at any moment", "[line]") {
  Outlook outlook = four();
  outlook.drain("a", 10);
  CHECK(outlook.room("a") == 0);
  const std::vector<Claim> ahead{claim(2, {"a", "b"}, 10)};
  CHECK(outlook.start_of(ahead.front()) == 1000);
  CHECK(turn(outlook, ahead.front()).chosen.size() == 1);
  CHECK(turn(outlook, claim(1, {"b"}, 10, 1), ahead).behind == 0);
}

TEST_CASE("who wants what is not there is in nobody's way", "[line]") {
  const std::vector<Claim> ahead{Claim{}, claim(2, {"x", "y"}, 1)};
  CHECK(turn(four(), claim(4, {"a", "b", "c", "d"}, 10), ahead).chosen.size() == 4);
}

// Requests of one second for one device each come all the time; one for two whole devices waits.
TEST_CASE("a stream of small requests starves nobody", "[line]") {
  struct Job {
    std::string key;
    std::uint64_t until;
  };
  std::vector<Job> running;
  const Claim large = claim(2, {"a", "b", "c", "d"}, 10);
  std::uint64_t served_at = 0;
  for (std::uint64_t now = 1000; now < 1100 && served_at == 0; ++now) {
    std::erase_if(running, [&](const Job& job) { return job.until <= now; });
    auto look = [&] {
      Outlook outlook(now);
      for (const char* key : {"a", "b", "c", "d"}) outlook.add_device(key, 10);
      for (const Job& job : running) outlook.take(job.key, 10, job.until);
      return outlook;
    };
    const bool waits = now >= 1010;
    if (waits && turn(look(), large).chosen.size() == 2) served_at = now;
    // As many as find room, each for longer than the last.
    for (std::uint64_t more = 0; more < 4; ++more) {
      const Claim small = claim(1, {"a", "b", "c", "d"}, 10, 5 + (now + more) % 7);
      const Turn got =
          turn(look(), small, waits ? std::vector<Claim>{large} : std::vector<Claim>{});
      if (got.chosen.empty()) break;
      running.push_back({small.wishes[got.chosen.front()].device_key, now + small.duration_ns});
    }
  }
  // All that ran when it came are over 11 later, at the latest.
  CHECK(served_at >= 1010);
  CHECK(served_at <= 1021);
}
