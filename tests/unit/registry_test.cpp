#include "core/registry.hpp"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <vector>

#include "core/clock.hpp"
#include "core/partition_files.hpp"
#include "tests/unit/catch.hpp"
#include "tests/unit/temp_state.hpp"

using namespace chronos;

namespace {

constexpr std::uint64_t kGiB = 1ull << 30;

Device gpu(int index = 0, std::uint64_t total = 10 * kGiB) {
  Device device;
  device.index = index;
  device.key = "uuid:" + std::string(32, static_cast<char>('0' + index));
  device.name = "Test GPU";
  device.total_bytes = total;
  return device;
}

CreateRequest ask(double fraction, std::string name = {}, std::uint64_t seconds = 3600) {
  CreateRequest request;
  request.device = gpu();
  request.memory.fraction = fraction;
  request.duration_ns = seconds * kNanosPerSecond;
  request.name = std::move(name);
  return request;
}

}  // namespace

TEST_CASE("a partition is seen by another registry, and released", "[registry]") {
  TempState state;
  auto a = Registry::open();
  auto b = Registry::open();
  REQUIRE(a);
  REQUIRE(b);
  auto made = a->create(ask(0.5));
  REQUIRE(made);
  CHECK(made->id == "partition_0001");
  CHECK(made->limit_bytes == 5 * kGiB);
  CHECK(made->owner == ::geteuid());
  CHECK(made->pid == ::getpid());

  auto listed = b->list();
  REQUIRE(listed);
  REQUIRE(listed->size() == 1);
  CHECK(listed->front().handle() == made->handle());
  CHECK(listed->front().remaining_ns > 3590 * kNanosPerSecond);
  CHECK(Registry::use_of(gpu(), *listed).available_percent(10 * kGiB) == Approx(50));

  CHECK(b->find("partition_0001"));
  CHECK(b->find(made->handle()));
  CHECK(b->release("partition_0001"));
  CHECK(a->list()->empty());
  auto again = a->release("partition_0001");
  REQUIRE_FALSE(again);
  CHECK(again.error().code == ErrorCode::kNotFound);
  CHECK(again.error().message == "Partition not found or already released: partition_0001");
  CHECK(state.count(".grant") + state.count(".ledger") == 0);
}

TEST_CASE("numbers are not used again", "[registry]") {
  TempState state;
  auto registry = Registry::open();
  REQUIRE(registry);
  CHECK(registry->create(ask(0.1))->id == "partition_0001");
  CHECK(registry->create(ask(0.1))->id == "partition_0002");
  REQUIRE(registry->release("partition_0002"));
  REQUIRE(registry->release("partition_0001"));
  CHECK(registry->create(ask(0.1))->id == "partition_0003");
  CHECK(state.count(".counter") == 1);
}

TEST_CASE("names", "[registry]") {
  TempState state;
  auto registry = Registry::open();
  REQUIRE(registry);
  auto made = registry->create(ask(0.1, "p1"));
  REQUIRE(made);
  CHECK(made->id == "p1");
  auto twice = registry->create(ask(0.1, "p1"));
  REQUIRE_FALSE(twice);
  CHECK(twice.error().code == ErrorCode::kNameInUse);
  CHECK(registry->find("p1"));
  CHECK(registry->find("partition_0001"));
  CHECK(registry->release("p1"));
  CHECK(registry->create(ask(0.1, "p1")));

  for (const char* bad : {"a/b", "..", "-x", "a b", "a\nb", "partition_7", "p@1", "é", ".x"}) {
    auto refused = registry->create(ask(0.1, bad));
    INFO(bad);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ErrorCode::kInvalid);
    CHECK(refused.error().message.find('\n') == std::string::npos);
  }
  CHECK_FALSE(check_name(std::string(64, 'a')));
  CHECK(check_name(std::string(63, 'a')));
  CHECK(check_name("partition_x"));
}

