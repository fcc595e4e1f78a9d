#include "tests/hostile/policy_checks.hpp"

#include <algorithm>
#include <fstream>

#include "core/grant_clamp.hpp"
#include "tests/hostile/scene.hpp"

namespace chronos::test {
namespace {

constexpr uid_t kUser = 1000;

void check_limits(const LimitSettings& limits) {
  if (limits.memory) {
    const MemoryAmount& memory = limits.memory->value;
    require(
        memory.bytes > 0 ? memory.bytes <= kMaxBytes : memory.fraction > 0 && memory.fraction <= 1,
        "an impossible limit of memory");
    require_line(limits.memory->where, "a limit that stands nowhere");
  }
  if (limits.duration_ns) {
    require(limits.duration_ns->value <= kMaxDurationSeconds * kNanosPerSecond,
            "more than 100 years");
  }
}

// As if its user had made it.
Grant own(Grant grant) {
  grant.owner = grant.creator = kUser;
  grant.device_key = gpu().key;
  return grant;
}

}  // namespace

Policy policy_of(std::string_view text) {
  static const std::string path = scene().state.path() + "/policy.toml";
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(text.data(), static_cast<std::streamsize>(text.size()));
  return try_policy(path);
}

void check_settings(const PolicyFile& policy) {
  check_limits(policy.everyone);
  for (const auto* named : {&policy.users, &policy.groups}) {
    for (const NamedLimits& one : *named) {
      require(!one.name.empty(), "limits of nobody");
      check_limits(one.limits);
    }
  }
  if (policy.expiry.warn_before_ns) {
    const auto& times = policy.expiry.warn_before_ns->value;
    require(std::is_sorted(times.rbegin(), times.rend()), "warnings out of order");
  }
}

void check_clamp(const Grant& grant, const Policy& policy, std::uint64_t most) {
  GrantClamp clamp(policy, {gpu()});
  const UserPolicy user = policy.for_user(kUser);
  std::uint64_t sum = 0;
  for (int i = 0; i < 3; ++i) {
    Grant clamped = own(grant);
    clamp.clamp_deadline(clamped);
    std::uint64_t used = kTotal;
    clamp.clamp_bytes(clamped, i == 1, used);
    require(clamped.limit_bytes <= grant.limit_bytes &&
                clamped.draining_bytes <= grant.draining_bytes &&
                clamped.deadline_ns <= grant.deadline_ns &&
                clamped.most_bytes <= grant.most_bytes &&
                clamped.latest_deadline_ns <= grant.latest_deadline_ns && used <= kTotal,
            "a policy that raises");
    sum += i == 1 ? used : std::max(clamped.limit_bytes, used);
    if (clamp.is_idle()) return;
    for (const UserLimits& limits : user.limits) {
      const auto bytes = limits.memory_on(kTotal);
      require(!bytes || sum <= bytes->value, "more than the policy gives");
    }
    require(sum <= most, "more than the device has");
  }
  // Whoever is admitted keeps what they were given.
  Grant asked = own(grant);
  const std::uint64_t duration = asked.deadline_ns - std::min(asked.birth_ns, asked.deadline_ns);
  if (asked.birth_ns > asked.deadline_ns || asked.limit_bytes > kTotal) return;
  const Device device = gpu();
  if (!policy.may_have(kUser, kUser, {device, asked.limit_bytes, duration, 0, 0})) return;
  GrantClamp fresh(policy, {device});
  std::uint64_t used = 0;
  Grant kept = asked;
  fresh.clamp_deadline(kept);
  fresh.clamp_bytes(kept, false, used);
  require(kept.limit_bytes == asked.limit_bytes && kept.deadline_ns == asked.deadline_ns,
          "(not what was admitted)");
}

}  // namespace chronos::test
