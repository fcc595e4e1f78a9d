#include "core/reservation.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "core/drivers.hpp"
#include "core/inventory_store.hpp"
#include "core/partition_files.hpp"
#include "core/ticket.hpp"
#include "tests/unit/catch.hpp"
#include "tests/unit/temp_state.hpp"

using namespace chronos;

namespace {

constexpr std::uint64_t kGiB = 1ull << 30;

Device gpu(int index) {
  Device device;
  device.index = index;
  device.key = "uuid:" + std::string(32, static_cast<char>('a' + index));
  device.name = "Test GPU";
  device.total_bytes = 10 * kGiB;
  return device;
}

ReserveRequest ask(std::size_t count, std::vector<int> devices, double share = 1,
                   std::uint64_t seconds = 3600) {
  ReserveRequest request;
  for (const int index : devices) request.candidates.push_back(gpu(index));
  request.count = count;
  request.memory.fraction = share;
  request.duration_ns = seconds * kNanosPerSecond;
  request.held = true;
  request.choice = Choice::kInOrder;
  return request;
}

Registry open() {
  auto registry = Registry::open();
  REQUIRE(registry);
  return std::move(*registry);
}

bool readable(int fd, int timeout_ms = 10'000) {
  pollfd one{fd, POLLIN, 0};
  return ::poll(&one, 1, timeout_ms) == 1;
}

// What tickets of strangers say of devices counts only for those that are known.
void remember(const StateDir& state, const std::vector<int>& devices) {
  Inventory inventory;
  for (const int index : devices) {
    inventory.devices.push_back(gpu(index));
    inventory.devices.back().vendor = "Test";
    inventory.devices.back().platform = "Test";
    inventory.devices.back().opencl_version = "OpenCL 3.0";
  }
  REQUIRE(!InventoryStore(state, find_drivers().key).write(inventory, 1));
}

// Looks until there is something, as a loop around fd() does.
std::vector<PartitionInfo> await(Reservation& waiting) {
  for (int i = 0; i < 1000; ++i) {
    REQUIRE(readable(waiting.fd()));
    auto found = waiting.look();
    REQUIRE(found);
    if (*found) return **found;
  }
  FAIL("looked a thousand times");
  return {};
}

// A process of its own that lives until this is destroyed.
class Other {
 public:
  explicit Other(const std::function<void(Registry&)>& does) {
    REQUIRE(::pipe(ready_.data()) == 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      auto registry = Registry::open();
      if (registry) does(*registry);
      (void)!::write(ready_[1], "x", 1);
      for (;;) ::pause();
    }
    char byte = 0;
    REQUIRE(::read(ready_[0], &byte, 1) == 1);
  }
  Other(const Other&) = delete;
  Other& operator=(const Other&) = delete;
  ~Other() {
    end();
    ::close(ready_[0]);
    ::close(ready_[1]);
  }
  pid_t pid() const { return pid_; }
  void end() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    pid_ = 0;
  }

 private:
  std::array<int, 2> ready_{};
  pid_t pid_ = 0;
};

}  // namespace

TEST_CASE("several devices at once, or none", "[reservation]") {
  TempState state;
  Registry registry = open();
  auto request = ask(2, {0, 1, 2});
  request.name = "train";
  auto made = registry.reserve(request);
  REQUIRE(made);
  REQUIRE(made->size() == 2);
  CHECK(made->at(0).id == "train.0");
  CHECK(made->at(1).id == "train.1");
  CHECK(made->at(0).number == 1);
  CHECK(made->at(1).number == 2);
  CHECK(made->at(0).held);
  CHECK(made->at(1).limit_bytes == 10 * kGiB);

  request.name.clear();
  auto refused = registry.reserve(request);
  REQUIRE(!refused);
  CHECK(refused.error().code == ErrorCode::kNoCapacity);
  CHECK(refused.error().message == "Not enough available memory on devices 0, 1, 2");
  CHECK(refused.error().hint.starts_with("asked 10 GiB on 2 of 3 devices, 1 of them has room"));
  CHECK(registry.list()->size() == 2);
  REQUIRE(registry.release("train.0"));
  CHECK(registry.reserve(request));
}

