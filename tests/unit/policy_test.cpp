#include "core/policy.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "core/clock.hpp"
#include "core/grant_clamp.hpp"
#include "core/users.hpp"
#include "tests/unit/catch.hpp"
#include "tests/unit/sandbox.hpp"

using namespace chronos;

namespace {

constexpr std::uint64_t kGiB = 1ull << 30;
constexpr std::uint64_t kHour = 3600 * kNanosPerSecond;
constexpr uid_t kSomebody = 4'000'000;  // known to no system

// A root policy of our own, whoever runs the tests.
struct Files {
  chronos::test::TempFolder folder;
  PolicyPaths paths;

  explicit Files(const std::string& root, const std::string& own = {}) {
    paths.trusted_owner = ::geteuid();
    paths.root = folder.write("root.toml", root);
    ::chmod(paths.root.c_str(), 0644);
    if (own.empty()) return;
    paths.own = folder.write("own.toml", own);
    paths.own_is_named = true;
  }
  Policy load() const { return Policy::load(paths); }
};

Device gpu(int index = 0) {
  Device device;
  device.index = index;
  device.name = "GPU";
  device.key = "name:GPU " + std::to_string(index);
  device.total_bytes = 8 * kGiB;
  return device;
}

std::string refusal(const Policy& policy, uid_t owner, std::uint64_t bytes, std::uint64_t hours,
                    std::uint64_t other_bytes = 0, std::uint64_t others = 0, int device = 0) {
  const Device on = gpu(device);
  auto may = policy.may_have(owner, owner, {on, bytes, hours * kHour, other_bytes, others});
  if (may) return {};
  CHECK(may.error().code == ErrorCode::kPermission);
  return may.error().message;
}

Grant grant(uid_t owner, std::uint64_t limit, uid_t creator) {
  Grant made;
  made.owner = owner;
  made.creator = creator;
  made.device_key = gpu().key;
  made.device_name = "GPU";
  made.device_total_bytes = kMaxBytes;  // as a liar would have it
  made.birth_ns = boot_now();
  made.deadline_ns = made.latest_deadline_ns = made.birth_ns + 1000 * kHour;
  made.limit_bytes = made.most_bytes = limit;
  return made;
}

}  // namespace

TEST_CASE("without files everything is allowed", "[policy]") {
  PolicyPaths paths;
  paths.root = "/no/such/file";
  const Policy policy = Policy::load(paths);
  CHECK(policy.is_empty());
  CHECK(refusal(policy, kSomebody, kMaxBytes, 1'000'000, kMaxBytes, 1000).empty());
}

TEST_CASE("a limit refuses from just above it, with its line", "[policy]") {
  const Files files("[limits]\nmemory = '50%'\npartitions = 2\nduration = '8h'\n");
  const Policy policy = files.load();
  const std::string at = " (" + files.paths.root + ":";
  CHECK(refusal(policy, kSomebody, 3 * kGiB, 8, kGiB, 1).empty());
  CHECK(refusal(policy, kSomebody, 3 * kGiB + 1, 8, kGiB) ==
        "policy: at most 4 GiB of device 0 for 4000000, 1 GiB in use already" + at + "2)");
  CHECK(refusal(policy, kSomebody, kMaxBytes, 8, kMaxBytes).starts_with("policy: at most 4 GiB"));
  CHECK(refusal(policy, kSomebody, 1, 8, 0, 2) ==
        "policy: at most 2 partitions for 4000000" + at + "3)");
  CHECK(refusal(policy, kSomebody, 1, 9) == "policy: at most 8h for 4000000" + at + "4)");
  const Device device = gpu();
  CHECK(policy.may_have(0, kSomebody, {device, 8 * kGiB, 99 * kHour, 0, 9}));
}

TEST_CASE("a user's own section stands above the groups, and these above all", "[policy]") {
  const Files files(
      "[limits]\npartitions = 1\nduration = '1h'\nmemory = '1GiB'\n[groups.0]\npartitions = 5\n"
      "memory = '50%'\n[groups.root]\npartitions = 3\nmemory = '1GiB'\n[users.0]\nduration = "
      "'9h'\n");
  const Policy policy = files.load();
  const UserPolicy root = policy.for_user(0);
  REQUIRE(root.limits.size() == 1);
  CHECK(root.limits[0].partitions->value == 5);
  CHECK(root.limits[0].duration_ns->value == 9 * kHour);
  CHECK(root.limits[0].memory_on(8 * kGiB)->value == 4 * kGiB);
  CHECK(root.limits[0].memory_on(kGiB)->value == kGiB);
  const UserPolicy somebody = policy.for_user(kSomebody);
  CHECK(somebody.limits[0].partitions->value == 1);
  CHECK(somebody.limits[0].memory_on(8 * kGiB)->value == kGiB);
}

TEST_CASE("devices are closed to all and reserved for some", "[policy]") {
  const Files files("[devices.0]\nclosed = true\n[devices.1]\nreserved_users = ['4000000']\n");
  const Policy policy = files.load();
  CHECK(refusal(policy, kSomebody, 1, 1).starts_with("policy: device 0 is closed ("));
  CHECK(refusal(policy, 0, 1, 1).starts_with("policy: device 0 is closed ("));
  CHECK(refusal(policy, kSomebody, 1, 1, 0, 0, 1).empty());
  CHECK(refusal(policy, kSomebody + 1, 1, 1, 0, 0, 1)
            .starts_with("policy: device 1 is not for 4000001 ("));
  CHECK(refusal(policy, kSomebody + 1, 1, 1, 0, 0, 2).empty());
}

