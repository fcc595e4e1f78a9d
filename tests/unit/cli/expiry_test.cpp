#include "cli/expiry.hpp"

#include "catch.hpp"
#include "core/units.hpp"

using namespace chronos;
using namespace chronos::cli;

namespace {

constexpr std::uint64_t kStart = 1000 * kNanosPerSecond;
constexpr std::uint64_t kMinute = 60 * kNanosPerSecond;
using Lines = std::vector<std::string>;

// A partition whose standing the test decides.
struct Fake {
  explicit Fake(std::uint64_t seconds) : duration_ns(seconds * kNanosPerSecond) {
    standing = {Standing::Kind::kActive, duration_ns};
  }
  WatchedPartition watched(const std::string& id = "p1") {
    return {id, duration_ns, duration_ns, [this] {
              ++looks;
              return standing;
            }};
  }
  std::uint64_t duration_ns;
  Standing standing;
  int looks = 0;
};

ExpiryPolicy policy(OnExpiry action = OnExpiry::kRefuse) {
  ExpiryPolicy result;
  result.action = action;
  result.warn_before_ns = {5 * kMinute};
  result.grace_ns = 10 * kNanosPerSecond;
  return result;
}

}  // namespace

TEST_CASE("a partition's end is announced, then said once") {
  Fake p1(3600);
  Expiry expiry(policy(), {p1.watched()}, kStart);
  CHECK(expiry.advance(kStart, false).lines.empty());
  CHECK(expiry.next_ns() == kStart + 55 * kMinute);
  CHECK(expiry.advance(kStart + 55 * kMinute, false).lines ==
        Lines{"chronos: partition p1 ends in 5m"});
  CHECK(expiry.next_ns() == kStart + 60 * kMinute);
  CHECK(p1.looks == 0);  // nothing is asked before there is need
  p1.standing = {Standing::Kind::kReleased, 0};
  Expiry::Step end = expiry.advance(kStart + 60 * kMinute, false);
  CHECK(end.lines == Lines{"chronos: partition p1 has ended; new allocations are refused"});
  CHECK(end.act);
  CHECK(!expiry.next_ns());
  CHECK(expiry.advance(kStart + 61 * kMinute, true).lines.empty());
}

TEST_CASE("a short partition is not announced unless that was asked for") {
  Fake p1(600);
  Expiry quiet(policy(), {p1.watched()}, kStart);
  CHECK(quiet.next_ns() == kStart + 10 * kMinute);
  ExpiryPolicy asked = policy();
  asked.warn_if_short = true;
  Expiry loud(asked, {p1.watched()}, kStart);
  CHECK(loud.next_ns() == kStart + 5 * kMinute);
}

TEST_CASE("a program that joins near the end is told at once") {
  Fake p1(3600);
  WatchedPartition watched = p1.watched();
  watched.remaining_ns = 90 * kNanosPerSecond;
  Expiry expiry(policy(), {watched}, kStart);
  CHECK(expiry.advance(kStart, false).lines == Lines{"chronos: partition p1 ends in 1m 30s"});
}

TEST_CASE("each warning comes at its time, and those that were missed come as one") {
  Fake p1(3600);
  ExpiryPolicy rules = policy();
  rules.warn_before_ns = {30 * kMinute, 5 * kMinute, kMinute};
  Expiry expiry(rules, {p1.watched()}, kStart);
  // Half of the partition's time is no warning ahead of its end.
  CHECK(expiry.next_ns() == kStart + 55 * kMinute);
  rules.warn_if_short = true;
  Expiry asked(rules, {p1.watched()}, kStart);
  CHECK(asked.next_ns() == kStart + 30 * kMinute);
  CHECK(asked.advance(kStart + 30 * kMinute, false).lines ==
        Lines{"chronos: partition p1 ends in 30m"});
  CHECK(asked.next_ns() == kStart + 55 * kMinute);
  CHECK(asked.advance(kStart + 59 * kMinute + 1, false).lines ==
        Lines{"chronos: partition p1 ends in 1m"});
  CHECK(asked.next_ns() == kStart + 60 * kMinute);
  p1.standing = {Standing::Kind::kActive, 10 * kMinute};  // extended
  CHECK(asked.advance(kStart + 60 * kMinute, false).lines.empty());
  CHECK(asked.next_ns() == kStart + 65 * kMinute);
  CHECK(asked.advance(kStart + 65 * kMinute, false).lines ==
        Lines{"chronos: partition p1 ends in 5m"});
  CHECK(asked.next_ns() == kStart + 69 * kMinute);
}