TEST_CASE("what a reservation of several devices cannot be", "[reservation]") {
  TempState state;
  Registry registry = open();
  auto refusal = [&](const ReserveRequest& request) {
    auto made = registry.reserve(request);
    REQUIRE(!made);
    CHECK(made.error().code == ErrorCode::kInvalid);
    return made.error().message;
  };
  CHECK(refusal(ask(3, {0, 1})) == "cannot take 3 of 2 devices");
  CHECK(refusal(ask(0, {0})) == "cannot take 0 of 1 device");
  CHECK(refusal(ask(2, {0, 1, 0})) == "device 0 twice");
  auto request = ask(2, {0, 1});
  request.held = false;
  CHECK(refusal(request) == "memory on several devices at once can only be held");
  request = ask(2, {0, 1});
  request.name = std::string(62, 'n');  // with the device's number it is too long
  refusal(request);
  request = ask(1, {0});
  request.holder = ProcessIdentity{::getpid(), 1, 1};
  CHECK(refusal(request).ends_with("it is gone, or another user's"));
  CHECK(state.count(".grant") == 0);
}

TEST_CASE("the name of one of several must be free", "[reservation]") {
  TempState state;
  Registry registry = open();
  auto one = ask(1, {3}, 0.1);
  one.name = "train.1";
  REQUIRE(registry.reserve(one));
  auto request = ask(2, {0, 1});
  request.name = "train";
  auto refused = registry.reserve(request);
  REQUIRE(!refused);
  CHECK(refused.error().code == ErrorCode::kNameInUse);
}

TEST_CASE("what is held for another process ends with that one", "[reservation]") {
  TempState state;
  Registry registry = open();
  std::optional<Other> holder(std::in_place, [](Registry&) {});
  auto request = ask(2, {0, 1});
  request.holder = identity_of(holder->pid());
  REQUIRE(request.holder);
  auto made = registry.reserve(request);
  REQUIRE(made);
  CHECK(made->front().pid == holder->pid());
  CHECK(registry.list()->size() == 2);
  holder.reset();
  CHECK(registry.list()->empty());
}

TEST_CASE("a reservation waits without blocking", "[reservation]") {
  TempState state;
  Registry registry = open(), ours = open();
  auto at_once = Reservation::join(registry, ask(1, {0, 1}));
  REQUIRE(at_once);
  REQUIRE(readable(at_once->fd(), 1000));
  auto first = at_once->look();
  REQUIRE(first);
  REQUIRE(*first);
  const std::string held = (*first)->front().handle();

  auto waiting = Reservation::join(ours, ask(2, {0, 1}));
  REQUIRE(waiting);
  CHECK(state.count(".ticket") == 1);
  auto nothing = waiting->look();
  REQUIRE(nothing);
  CHECK(!*nothing);
  CHECK(waiting->state().with_room == 1);
  REQUIRE(registry.release(held));
  const auto both = await(*waiting);
  CHECK(both.size() == 2);
  CHECK(state.count(".ticket") == 0);
}

TEST_CASE("who leaves the line leaves nothing", "[reservation]") {
  TempState state;
  Registry registry = open();
  REQUIRE(registry.reserve(ask(1, {0})));
  {
    auto waiting = Reservation::join(registry, ask(2, {0, 1}));
    REQUIRE(waiting);
    CHECK(state.count(".ticket") == 1);
  }
  CHECK(state.count(".ticket") == 0);
  WaitOptions options;
  options.timeout_ns = 1;
  auto late = Reservation::join(registry, ask(2, {0, 1}), options);
  REQUIRE(late);
  auto found = late->wait();
  REQUIRE(!found);
  CHECK(found.error().code == ErrorCode::kNoCapacity);
  CHECK(state.count(".ticket") == 0);
}

