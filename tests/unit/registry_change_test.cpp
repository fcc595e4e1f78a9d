// Registry::extend and Registry::resize, and GrantWriter below them.
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <memory>
#include <string>
#include <vector>

#include "core/attachment.hpp"
#include "core/clock.hpp"
#include "core/grant_writer.hpp"
#include "core/registry.hpp"
#include "tests/unit/catch.hpp"
#include "tests/unit/temp_state.hpp"

using namespace chronos;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kSecond = kNanosPerSecond;

Device gpu() {
  Device device;
  device.key = "uuid:" + std::string(32, '7');
  device.name = "Test GPU";
  device.total_bytes = 1000 * kMiB;
  return device;
}

MemoryAmount mebibytes(std::uint64_t count) { return {0, count * kMiB}; }

PartitionInfo create(Registry& registry, std::uint64_t mib, std::string name = "p1",
                     std::uint64_t duration_ns = 3600 * kSecond) {
  CreateRequest request;
  request.device = gpu();
  request.memory = mebibytes(mib);
  request.duration_ns = duration_ns;
  request.name = std::move(name);
  auto made = registry.create(request);
  REQUIRE(made);
  return *made;
}

FileName grant_name(const PartitionInfo& partition) {
  FileName name{partition.owner, {}, FileKind::kGrant};
  REQUIRE(parse_token(partition.token, name.token));
  return name;
}

std::unique_ptr<Attachment> attach(Registry& registry, const PartitionInfo& partition) {
  auto grant = read_grant(registry.state(), grant_name(partition));
  REQUIRE(grant);
  auto attachment = Attachment::attach(registry.state(), *grant);
  REQUIRE(attachment);
  return std::move(*attachment);
}

std::uint64_t available(Registry& registry) {
  return Registry::use_of(gpu(), *registry.list()).available_bytes / kMiB;
}

}  // namespace

TEST_CASE("an extended partition ends later", "[registry][change]") {
  TempState state;
  auto registry = Registry::open();
  auto made = create(*registry, 10, "p1", 100 * kSecond);
  auto extended = registry->extend("p1", 50 * kSecond);
  REQUIRE(extended);
  CHECK(extended->duration_ns == 150 * kSecond);
  CHECK(extended->remaining_ns > 140 * kSecond);
  CHECK(extended->handle() == made.handle());
  CHECK(registry->extend(made.handle(), kSecond)->duration_ns == 151 * kSecond);
  auto listed = registry->list()->at(0);
  CHECK(listed.duration_ns == 151 * kSecond);
  CHECK(listed.limit_bytes == 10 * kMiB);
  CHECK(registry->extend("nosuch", kSecond).error().code == ErrorCode::kNotFound);
}

TEST_CASE("nothing lasts for more than a hundred years", "[registry][change]") {
  TempState state;
  auto registry = Registry::open();
  create(*registry, 10, "p1", 2 * kSecond);
  for (std::uint64_t bad :
       {std::uint64_t{0}, kMaxDurationSeconds * kSecond + 1, ~std::uint64_t{0}}) {
    CHECK(registry->extend("p1", bad).error().code == ErrorCode::kInvalid);
  }
  CHECK(registry->extend("p1", kMaxDurationSeconds * kSecond).error().code == ErrorCode::kInvalid);
  CHECK(registry->list()->at(0).duration_ns == 2 * kSecond);
  CHECK(registry->extend("p1", (kMaxDurationSeconds - 2) * kSecond));
}

TEST_CASE("what has ended is neither extended nor resized", "[registry][change]") {
  TempState state;
  auto registry = Registry::open();
  const bool by_release = GENERATE(true, false);
  auto made = create(*registry, 10, "p1", by_release ? 3600 * kSecond : kSecond / 5);
  auto place = attach(*registry, made);
  REQUIRE(place->charge(kMiB).admitted());  // so that it drains
  if (by_release) {
    REQUIRE(registry->release("p1"));
  } else {
    const std::uint64_t deadline = boot_now() + kSecond / 5;
    while (boot_now() < deadline) ::usleep(1000);
  }
  auto extended = registry->extend("p1", 3600 * kSecond);
  REQUIRE_FALSE(extended);
  CHECK(extended.error().code == ErrorCode::kExpired);
  CHECK(extended.error().message == "Partition p1 has already ended");
  CHECK(registry->resize("p1", mebibytes(20), false).error().code == ErrorCode::kExpired);
  CHECK_FALSE(place->charge(kMiB).admitted());
  CHECK(registry->list()->at(0).state == PartitionState::kDraining);
}

