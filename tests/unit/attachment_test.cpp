#include "core/attachment.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <vector>

#include "core/partition_files.hpp"
#include "core/registry.hpp"
#include "tests/unit/catch.hpp"
#include "tests/unit/temp_state.hpp"

using namespace chronos;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

PartitionInfo create(Registry& registry, std::uint64_t bytes) {
  CreateRequest request;
  request.device.key = "uuid:test";
  request.device.name = "Test GPU";
  request.device.total_bytes = 1 << 30;
  request.memory.bytes = bytes;
  request.duration_ns = 3600 * kNanosPerSecond;
  auto made = registry.create(request);
  REQUIRE(made);
  return *made;
}

Grant grant_of(Registry& registry, const PartitionInfo& partition) {
  FileName name{partition.owner, {}, FileKind::kGrant};
  REQUIRE(parse_token(partition.token, name.token));
  auto grant = read_grant(registry.state(), name);
  REQUIRE(grant);
  return *grant;
}

std::unique_ptr<Attachment> attach(Registry& registry, const PartitionInfo& partition) {
  auto attachment = Attachment::attach(registry.state(), grant_of(registry, partition));
  REQUIRE(attachment);
  return std::move(*attachment);
}

std::uint64_t used(Registry& registry) { return registry.list()->at(0).used_bytes; }

// Runs `body` in a forked child that then waits to be killed; returns when it has run.
template <class Body>
pid_t child_that(Body body) {
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  pid_t pid = ::fork();
  if (pid == 0) {
    char byte = body() ? 'y' : 'n';
    if (::write(ready[1], &byte, 1) != 1) ::_exit(2);
    for (;;) ::pause();
  }
  char byte = 0;
  REQUIRE(::read(ready[0], &byte, 1) == 1);
  ::close(ready[0]);
  ::close(ready[1]);
  CHECK(byte == 'y');
  return pid;
}

void kill_and_wait(pid_t pid) {
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
}

}  // namespace

TEST_CASE("a charge is seen by list and comes back", "[attachment]") {
  TempState state;
  auto registry = Registry::open();
  auto partition = create(*registry, 10 * kMiB);
  auto place = attach(*registry, partition);
  CHECK(place->sharers() == 0);
  REQUIRE(place->charge(6 * kMiB).admitted());
  CHECK(place->sharers() == 1);
  CHECK(used(*registry) == 6 * kMiB);
  auto listed = registry->list();
  REQUIRE(listed->at(0).processes.size() == 1);
  CHECK(listed->at(0).processes[0].pid == ::getpid());
  CHECK(place->charge(5 * kMiB).verdict == Verdict::kOverLimit);
  place->credit(6 * kMiB);
  CHECK(used(*registry) == 0);
  CHECK(registry->list()->at(0).peak_bytes == 6 * kMiB);
}

TEST_CASE("two processes share a limit, and the dead free theirs", "[attachment][processes]") {
  TempState state;
  auto registry = Registry::open();
  auto partition = create(*registry, 10 * kMiB);
  auto place = attach(*registry, partition);
  pid_t pid = child_that([&] {
    auto own = Registry::open();
    return attach(*own, partition).release()->charge(8 * kMiB).admitted();
  });
  CHECK(used(*registry) == 8 * kMiB);
  CHECK(place->charge(3 * kMiB).verdict == Verdict::kOverLimit);
  CHECK(place->charge(2 * kMiB).admitted());

  ::kill(pid, SIGSTOP);  // a stopped process keeps what it holds, and nobody waits for it
  CHECK(place->charge(3 * kMiB).verdict == Verdict::kOverLimit);
  kill_and_wait(pid);
  CHECK(used(*registry) == 2 * kMiB);
  CHECK(place->charge(8 * kMiB).admitted());
}

TEST_CASE("a forked child starts at zero", "[attachment][processes]") {
  TempState state;
  auto registry = Registry::open();
  auto partition = create(*registry, 10 * kMiB);
  auto place = attach(*registry, partition);
  REQUIRE(place->charge(4 * kMiB).admitted());
  pid_t pid = child_that([&] {
    place->after_fork();
    place->credit(4 * kMiB);  // the parent's: nothing happens
    return place->charge(5 * kMiB).admitted() && !place->charge(2 * kMiB).admitted();
  });
  CHECK(used(*registry) == 9 * kMiB);
  kill_and_wait(pid);
  CHECK(used(*registry) == 4 * kMiB);
  CHECK(place->charge(6 * kMiB).admitted());
}

TEST_CASE("a dead parent's bytes are free while its child lives", "[attachment][processes]") {
  TempState state;
  auto registry = Registry::open();
  auto partition = create(*registry, 10 * kMiB);
  auto place = attach(*registry, partition);
  int grandchild[2];
  REQUIRE(::pipe(grandchild) == 0);
  pid_t pid = child_that([&] {
    auto own = Registry::open();
    auto theirs = attach(*own, partition).release();
    if (!theirs->charge(8 * kMiB).admitted()) return false;
    pid_t inner = ::fork();  // keeps the lock's descriptor, as after a raw clone
    if (inner == 0) {
      for (;;) ::pause();
    }
    return ::write(grandchild[1], &inner, sizeof inner) == sizeof inner;
  });
  pid_t inner = 0;
  REQUIRE(::read(grandchild[0], &inner, sizeof inner) == sizeof inner);
  kill_and_wait(pid);
  CHECK(place->charge(10 * kMiB).admitted());
  ::kill(inner, SIGKILL);
  ::close(grandchild[0]);
  ::close(grandchild[1]);
}