TEST_CASE("the own file narrows, and widens nothing", "[policy]") {
  const Files files(
      "unassigned = 'deny'\n[limits]\npartitions = 2\n[expiry]\non_expiry = 'terminate'\n"
      "grace = 10\nterminate_after = 5\n",
      "unassigned = 'allow'\n[limits]\npartitions = 9\nduration = '1h'\n[devices.2]\nclosed = "
      "true\n"
      "[expiry]\non_expiry = 'refuse'\ngrace = 5\nterminate_after = 10\nwarn_before = 1\n");
  const Policy policy = files.load();
  const UserPolicy mine = policy.for_caller();
  CHECK(mine.limits.size() == 2);
  CHECK(mine.unassigned.value == Unassigned::kDeny);
  CHECK(mine.expiry.action->value == ExpiryAction::kTerminate);
  CHECK(mine.expiry.grace_ns->value == 5 * kNanosPerSecond);
  CHECK(mine.expiry.terminate_after_ns->value == 5 * kNanosPerSecond);
  CHECK(mine.expiry.warn_before_ns->value == std::vector{kNanosPerSecond});
  CHECK(refusal(policy, kSomebody, 1, 1, 0, 2).starts_with("policy: at most 2 partitions"));
  CHECK(refusal(policy, kSomebody, 1, 2).ends_with("own.toml:4)"));
  CHECK(refusal(policy, kSomebody, 1, 1, 0, 0, 2).ends_with("own.toml:6)"));
  // Others know nothing of it.
  CHECK(policy.for_user(kSomebody).limits.size() == 1);
}

TEST_CASE("a policy that cannot be used denies", "[policy]") {
  Files files("limits = 1\n");
  auto denies = [&](const std::string& why) {
    const Policy policy = files.load();
    REQUIRE(policy.problem() != nullptr);
    INFO(policy.problem()->line());
    CHECK(policy.problem()->line().find(why) != std::string::npos);
    CHECK(policy.for_user(0).unassigned.value == Unassigned::kDeny);
    CHECK(refusal(policy, 0, 1, 1).starts_with("policy: " + files.paths.root));
  };
  denies("root.toml:1: limits is a whole number");
  files.folder.write("root.toml", "");
  CHECK(files.load().problem() == nullptr);
  ::chmod(files.paths.root.c_str(), 0646);
  denies("can be written by others");
  ::chmod(files.paths.root.c_str(), 0644);
  ::chmod(files.folder.path().c_str(), 0777);
  denies("its directory can be written by others");
  ::chmod(files.folder.path().c_str(), 0755);
  files.paths.trusted_owner = ::geteuid() + 1;
  denies("belongs to");
  files.paths.trusted_owner = ::geteuid();
  CHECK(files.load().problem() == nullptr);
  std::filesystem::remove(files.paths.root);
  ::mkfifo(files.paths.root.c_str(), 0644);
  denies("not a regular file");
}

TEST_CASE("the own file is where the environment says", "[policy]") {
  chronos::test::SetEnv config("CHRONOS_CONFIG", "/a/b");
  CHECK(PolicyPaths::of_this_process().own == "/a/b");
  CHECK(PolicyPaths::of_this_process().own_is_named);
  chronos::test::SetEnv none("CHRONOS_CONFIG", "");
  chronos::test::SetEnv home("HOME", "/home/user");
  chronos::test::SetEnv relative("XDG_CONFIG_HOME", "relative");
  CHECK(PolicyPaths::of_this_process().own == "/home/user/.config/chronos/config.toml");
  chronos::test::SetEnv folder("XDG_CONFIG_HOME", "/cfg");
  CHECK(PolicyPaths::of_this_process().own == "/cfg/chronos/config.toml");
  CHECK_FALSE(PolicyPaths::of_this_process().own_is_named);
}

TEST_CASE("grants count for what the policy lets their owner have", "[policy]") {
  const Files files(
      "[limits]\nmemory = '50%'\npartitions = 3\nduration = '1h'\n[devices.'GPU']\n"
      "reserved_users = ['4000000']\n");
  const Policy policy = files.load();
  GrantClamp clamp(policy, {gpu()});
  auto read = [&](Grant one, bool over = false, std::uint64_t used = 0) {
    clamp.clamp_deadline(one);
    clamp.clamp_bytes(one, over, used);
    CHECK(one.deadline_ns ==
          (one.creator == 0 ? one.birth_ns + 1000 * kHour : one.birth_ns + kHour));
    CHECK(one.most_bytes >= one.limit_bytes);
    return over ? used : one.limit_bytes;
  };
  // The size of the device is the inventory's word, not the grant's; the sum counts.
  CHECK(read(grant(kSomebody, 3 * kGiB, kSomebody)) == 3 * kGiB);
  CHECK(read(grant(kSomebody, 100 * kGiB, kSomebody), true, kGiB / 2) == kGiB / 2);
  CHECK(read(grant(kSomebody, kMaxBytes, kSomebody)) == kGiB / 2);
  CHECK(read(grant(kSomebody, 1, kSomebody)) == 0);
  CHECK(read(grant(kSomebody, kMaxBytes, kSomebody), true, kGiB) == 0);
  CHECK(read(grant(kSomebody, 7 * kGiB, 0)) == 7 * kGiB);
  CHECK(read(grant(kSomebody + 1, 1, kSomebody + 1)) == 0);

  const Files few("[limits]\npartitions = 1\n");
  const Policy one = few.load();
  GrantClamp first(one, {gpu()});
  std::uint64_t used = kGiB;
  Grant a = grant(kSomebody, kGiB, kSomebody);
  Grant b = a;
  first.clamp_bytes(a, false, used);
  first.clamp_bytes(b, false, used);
  CHECK(a.limit_bytes == kGiB);
  CHECK(b.limit_bytes == 0);
  CHECK(used == 0);
}