TEST_CASE("a running program sees a moved deadline at once", "[registry][change]") {
  TempState state;
  auto registry = Registry::open();
  auto made = create(*registry, 10, "p1", kSecond);
  auto place = attach(*registry, made);
  REQUIRE(place->charge(kMiB).admitted());
  const std::uint64_t first_deadline = boot_now() + kSecond;
  REQUIRE(registry->extend("p1", 3600 * kSecond));
  while (boot_now() < first_deadline) ::usleep(1000);
  CHECK(place->charge(kMiB).admitted());
}

TEST_CASE("a partition grows into what is free, and no further", "[registry][change]") {
  TempState state;
  auto registry = Registry::open();
  auto made = create(*registry, 100);
  create(*registry, 600, "other");
  auto place = attach(*registry, made);
  REQUIRE(place->charge(100 * kMiB).admitted());
  CHECK(place->charge(1).verdict == Verdict::kOverLimit);

  auto grown = registry->resize("p1", mebibytes(400), false);
  REQUIRE(grown);
  CHECK(grown->limit_bytes == 400 * kMiB);
  CHECK(grown->fraction == 0.4);
  CHECK(place->limit() == 400 * kMiB);
  CHECK(place->charge(300 * kMiB).admitted());
  CHECK(available(*registry) == 0);

  auto refused = registry->resize("p1", mebibytes(401), false);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::kNoCapacity);
  CHECK(refused.error().message == "Not enough available memory on device 0");
  CHECK(refused.error().hint.find("asked 401 MiB, available 400 MiB of 1000 MiB with its own 400 "
                                  "MiB") == 0);
  CHECK(registry->list()->at(0).limit_bytes == 400 * kMiB);
  CHECK(registry->resize("p1", MemoryAmount{0.4, 0}, false));  // as it is already
  CHECK(registry->resize("p1", MemoryAmount{1.0, 0}, false).error().code == ErrorCode::kNoCapacity);
  CHECK(registry->resize("p1", MemoryAmount{}, false).error().code == ErrorCode::kInvalid);
}

TEST_CASE("less than is held is refused with the numbers", "[registry][change]") {
  TempState state;
  auto registry = Registry::open();
  auto made = create(*registry, 100);
  auto place = attach(*registry, made);
  REQUIRE(place->charge(60 * kMiB).admitted());
  auto refused = registry->resize("p1", mebibytes(59), false);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::kInUse);
  CHECK(refused.error().message == "Partition p1 holds 60 MiB");
  CHECK(refused.error().hint.find("ask for at least 60MiB;") == 0);
  CHECK(place->limit() == 100 * kMiB);
  auto grant = read_grant(registry->state(), grant_name(made));
  CHECK(grant->draining_bytes == 0);

  CHECK(registry->resize("p1", mebibytes(60), false));
  CHECK(place->charge(1).verdict == Verdict::kOverLimit);
  CHECK(registry->list()->at(0).draining_bytes == 0);
  CHECK(available(*registry) == 940);

  place->credit(1);
  CHECK(registry->resize("p1", mebibytes(1), false)
            .error()
            .hint.find(std::to_string(60 * kMiB - 1) + "B;") != std::string::npos);
}