TEST_CASE("what is not there cannot be given", "[registry]") {
  TempState state;
  auto registry = Registry::open();
  REQUIRE(registry);
  for (int i = 0; i < 3; ++i) REQUIRE(registry->create(ask(0.3)));
  auto refused = registry->create(ask(0.3));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ErrorCode::kNoCapacity);
  CHECK(refused.error().message == "Not enough available memory on device 0");
  CHECK(registry->create(ask(0.1)));  // shares that sum to one always fit

  CreateRequest other = ask(1.0);
  other.device = gpu(1);
  CHECK(registry->create(other));  // devices are apart

  CreateRequest absolute = ask(0);
  absolute.memory.bytes = 11 * kGiB;
  CHECK(registry->create(absolute).error().code == ErrorCode::kNoCapacity);
}

TEST_CASE("a partition ends by itself", "[registry]") {
  TempState state;
  auto registry = Registry::open();
  REQUIRE(registry);
  CreateRequest brief = ask(1.0);
  brief.duration_ns = 30'000'000;
  auto made = registry->create(brief);
  REQUIRE(made);
  const std::uint64_t deadline = boot_now() + brief.duration_ns;
  while (boot_now() < deadline) ::usleep(1000);
  CHECK(registry->list()->empty());
  CHECK(state.count(".grant") + state.count(".ledger") == 0);
  CHECK(registry->create(ask(1.0)));
}

TEST_CASE("durations out of range are refused", "[registry]") {
  TempState state;
  auto registry = Registry::open();
  REQUIRE(registry);
  CHECK(registry->create(ask(0.1, "", 0)).error().code == ErrorCode::kInvalid);
  CHECK(registry->create(ask(0.1, "", kMaxDurationSeconds + 1)).error().code ==
        ErrorCode::kInvalid);
  CHECK(registry->create(ask(0.1, "", kMaxDurationSeconds)));
  CHECK(registry->create(ask(0)).error().code == ErrorCode::kInvalid);
}

TEST_CASE("simultaneous creates never overbook", "[registry][processes]") {
  TempState state;
  std::vector<pid_t> children;
  for (int i = 0; i < 32; ++i) {
    pid_t pid = ::fork();
    if (pid == 0) {
      auto registry = Registry::open();
      auto made = registry ? registry->create(ask(0.3)) : fail(ErrorCode::kSystem, "");
      ::_exit(made ? 0 : made.error().code == ErrorCode::kNoCapacity ? 3 : 1);
    }
    children.push_back(pid);
  }
  int made = 0;
  int refused = 0;
  for (pid_t pid : children) {
    int status = 0;
    ::waitpid(pid, &status, 0);
    made += WEXITSTATUS(status) == 0;
    refused += WEXITSTATUS(status) == 3;
  }
  CHECK(made == 3);
  CHECK(refused == 29);
  auto registry = Registry::open();
  CHECK(registry->list()->size() == 3);
}