TEST_CASE("a request for several devices is not overtaken, and lends", "[reservation]") {
  TempState state;
  Registry registry = open();
  remember(registry.state(), {0, 1, 2, 3});
  // Devices 0 and 1 are taken for an hour; somebody waits for two of three.
  REQUIRE(registry.reserve(ask(2, {0, 1}, 1, 3600)));
  std::optional<Reservation> theirs;
  std::optional<Other> other(std::in_place, [&](Registry& its) {
    auto joined = Reservation::join(its, ask(2, {0, 1, 2}));
    if (joined) theirs.emplace(std::move(*joined));
  });
  // Device 2 is theirs in an hour: it is lent for less than that, and not for more.
  auto longer = registry.reserve(ask(1, {2}, 0.1, 7200));
  REQUIRE(!longer);
  CHECK(longer.error().hint.find("waits in line for 10 GiB on 2 of 3 devices") !=
        std::string::npos);
  auto shorter = registry.reserve(ask(1, {2}, 0.1, 60));
  REQUIRE(shorter);
  REQUIRE(registry.release(shorter->front().handle()));
  // A device that they do not want is nobody's but ours.
  CHECK(registry.reserve(ask(1, {3}, 0.1, 7200)));
  // Behind them in line: waits for as long as they do.
  auto ours = Reservation::join(registry, ask(1, {2}, 0.1, 7200));
  REQUIRE(ours);
  auto nothing = ours->look();
  REQUIRE(nothing);
  CHECK(!*nothing);
  CHECK(ours->state().ahead == 1);
  other.reset();
  CHECK(await(*ours).size() == 1);
}

TEST_CASE("a ticket for devices that do not exist holds nobody up", "[reservation]") {
  TempState state;
  Registry registry = open();
  remember(registry.state(), {0});
  Claim lie{{{gpu(0).key, kGiB}, {gpu(7).key, kGiB}}, 2, kNanosPerSecond};
  auto ticket = Ticket::take(registry.state(), lie, 0);
  REQUIRE(ticket);
  CHECK(registry.reserve(ask(1, {0})));
}

TEST_CASE("N processes at once never take more than there is", "[reservation]") {
  TempState state;
  constexpr int kProcesses = 6, kTurns = 8;
  std::array<int, 2> out{};
  REQUIRE(::pipe(out.data()) == 0);
  std::vector<pid_t> children;
  for (int i = 0; i < kProcesses; ++i) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      auto registry = Registry::open();
      for (int turn = 0; turn < kTurns && registry; ++turn) {
        auto waiting = Reservation::join(*registry, ask(1 + (i + turn) % 2, {0, 1, 2, 3}));
        if (!waiting) ::_exit(2);
        auto got = waiting->wait();
        if (!got) ::_exit(3);
        // Every second process is killed with what it has, half way through.
        if (i % 2 == 0 && turn == kTurns / 2) ::raise(SIGKILL);
        const auto listed = registry->list();
        for (int device = 0; listed && device < 4; ++device) {
          const auto use = Registry::use_of(gpu(device), *listed);
          if (use.reserved_bytes > gpu(device).total_bytes) ::_exit(4);
        }
        for (const PartitionInfo& one : *got) {
          if (!registry->release(one.handle())) ::_exit(5);
        }
        (void)!::write(out[1], "x", 1);
      }
      ::_exit(0);
    }
    children.push_back(pid);
  }
  ::close(out[1]);
  for (int i = 0; i < kProcesses; ++i) {
    int status = 0;
    REQUIRE(::waitpid(children[static_cast<std::size_t>(i)], &status, 0) > 0);
    if (i % 2 == 0) {
      CHECK(WIFSIGNALED(status));
    } else {
      CHECK(WIFEXITED(status));
      CHECK(WEXITSTATUS(status) == 0);
    }
  }
  std::string turns(1000, ' ');
  CHECK(::read(out[0], turns.data(), turns.size()) == kProcesses / 2 * (kTurns + kTurns / 2));
  ::close(out[0]);
  Registry after = open();
  CHECK(after.reserve(ask(4, {0, 1, 2, 3})));
  CHECK(state.count(".ticket") == 0);
}