TEST_CASE("with drain the new limit holds at once, and what is held counts", "[registry][change]") {
  TempState state;
  auto registry = Registry::open();
  auto made = create(*registry, 500);
  auto place = attach(*registry, made);
  REQUIRE(place->charge(400 * kMiB).admitted());
  auto drained = registry->resize("p1", mebibytes(100), true);
  REQUIRE(drained);
  CHECK(drained->limit_bytes == 100 * kMiB);
  CHECK(drained->used_bytes == 400 * kMiB);
  CHECK(drained->draining_bytes == 300 * kMiB);
  CHECK(drained->state == PartitionState::kActive);
  CHECK(drained->fraction == 0.1);
  CHECK(drained->peak_bytes == 400 * kMiB);

  CHECK(available(*registry) == 600);
  const DeviceUse use = Registry::use_of(gpu(), *registry->list());
  CHECK(use.reserved_bytes == 100 * kMiB);
  CHECK(use.draining_bytes == 300 * kMiB);
  CreateRequest request;
  request.device = gpu();
  request.duration_ns = kSecond;
  request.memory = mebibytes(601);
  CHECK(registry->create(request).error().code == ErrorCode::kNoCapacity);

  CHECK(place->charge(1).verdict == Verdict::kOverLimit);
  place->credit(299 * kMiB);
  CHECK(place->charge(1).verdict == Verdict::kOverLimit);
  CHECK(available(*registry) == 899);
  create(*registry, 899, "other");

  // It may take back what it still holds, but no more than is free.
  CHECK(registry->resize("p1", mebibytes(101), false));
  CHECK(registry->resize("p1", mebibytes(102), false).error().code == ErrorCode::kNoCapacity);
  place->credit(2 * kMiB);
  CHECK(place->charge(2 * kMiB).admitted());
  CHECK(place->charge(1).verdict == Verdict::kOverLimit);
}

TEST_CASE("what has drained is forgotten by the next create", "[registry][change]") {
  TempState state;
  auto registry = Registry::open();
  auto made = create(*registry, 500);
  auto place = attach(*registry, made);
  REQUIRE(place->charge(400 * kMiB).admitted());
  REQUIRE(registry->resize("p1", mebibytes(100), true));
  auto draining = [&] { return read_grant(registry->state(), grant_name(made))->draining_bytes; };
  create(*registry, 10, "a");
  CHECK(draining() == 400 * kMiB);
  place->credit(400 * kMiB);
  create(*registry, 10, "b");
  CHECK(draining() == 0);
}

TEST_CASE("an ended partition that was draining counts all that it holds", "[registry][change]") {
  TempState state;
  auto registry = Registry::open();
  auto made = create(*registry, 500);
  auto place = attach(*registry, made);
  REQUIRE(place->charge(400 * kMiB).admitted());
  REQUIRE(registry->resize("p1", mebibytes(100), true));
  REQUIRE(registry->release("p1"));
  CHECK(available(*registry) == 600);
  CHECK(registry->list()->at(0).draining_bytes == 400 * kMiB);
}

TEST_CASE("a limit that moves under chargers is never passed", "[registry][change][processes]") {
  TempState state;
  auto registry = Registry::open();
  auto made = create(*registry, 64);
  std::vector<pid_t> children;
  for (int i = 0; i < 3; ++i) {
    pid_t pid = ::fork();
    if (pid == 0) {
      auto own = Registry::open();
      auto place = attach(*own, made);
      for (std::uint64_t n = 1;; n = n % 9 + 1) {
        if (place->charge(n * kMiB).admitted()) place->credit(n * kMiB);
      }
    }
    children.push_back(pid);
  }
  auto place = attach(*registry, made);
  unsigned stored = 0;
  for (int i = 0; i < 2000; ++i) {
    auto resized = registry->resize("p1", mebibytes(i % 2 == 0 ? 8 : 64), false);
    if (!resized) {
      // What was in flight stood in the way: the old limit stands.
      REQUIRE(resized.error().code == ErrorCode::kInUse);
      REQUIRE(place->limit() == 64 * kMiB);
      continue;
    }
    ++stored;
    REQUIRE(resized->limit_bytes == place->limit());
  }
  for (pid_t pid : children) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
  CHECK(stored > 0);
  CHECK(registry->list()->at(0).used_bytes == 0);
}