TEST_CASE("damaged files of one's own are ignored, and named", "[registry]") {
  TempState state;
  auto registry = Registry::open();
  REQUIRE(registry);
  auto made = registry->create(ask(0.5));
  REQUIRE(made);
  const std::string base =
      state.path() + "/chronos." + std::to_string(::geteuid()) + "." + made->token;
  SECTION("a truncated grant") { REQUIRE(::truncate((base + ".grant").c_str(), 100) == 0); }
  SECTION("a garbled grant") {
    std::fstream file(base + ".grant", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(70);
    file << "garbage";
  }
  SECTION("an empty grant") { REQUIRE(::truncate((base + ".grant").c_str(), 0) == 0); }
  auto listed = registry->list();
  REQUIRE(listed);
  CHECK(listed->empty());
  REQUIRE(registry->warnings().size() == 1);
  CHECK(registry->warnings().front().find(made->token) != std::string::npos);
}

TEST_CASE("a partition whose ledger is damaged still counts", "[registry]") {
  TempState state;
  auto registry = Registry::open();
  REQUIRE(registry);
  auto made = registry->create(ask(0.5));
  REQUIRE(made);
  const std::string ledger =
      state.path() + "/chronos." + std::to_string(::geteuid()) + "." + made->token + ".ledger";
  SECTION("truncated") { REQUIRE(::truncate(ledger.c_str(), 4096) == 0); }
  SECTION("gone") { REQUIRE(::unlink(ledger.c_str()) == 0); }
  auto listed = registry->list();
  REQUIRE(listed);
  REQUIRE(listed->size() == 1);
  CHECK(Registry::use_of(gpu(), *listed).available_bytes == 5 * kGiB);
  CHECK(registry->warnings().size() == 1);
}

// As many as take several threads to look at.
TEST_CASE("of many partitions none is missing, in the order of their making", "[registry]") {
  constexpr std::uint64_t kMany = 1500;
  TempState state;
  auto registry = Registry::open();
  REQUIRE(registry);
  auto first = registry->create(ask(0.0001));
  REQUIRE(first);
  FileName name{first->owner, {}, FileKind::kGrant};
  REQUIRE(parse_token(first->token, name.token));
  GrantLayout layout{};
  {
    uid_t owner = 0;
    off_t size = 0;
    auto fd = open_file(registry->state(), name, O_RDONLY, owner, size);
    REQUIRE(fd);
    REQUIRE(::pread(fd->get(), static_cast<void*>(&layout), sizeof layout, 0) ==
            static_cast<ssize_t>(sizeof layout));
  }
  for (std::uint64_t number = 2; number <= kMany; ++number) {
    layout.number = number;
    layout.token = name.token = grant_token(TokenTags::of(layout.device_key, number, layout.name));
    layout.checksum = layout.compute_checksum();
    if (number % 500 == 0) layout.checksum += 1;
    REQUIRE(make_partition(registry->state(), name, layout));
  }
  auto listed = registry->list();
  REQUIRE(listed);
  std::uint64_t expected = 0;
  for (const PartitionInfo& partition : *listed) {
    if (++expected % 500 == 0) ++expected;
    if (partition.number != expected) FAIL(partition.number << " instead of " << expected);
  }
  CHECK(expected == kMany - 1);
  CHECK(registry->warnings().size() == kMany / 500);
}

TEST_CASE("a half-made partition is swept up", "[registry]") {
  TempState state;
  auto registry = Registry::open();
  REQUIRE(registry);
  auto made = registry->create(ask(0.5));
  REQUIRE(made);
  const std::string base =
      state.path() + "/chronos." + std::to_string(::geteuid()) + "." + made->token;
  REQUIRE(::unlink((base + ".grant").c_str()) == 0);  // as if killed between the two files
  CHECK(registry->list()->empty());
  REQUIRE(registry->create(ask(1.0)));
  CHECK(state.count(".ledger") == 1);
}

TEST_CASE("a held partition ends with its holder", "[registry][processes]") {
  TempState state;
  auto registry = Registry::open();
  REQUIRE(registry);
  pid_t pid = ::fork();
  if (pid == 0) {
    CreateRequest held = ask(1.0);
    held.held = true;
    auto own = Registry::open();
    ::_exit(own && own->create(held) && own->list()->size() == 1 ? 0 : 1);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  CHECK(status == 0);
  CHECK(registry->list()->empty());
  CHECK(registry->create(ask(1.0)));
}

TEST_CASE("a file has one name", "[registry]") {
  const std::string rest = "." + std::string(32, 'a') + ".grant";
  CHECK(FileName::parse("chronos.0" + rest));
  CHECK(FileName::parse("chronos.1000" + rest));
  CHECK_FALSE(FileName::parse("chronos.00" + rest));
  CHECK_FALSE(FileName::parse("chronos.01000" + rest));
  CHECK_FALSE(FileName::parse("chronos." + rest));
  CHECK_FALSE(FileName::parse("chronos.-1" + rest));
}