TEST_CASE("SIGTERM may come a set time after the end") {
  Fake p1(60), p2(90);
  ExpiryPolicy rules = policy(OnExpiry::kTerminate);
  rules.terminate_after_ns = 45 * kNanosPerSecond;
  Expiry expiry(rules, {p1.watched("p1"), p2.watched("p2")}, kStart);
  CHECK(expiry.action_ns() == kStart + 105 * kNanosPerSecond);
  p1.standing.kind = Standing::Kind::kEnded;
  Expiry::Step end = expiry.advance(kStart + 60 * kNanosPerSecond + 5, false);
  CHECK_FALSE(end.act);
  CHECK(end.lines == Lines{"chronos: partition p1 has ended; new allocations are refused, and in "
                           "45s the program is told to end (SIGTERM, then SIGKILL after 10s)"});
  // After the end, not after it was seen.
  CHECK(expiry.action_ns() == kStart + 105 * kNanosPerSecond);
  CHECK(expiry.next_ns() == kStart + 90 * kNanosPerSecond);
  p2.standing.kind = Standing::Kind::kEnded;
  Expiry::Step other = expiry.advance(kStart + 90 * kNanosPerSecond, false);
  CHECK_FALSE(other.act);
  CHECK(other.lines == Lines{"chronos: partition p2 has ended; new allocations are refused"});
  CHECK(expiry.next_ns() == kStart + 105 * kNanosPerSecond);
  CHECK_FALSE(expiry.advance(kStart + 105 * kNanosPerSecond - 1, true).act);
  Expiry::Step act = expiry.advance(kStart + 105 * kNanosPerSecond, false);
  CHECK(act.act);
  CHECK(act.lines ==
        Lines{"chronos: the program is told to end (SIGTERM, then SIGKILL after 10s)"});
  CHECK_FALSE(expiry.action_ns());
  CHECK_FALSE(expiry.next_ns());
  CHECK_FALSE(expiry.advance(kStart + 300 * kNanosPerSecond, true).act);
}

TEST_CASE("a release starts the time to SIGTERM; only terminate waits") {
  Fake p1(3600);
  ExpiryPolicy rules = policy(GENERATE(OnExpiry::kTerminate, OnExpiry::kKill));
  rules.terminate_after_ns = kMinute;
  Expiry expiry(rules, {p1.watched()}, kStart);
  p1.standing = {Standing::Kind::kReleased, 0};
  CHECK(expiry.advance(kStart + kMinute, true).act == (rules.action == OnExpiry::kKill));
  CHECK(expiry.advance(kStart + 2 * kMinute, false).act == (rules.action != OnExpiry::kKill));
}

TEST_CASE("what was extended goes on, and is announced again") {
  Fake p1(3600);
  Expiry expiry(policy(OnExpiry::kKill), {p1.watched()}, kStart);
  expiry.advance(kStart + 55 * kMinute, false);
  p1.standing = {Standing::Kind::kActive, 30 * kMinute};
  Expiry::Step step = expiry.advance(kStart + 60 * kMinute, false);
  CHECK(step.lines.empty());
  CHECK_FALSE(step.act);
  CHECK(expiry.action_ns() == kStart + 90 * kMinute);
  CHECK(expiry.next_ns() == kStart + 85 * kMinute);
}

TEST_CASE("an early release is seen at the next look") {
  Fake p1(3600);
  Expiry expiry(policy(OnExpiry::kTerminate), {p1.watched()}, kStart);
  CHECK_FALSE(expiry.advance(kStart + kMinute, true).act);
  p1.standing = {Standing::Kind::kReleased, 0};
  Expiry::Step step = expiry.advance(kStart + 2 * kMinute, true);
  CHECK(step.act);
  CHECK(step.lines == Lines{"chronos: partition p1 was released; the program is told to end "
                            "(SIGTERM, then SIGKILL after 10s)"});
  CHECK(!expiry.action_ns());
}

TEST_CASE("when nobody can tell, the deadline that was known counts") {
  Fake p1(60);
  p1.standing = {Standing::Kind::kUnknown, 0};
  Expiry expiry(policy(OnExpiry::kKill), {p1.watched()}, kStart);
  CHECK_FALSE(expiry.advance(kStart + 59 * kNanosPerSecond, true).act);
  CHECK(expiry.advance(kStart + 60 * kNanosPerSecond, false).act);
}

TEST_CASE("named partitions end the program with the first, one's own with the last") {
  Fake p1(60), p2(120);
  bool with_last = GENERATE(false, true);
  ExpiryPolicy rules = policy(OnExpiry::kKill);
  rules.end_with_last = with_last;
  Expiry expiry(rules, {p1.watched("p1"), p2.watched("p2")}, kStart);
  CHECK(expiry.action_ns() == kStart + (with_last ? 120 : 60) * kNanosPerSecond);
  p1.standing.kind = Standing::Kind::kEnded;
  Expiry::Step first = expiry.advance(kStart + 60 * kNanosPerSecond, false);
  CHECK(first.act == !with_last);
  CHECK(first.lines.size() == 1);
  p2.standing.kind = Standing::Kind::kEnded;
  Expiry::Step second = expiry.advance(kStart + 120 * kNanosPerSecond, false);
  CHECK(second.act == with_last);
}