TEST_CASE("a grant's word changes in one step, or not at all", "[registry][change]") {
  TempState state;
  auto registry = Registry::open();
  auto made = create(*registry, 64);
  auto writer = GrantWriter::open(registry->state(), grant_name(made));
  REQUIRE(writer);
  auto second = GrantWriter::open(registry->state(), grant_name(made));
  REQUIRE(second->set_limit(5));
  auto late = writer->set_limit(7);  // knows an older value
  REQUIRE_FALSE(late);
  CHECK(late.error().code == ErrorCode::kSystem);
  CHECK(read_grant(registry->state(), grant_name(made))->limit_bytes == 5);
}

TEST_CASE("root changes another user's grant, whatever its owner does to it",
          "[registry][change][processes]") {
  if (::geteuid() != 0) {
    WARN("needs root: skipped");
    return;
  }
  constexpr uid_t kAlice = 4242;
  TempState state;
  REQUIRE(::chmod(state.path().c_str(), 01777) == 0);
  pid_t pid = ::fork();
  if (pid == 0) {
    if (::setresuid(kAlice, kAlice, kAlice) != 0) ::_exit(2);
    auto own = Registry::open();
    CreateRequest request;
    request.device = gpu();
    request.memory = mebibytes(64);
    request.duration_ns = 3600 * kSecond;
    request.name = "hers";
    ::_exit(own && own->create(request) ? 0 : 1);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  REQUIRE(status == 0);
  auto registry = Registry::open();
  auto hers = registry->find("hers");
  REQUIRE(hers);
  REQUIRE(registry->resize("hers", mebibytes(32), false));
  REQUIRE(registry->extend("hers", kSecond));
  CHECK(registry->find("hers")->limit_bytes == 32 * kMiB);
  CHECK(registry->find("hers")->duration_ns == 3601 * kSecond);
  CHECK(::waitpid(-1, nullptr, WNOHANG) == -1);  // no child is left behind

  auto writer = GrantWriter::open(registry->state(), grant_name(*hers));
  REQUIRE(writer);
  const std::string path = state.path() + "/" + grant_name(*hers).text();
  REQUIRE(::truncate(path.c_str(), 0) == 0);  // a store through our own mapping would kill us
  auto failed = writer->set_limit(1);
  REQUIRE_FALSE(failed);
  CHECK(failed.error().message == "the grant cannot be written");
  CHECK(registry->resize("hers", mebibytes(40), false).error().code == ErrorCode::kNotFound);
}

TEST_CASE("others can neither extend nor resize", "[registry][change][processes]") {
  if (::geteuid() != 0) {
    WARN("needs root: skipped");
    return;
  }
  constexpr uid_t kAlice = 4242;
  TempState state;
  REQUIRE(::chmod(state.path().c_str(), 01777) == 0);
  auto registry = Registry::open();
  create(*registry, 10, "roots");
  CreateRequest request;
  request.device = gpu();
  request.memory = mebibytes(64);
  request.duration_ns = 3600 * kSecond;
  request.owner = kAlice;
  request.name = "granted";
  REQUIRE(registry->create(request));
  pid_t pid = ::fork();
  if (pid == 0) {
    if (::setresuid(kAlice, kAlice, kAlice) != 0) ::_exit(2);
    auto own = Registry::open();
    auto denied = [&](const char* id, const char* message) {
      auto extended = own->extend(id, kSecond);
      auto resized = own->resize(id, mebibytes(1), true);
      return !extended && extended.error().code == ErrorCode::kPermission &&
             extended.error().message == message && !resized &&
             resized.error().code == ErrorCode::kPermission && resized.error().message == message;
    };
    const bool good = denied("roots", "Permission denied: partition owned by root") &&
                      denied("granted", "Permission denied: partition granted by root");
    ::_exit(good ? 0 : 1);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  CHECK(status == 0);
  CHECK(registry->find("granted")->limit_bytes == 64 * kMiB);
  CHECK(registry->find("granted")->duration_ns == 3600 * kSecond);
}
