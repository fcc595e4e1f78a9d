// What must hold once the victim is gone, wherever it was.
#include <filesystem>
#include <set>

#include "core/partition_files.hpp"
#include "tests/crash/world.hpp"

namespace chronos::crash {
namespace {

// No two promises of the same memory.
void check_capacity(World& world, const std::vector<PartitionInfo>& partitions) {
  std::uint64_t taken = 0;
  for (const PartitionInfo& one : partitions) {
    taken += one.state == PartitionState::kActive ? std::max(one.limit_bytes, one.used_bytes)
                                                  : one.used_bytes;
  }
  expect(taken <= kTotal, "promised more than the device has: " + std::to_string(taken));
  const Device device = world.request(1).device;
  expect(Registry::use_of(device, partitions).available_bytes == kTotal - taken,
         "available says something else than the sum");
}

// One reclaim, and nothing is held but by the living: the runner.
void check_ledgers(World& world) {
  for (const PartitionInfo& one : world.list()) {
    const std::uint64_t held = one.token == world.a.token ? world.held_in_a() : 0;
    expect(one.used_bytes == held, one.id + " is said to hold " + std::to_string(one.used_bytes) +
                                       " and holds " + std::to_string(held));
    if (one.owner != ::geteuid()) continue;
    auto place = world.attach(one.token);
    expect(place != nullptr, one.id + " went away");
    expect(place->used() == held, one.id + ": after a reclaim " + std::to_string(place->used()) +
                                      " instead of " + std::to_string(held));
    const unsigned living = one.token != world.a.token ? 0 : world.neighbour == 0 ? 1 : 2;
    expect(place->sharers() == living, "a slot is left to the dead, or taken from the living");
  }
}

// What fits is admitted, to the byte, and no byte more.
void check_limit(World& world) {
  for (const PartitionInfo& one : world.list()) {
    if (one.token != world.a.token || one.state != PartitionState::kActive) continue;
    const std::uint64_t left = one.limit_bytes - std::min(one.limit_bytes, world.held_in_a());
    expect(!world.place->charge(left + 1).admitted(), "admitted over the limit");
    if (left == 0) continue;
    expect(world.place->charge(left).admitted(), "what is free is refused");
    world.place->credit(left);
  }
}

// After a command, which sweeps: every file is whole and belongs to something.
void check_files(World& world) {
  auto state = StateDir::open_at(world.directory.c_str());
  auto names = scan(*state);
  expect(names.has_value(), "scan");
  std::set<std::string> grants, ledgers;
  for (const FileName& name : *names) {
    uid_t owner = 0;
    off_t size = 0;
    auto fd = open_file(*state, name, O_RDONLY, owner, size);
    expect(fd.has_value(), name.text() + " cannot be opened");
    switch (name.kind) {
      case FileKind::kGrant: {
        auto grant = read_grant(*state, name);
        expect(grant.has_value(), name.text() + (grant ? "" : " " + grant.error().message));
        grants.insert(token_text(name.token));
        break;
      }
      case FileKind::kLedger:
        expect(size == sizeof(LedgerLayout), name.text() + " is not whole");
        ledgers.insert(token_text(name.token));
        break;
      case FileKind::kCounter:
        expect(read_counter(*state, name) > 0, name.text() + " is not whole");
        break;
      default:
        wrong(name.text() + " was left");
    }
  }
  expect(grants == ledgers, "a grant or a ledger is alone");
}

// All that is free can be had by a new partition, and is free again when that goes.
void check_reuse(World& world) {
  const Device device = world.request(1).device;
  auto available = [&] { return Registry::use_of(device, world.list()).available_bytes; };
  const std::uint64_t before = available();
  auto over = world.registry().create(world.request(before + 1, "reuse"));
  expect(!over && over.error().code == ErrorCode::kNoCapacity, "more than is free was given");
  if (before == 0) return;
  world.create(before, "reuse");
  expect(available() == 0, "a full device has room");
  expect(world.registry().release("reuse").has_value(), "release");
  expect(available() == before, "what was released is not free");
}

// In the end nothing is left.
void check_end(World& world) {
  world.part_from_neighbour();
  world.place->credit(world.held);
  world.held = 0;
  for (const PartitionInfo& one : world.list()) {
    if (one.state != PartitionState::kActive) continue;
    auto released = world.registry().release(one.handle());
    expect(released.has_value(), "release: " + (released ? "" : released.error().message));
  }
  expect(world.list().empty(), "partitions are left");
  world.create(kTotal, "all");
  expect(world.registry().release("all").has_value(), "release");
  for (const auto& entry : std::filesystem::directory_iterator(world.directory)) {
    const std::string kind = entry.path().extension();
    expect(kind == ".counter" || kind == ".devices" || kind == ".lock",
           entry.path().filename().string() + " is left in the end");
  }
}

}  // namespace

void check_world(World& world) {
  check_capacity(world, world.list());
  check_ledgers(world);
  check_limit(world);
  check_reuse(world);
  check_files(world);
  check_capacity(world, world.list());
  check_end(world);
}

}  // namespace chronos::crash
