#include "core/ledger.hpp"

#include <rapidcheck.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "core/clock.hpp"
#include "tests/unit/catch.hpp"

using namespace chronos;

namespace {

// A ledger in memory that forked children share, with its terms.
class SharedLedger {
 public:
  explicit SharedLedger(std::uint64_t limit_bytes) {
    void* at =
        ::mmap(nullptr, sizeof(Room), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(at != MAP_FAILED);
    room_ = new (at) Room;
    Ledger::initialise(room_->layout, Token{}, BootId{}, ::geteuid());
    room_->limit.store(limit_bytes);
    room_->ended.store(0);
    room_->deadline.store(boot_now() + 3'600'000'000'000);
    room_->held.store(0);
  }
  ~SharedLedger() { ::munmap(room_, sizeof(Room)); }
  SharedLedger(const SharedLedger&) = delete;
  SharedLedger& operator=(const SharedLedger&) = delete;

  Ledger ledger() { return Ledger(&room_->layout); }
  Terms terms() { return {&room_->limit, &room_->ended, &room_->deadline}; }
  std::atomic<std::uint64_t>& limit() { return room_->limit; }
  std::atomic<std::uint64_t>& ended() { return room_->ended; }
  std::atomic<std::uint64_t>& deadline() { return room_->deadline; }
  std::atomic<std::uint64_t>& held() { return room_->held; }  // the witness

 private:
  struct Room {
    LedgerLayout layout;
    std::atomic<std::uint64_t> limit, ended, deadline, held;
  };
  Room* room_;
};

// A kernel of our own: says who lives, who holds a lock, who maps.
class FakeJudge final : public SlotJudge {
 public:
  bool lock_is_held(std::size_t index) override { return locks.contains(index); }
  bool pid_is_gone(pid_t pid) override { return !processes.contains(pid); }
  Liveness owner_lives(const ProcessIdentity& owner) override {
    auto found = processes.find(owner.pid);
    return found == processes.end() ? Liveness::kDead : found->second;
  }
  Liveness owner_maps_ledger(const ProcessIdentity& owner) override {
    return maps.contains(owner.pid) ? Liveness::kAlive : Liveness::kDead;
  }
  std::set<std::size_t> locks;
  std::map<pid_t, Liveness> processes;
  std::set<pid_t> maps;
};

ProcessIdentity process(pid_t pid) { return {pid, 1, 100}; }

}  // namespace

TEST_CASE("words keep their parts apart", "[ledger]") {
  BytesWord most{kGenerationMask, kMaxBytes};
  CHECK(BytesWord::unpack(most.pack()).bytes == kMaxBytes);
  CHECK(BytesWord::unpack(most.pack()).generation == kGenerationMask);
  OwnerWord owner{kGenerationMask, SlotState::kLive, 0xffffffff};
  OwnerWord same = OwnerWord::unpack(owner.pack());
  CHECK(same.generation == owner.generation);
  CHECK(same.state == owner.state);
  CHECK(same.pid == owner.pid);
}

TEST_CASE("charges are admitted up to the limit, exactly", "[ledger]") {
  SharedLedger shared(1000);
  Ledger ledger = shared.ledger();
  SlotRef slot;
  REQUIRE(ledger.claim_slot(0, process(7), slot));
  CHECK(ledger.charge(slot, 600, shared.terms(), false) == Verdict::kAdmitted);
  CHECK(ledger.charge(slot, 401, shared.terms(), false) == Verdict::kOverLimit);
  CHECK(ledger.sum_slots() == 600);
  CHECK(ledger.charge(slot, 400, shared.terms(), true) == Verdict::kAdmitted);
  CHECK(ledger.charge(slot, 1, shared.terms(), true) == Verdict::kOverLimit);
  CHECK(ledger.charge(slot, 0, shared.terms(), false) == Verdict::kAdmitted);
  ledger.credit(slot, 1000);
  CHECK(ledger.sum_slots() == 0);
  CHECK(ledger.layout().header.peak.load() == 1000);
}

TEST_CASE("sizes beyond all reason are refused without a trace", "[ledger]") {
  SharedLedger shared(kMaxBytes);
  Ledger ledger = shared.ledger();
  SlotRef slot;
  REQUIRE(ledger.claim_slot(0, process(7), slot));
  REQUIRE(ledger.charge(slot, kMaxBytes, shared.terms(), false) == Verdict::kAdmitted);
  for (std::uint64_t size : {std::uint64_t{1}, kMaxBytes, kMaxBytes + 1, ~std::uint64_t{0}}) {
    CHECK(ledger.charge(slot, size, shared.terms(), false) == Verdict::kOverLimit);
    CHECK(ledger.charge(slot, size, shared.terms(), true) == Verdict::kOverLimit);
  }
  CHECK(ledger.sum_slots() == kMaxBytes);
  shared.limit().store(~std::uint64_t{0});  // a limit that somebody scribbled
  CHECK(ledger.charge(slot, 1, shared.terms(), false) == Verdict::kOverLimit);
}

TEST_CASE("nothing goes below zero", "[ledger]") {
  SharedLedger shared(1000);
  Ledger ledger = shared.ledger();
  SlotRef slot;
  REQUIRE(ledger.claim_slot(0, process(7), slot));
  ledger.credit(slot, 5);
  REQUIRE(ledger.charge(slot, 10, shared.terms(), false) == Verdict::kAdmitted);
  ledger.credit(slot, 11);
  CHECK(ledger.sum_slots() == 0);
  CHECK(ledger.charge(slot, 1000, shared.terms(), false) == Verdict::kAdmitted);
}

TEST_CASE("an ended or expired partition admits nothing", "[ledger]") {
  SharedLedger shared(1000);
  Ledger ledger = shared.ledger();
  SlotRef slot;
  REQUIRE(ledger.claim_slot(0, process(7), slot));
  SECTION("ended in the grant") {
    shared.ended().store(1);
    CHECK(ledger.charge(slot, 1, shared.terms(), false) == Verdict::kEnded);
  }
  SECTION("ended in the ledger") {
    ledger.end();
    CHECK(ledger.charge(slot, 1, shared.terms(), true) == Verdict::kEnded);
  }
  SECTION("past its deadline") {
    shared.deadline().store(boot_now());
    CHECK(ledger.charge(slot, 1, shared.terms(), false) == Verdict::kExpired);
    CHECK(ledger.charge(slot, 5000, shared.terms(), false) == Verdict::kExpired);
  }
  CHECK(ledger.sum_slots() == 0);
}

TEST_CASE("a resize is seen at the next charge", "[ledger]") {
  SharedLedger shared(1000);
  Ledger ledger = shared.ledger();
  SlotRef slot;
  REQUIRE(ledger.claim_slot(0, process(7), slot));
  REQUIRE(ledger.charge(slot, 800, shared.terms(), false) == Verdict::kAdmitted);
  shared.limit().store(500);
  CHECK(ledger.charge(slot, 1, shared.terms(), false) == Verdict::kOverLimit);
  CHECK(ledger.charge(slot, 0, shared.terms(), false) == Verdict::kOverLimit);
  shared.limit().store(900);
  CHECK(ledger.charge(slot, 100, shared.terms(), false) == Verdict::kAdmitted);
}

TEST_CASE("a slot is claimed once", "[ledger]") {
  SharedLedger shared(1000);
  Ledger ledger = shared.ledger();
  SlotRef a;
  SlotRef b;
  REQUIRE(ledger.claim_slot(3, process(7), a));
  CHECK_FALSE(ledger.claim_slot(3, process(8), b));
  CHECK(ledger.layout().header.slots_high.load() == 4);
}

TEST_CASE("the dead are reclaimed and the living are not", "[ledger]") {
  SharedLedger shared(1000);
  Ledger ledger = shared.ledger();
  FakeJudge judge;
  SlotRef slot;
  REQUIRE(ledger.claim_slot(0, process(7), slot));
  REQUIRE(ledger.charge(slot, 300, shared.terms(), false) == Verdict::kAdmitted);
  auto reclaimed = [&] { return ledger.reclaim(judge); };

  SECTION("gone") { CHECK(reclaimed()); }
  SECTION("gone, a forked child holding its lock") {
    judge.locks.insert(0);
    CHECK(reclaimed());
  }
  SECTION("alive") {
    judge.processes[7] = Liveness::kAlive;
    judge.locks.insert(0);
    CHECK_FALSE(reclaimed());
  }
  SECTION("alive, its descriptors closed") {
    judge.processes[7] = Liveness::kAlive;
    judge.maps.insert(7);
    CHECK_FALSE(reclaimed());
  }
  SECTION("alive after exec") {
    judge.processes[7] = Liveness::kAlive;
    CHECK(reclaimed());
  }
  SECTION("out of sight, lock held") {
    judge.processes[7] = Liveness::kUnknown;
    judge.locks.insert(0);
    CHECK_FALSE(reclaimed());
  }
  SECTION("out of sight, lock free") {
    judge.processes[7] = Liveness::kUnknown;
    CHECK(reclaimed());
  }
  const bool gone = ledger.sum_slots() == 0;
  CHECK(ledger.charge(slot, 1, shared.terms(), false) ==
        (gone ? Verdict::kSlotLost : Verdict::kAdmitted));
  SlotRef next;
  CHECK(ledger.claim_slot(0, process(8), next) == gone);
  if (gone) {
    REQUIRE(ledger.charge(next, 50, shared.terms(), false) == Verdict::kAdmitted);
    ledger.credit(slot, 50);  // a late writer of the generation before
    CHECK(ledger.sum_slots() == 50);
  }
}

TEST_CASE("nobody judges himself", "[ledger]") {
  SharedLedger shared(1000);
  Ledger ledger = shared.ledger();
  SlotRef own;
  REQUIRE(ledger.claim_slot(3, process(7), own));
  REQUIRE(ledger.charge(own, 600, shared.terms(), false) == Verdict::kAdmitted);
  FakeJudge judge;  // as seen by the process itself where /proc cannot be read
  judge.processes[7] = Liveness::kUnknown;
  CHECK_FALSE(ledger.reclaim(judge, own.index));
  CHECK(ledger.sum_slots() == 600);
  CHECK(ledger.reclaim(judge));
}

TEST_CASE("a claimer that died half way is judged by its lock", "[ledger]") {
  SharedLedger shared(1000);
  Ledger ledger = shared.ledger();
  FakeJudge judge;
  judge.processes[7] = Liveness::kAlive;  // the pid may long be somebody else's
  ledger.layout().header.slots_high.store(1);
  ledger.layout().slots[0].owner.store(OwnerWord{5, SlotState::kClaiming, 7}.pack());
  ledger.layout().slots[0].bytes.store(BytesWord{5, 0}.pack());
  judge.locks.insert(0);
  CHECK_FALSE(ledger.reclaim(judge));
  SECTION("the lock is free") { judge.locks.clear(); }
  SECTION("the pid is gone, a late claimer has the lock") { judge.processes.clear(); }
  CHECK(ledger.reclaim(judge));
  SlotRef slot;
  CHECK(ledger.claim_slot(0, process(8), slot));
  CHECK(slot.generation == 5);
  CHECK(ledger.charge(slot, 10, shared.terms(), false) == Verdict::kAdmitted);
}

TEST_CASE("a reclaimer that died half way is followed by another", "[ledger]") {
  SharedLedger shared(1000);
  Ledger ledger = shared.ledger();
  FakeJudge judge;
  SlotRef slot;
  REQUIRE(ledger.claim_slot(0, process(7), slot));
  ledger.layout().slots[0].bytes.store(BytesWord{1, 0}.pack());  // bytes dropped, owner not yet
  CHECK(ledger.reclaim(judge));
  REQUIRE(ledger.claim_slot(0, process(8), slot));
  CHECK(slot.generation == 1);
  CHECK(ledger.charge(slot, 10, shared.terms(), false) == Verdict::kAdmitted);
}

TEST_CASE("of a slot that was claimed without its lock, a free lock says nothing", "[ledger]") {
  SharedLedger shared(1000);
  Ledger ledger = shared.ledger();
  FakeJudge judge;
  const bool locked = GENERATE(true, false);
  SlotRef slot;
  REQUIRE(ledger.claim_slot(0, process(7), slot, locked));
  judge.processes[7] = Liveness::kUnknown;
  CHECK(ledger.reclaim(judge) == locked);
  if (!locked) {
    judge.processes[7] = Liveness::kDead;
    CHECK(ledger.reclaim(judge));
  }
}

TEST_CASE("generations wrap around", "[ledger]") {
  SharedLedger shared(1000);
  Ledger ledger = shared.ledger();
  FakeJudge judge;
  ledger.layout().slots[0].owner.store(OwnerWord{kGenerationMask, SlotState::kFree, 0}.pack());
  ledger.layout().slots[0].bytes.store(BytesWord{kGenerationMask, 0}.pack());
  SlotRef slot;
  REQUIRE(ledger.claim_slot(0, process(7), slot));
  REQUIRE(ledger.charge(slot, 10, shared.terms(), false) == Verdict::kAdmitted);
  CHECK(ledger.reclaim(judge));
  REQUIRE(ledger.claim_slot(0, process(8), slot));
  CHECK(slot.generation == 0);
  CHECK(ledger.charge(slot, 10, shared.terms(), false) == Verdict::kAdmitted);
}

TEST_CASE("threads of one process and of several never pass the limit", "[ledger][threads]") {
  SharedLedger shared(1000);
  auto work = [&](SlotRef slot, unsigned seed) {
    Ledger ledger = shared.ledger();
    std::mt19937 random(seed);
    std::vector<std::uint64_t> mine;
    for (int i = 0; i < 20000; ++i) {
      std::uint64_t size = random() % 400;
      if (mine.size() < 4 &&
          ledger.charge(slot, size, shared.terms(), (random() & 1) != 0) == Verdict::kAdmitted) {
        if (shared.held().fetch_add(size) + size > 1000) std::abort();
        mine.push_back(size);
      } else if (!mine.empty()) {
        shared.held().fetch_sub(mine.back());
        ledger.credit(slot, mine.back());
        mine.pop_back();
      }
    }
    for (std::uint64_t size : mine) {
      shared.held().fetch_sub(size);
      ledger.credit(slot, size);
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 4; ++i) {
    SlotRef slot;
    REQUIRE(shared.ledger().claim_slot(i, process(static_cast<pid_t>(100 + i)), slot));
    threads.emplace_back(work, slot, 2 * i);
    threads.emplace_back(work, slot, 2 * i + 1);
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(shared.held().load() == 0);
  CHECK(shared.ledger().sum_slots() == 0);
  CHECK(shared.ledger().layout().header.peak.load() <= 1000);
}

TEST_CASE("processes killed at any instruction leave nothing behind", "[ledger][processes]") {
  SharedLedger shared(1000);
  FakeJudge judge;
  std::mt19937 random(42);
  for (int round = 0; round < 200; ++round) {
    SlotRef slot;
    Ledger ledger = shared.ledger();
    std::size_t index = random() % 4;
    REQUIRE(ledger.claim_slot(index, process(1000 + round), slot));
    pid_t pid = ::fork();
    if (pid == 0) {
      for (;;) {
        if (ledger.charge(slot, 700, shared.terms(), false) == Verdict::kAdmitted) {
          ledger.credit(slot, 700);
        }
      }
    }
    ::usleep(static_cast<useconds_t>(random() % 300));
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    REQUIRE(ledger.reclaim(judge));
    REQUIRE(ledger.sum_slots() == 0);
  }
}

TEST_CASE("a ledger does what a plain sum would", "[ledger][property]") {
  CHECK(rc::check("charges, credits and deaths in any order", [] {
    SharedLedger shared(*rc::gen::inRange<std::uint64_t>(1, 2000));
    const std::uint64_t limit = shared.limit().load();
    Ledger ledger = shared.ledger();
    FakeJudge judge;
    std::vector<SlotRef> slots(3);
    std::vector<std::uint64_t> model(3, 0);
    for (std::size_t i = 0; i < 3; ++i) {
      RC_ASSERT(ledger.claim_slot(i, process(static_cast<pid_t>(i + 1)), slots[i]));
      judge.processes[static_cast<pid_t>(i + 1)] = Liveness::kAlive;
      judge.locks.insert(i);
    }
    pid_t next_pid = 10;
    for (int step = 0; step < 40; ++step) {
      const auto who = *rc::gen::inRange<std::size_t>(0, 3);
      const auto size = *rc::gen::inRange<std::uint64_t>(0, 1200);
      const std::uint64_t sum = model[0] + model[1] + model[2];
      switch (*rc::gen::inRange(0, 3)) {
        case 0: {
          Verdict verdict = ledger.charge(slots[who], size, shared.terms(), step % 2 == 0);
          RC_ASSERT(verdict == (sum + size <= limit ? Verdict::kAdmitted : Verdict::kOverLimit));
          if (verdict == Verdict::kAdmitted) model[who] += size;
          break;
        }
        case 1:
          ledger.credit(slots[who], size);
          model[who] -= std::min(size, model[who]);
          break;
        default: {
          const auto owner =
              OwnerWord::unpack(ledger.layout().slots[slots[who].index].owner.load());
          judge.processes.erase(static_cast<pid_t>(owner.pid));
          RC_ASSERT(ledger.reclaim(judge));
          RC_ASSERT(ledger.claim_slot(slots[who].index, process(next_pid), slots[who]));
          judge.processes[next_pid++] = Liveness::kAlive;
          model[who] = 0;
        }
      }
      RC_ASSERT(ledger.sum_slots() == model[0] + model[1] + model[2]);
    }
  }));
}