TEST_CASE("lost descriptors do not make a process dead", "[attachment][processes]") {
  TempState state;
  auto registry = Registry::open();
  auto partition = create(*registry, 10 * kMiB);
  auto place = attach(*registry, partition);
  pid_t pid = child_that([&] {
    auto own = Registry::open();
    auto theirs = attach(*own, partition).release();
    bool ok = theirs->charge(8 * kMiB).admitted();
    for (int fd = 3; fd < 30; ++fd) {
      if (::fcntl(fd, F_GETFD) >= 0 && (::fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR) ::close(fd);
    }
    return ok && theirs->charge(1 * kMiB).admitted();
  });
  CHECK(place->charge(2 * kMiB).verdict == Verdict::kOverLimit);
  CHECK(used(*registry) == 9 * kMiB);
  kill_and_wait(pid);
  CHECK(place->charge(10 * kMiB).admitted());
}

TEST_CASE("release is seen at the next charge, and what is held drains", "[attachment]") {
  TempState state;
  auto registry = Registry::open();
  auto partition = create(*registry, 10 * kMiB);
  auto place = attach(*registry, partition);
  REQUIRE(place->charge(6 * kMiB).admitted());
  auto ended = registry->release(partition.id);
  REQUIRE(ended);
  CHECK(ended->state == PartitionState::kDraining);
  CHECK(place->charge(1).verdict == Verdict::kEnded);
  auto listed = registry->list();
  REQUIRE(listed->size() == 1);
  CHECK(listed->front().state == PartitionState::kDraining);
  Device device;
  device.key = "uuid:test";
  device.total_bytes = 1 << 30;
  CHECK(Registry::use_of(device, *listed).available_bytes == (1 << 30) - 6 * kMiB);
  CHECK_FALSE(registry->release(partition.id));
  place->credit(6 * kMiB);
  CHECK(registry->list()->empty());
  CHECK(state.count(".grant") + state.count(".ledger") == 0);
  CHECK(place->charge(1).verdict == Verdict::kEnded);
}

TEST_CASE("a full partition says so", "[attachment]") {
  TempState state;
  auto registry = Registry::open();
  auto partition = create(*registry, 10 * kMiB);
  auto place = attach(*registry, partition);
  {
    UniqueFd fd(::open((state.path() + "/chronos." + std::to_string(::geteuid()) + "." +
                        partition.token + ".ledger")
                           .c_str(),
                       O_RDWR));
    const std::uint64_t high = kLedgerSlots;
    REQUIRE(pwrite_all(fd.get(), &high, sizeof high, offsetof(LedgerHeader, slots_high)));
    const ProcessIdentity self = this_process();
    for (std::size_t i = 0; i < kLedgerSlots; ++i) {
      LedgerSlot slot{};
      slot.owner.store(
          OwnerWord{0, SlotState::kLive, static_cast<std::uint32_t>(::getppid())}.pack());
      slot.pid_namespace.store(self.pid_namespace + 1);  // out of sight: its lock decides
      REQUIRE(pwrite_all(fd.get(), &slot, sizeof slot,
                         static_cast<off_t>(offsetof(LedgerLayout, slots) + i * sizeof slot)));
    }
    struct flock all {};
    all.l_type = F_WRLCK;
    REQUIRE(::fcntl(fd.get(), F_OFD_SETLK, &all) == 0);
    auto outcome = place->charge(1);
    CHECK_FALSE(outcome.admitted());
    REQUIRE(outcome.no_slot != nullptr);
    CHECK(std::string(outcome.no_slot) == "too many processes share it");
  }
  CHECK(place->charge(1).admitted());  // they are gone
}

TEST_CASE("a damaged ledger cannot be attached", "[attachment]") {
  TempState state;
  auto registry = Registry::open();
  auto partition = create(*registry, 10 * kMiB);
  Grant grant = grant_of(*registry, partition);
  const std::string ledger =
      state.path() + "/chronos." + std::to_string(::geteuid()) + "." + partition.token + ".ledger";
  SECTION("gone") { REQUIRE(::unlink(ledger.c_str()) == 0); }
  SECTION("truncated") { REQUIRE(::truncate(ledger.c_str(), 100) == 0); }
  SECTION("garbled") {
    UniqueFd fd(::open(ledger.c_str(), O_RDWR));
    REQUIRE(pwrite_all(fd.get(), "garbage", 7, 0));
  }
  auto refused = Attachment::attach(registry->state(), grant);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message.find(partition.token) != std::string::npos);
}
