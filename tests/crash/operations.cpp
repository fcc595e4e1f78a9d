#include "tests/crash/operations.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "core/inventory_store.hpp"
#include "core/partition_files.hpp"
#include "core/reservation.hpp"

namespace chronos::crash {
namespace {

World* here = nullptr;  // for what call_at() calls
Attachment* own = nullptr;

void arm(World& world) {
  world.armed->faults = world.faults;
  activate(world.armed);
}

FileName grant_name(const PartitionInfo& partition) {
  FileName name{partition.owner, {}, FileKind::kGrant};
  expect(parse_token(partition.token, name.token), "no token");
  return name;
}

// A process of its own has no use for what it inherits of the runner.
std::unique_ptr<Attachment> attach_anew(World& world) {
  world.place->after_fork();
  return world.attach(world.a.token);
}

std::unique_ptr<Attachment> attached(World& world, std::uint64_t bytes) {
  auto place = attach_anew(world);
  expect(place->charge(bytes).admitted(), "the victim's first charge is refused");
  return place;
}

// Leaves what a process leaves that dies with bytes, and one that dies while it claims a slot.
void leave_corpses(World& world) {
  world.in_child([&] {
    if (auto* place = attach_anew(world).release()) (void)place->charge(kMiB);
  });
  world.in_child([&] {
    call_at(Point::claim_marked, [] { ::_exit(0); });
    if (auto* place = attach_anew(world).release()) (void)place->charge(kMiB);
  });
}

PartitionInfo find_a(World& world) {
  for (const PartitionInfo& one : world.list()) {
    if (one.token == world.a.token) return one;
  }
  wrong("the partition is gone");
}

// ---- the ledger ----

void act_attach(World& world) {
  world.place->after_fork();
  arm(world);
  (void)world.attach(world.a.token).release()->charge(3 * kMiB);
}

void act_charge(World& world) {
  auto place = attached(world, kMiB).release();
  arm(world);
  (void)place->charge(world.pick(1, 50) * kMiB);
  (void)place->charge(world.a.limit_bytes);  // refused
  (void)place->charge(world.pick(1, 50));
}

// Fits only once what a dead process held is dropped.
void act_charge_reclaiming(World& world) {
  auto place = attached(world, kMiB).release();
  const std::uint64_t left = world.a.limit_bytes - world.held - kMiB;
  world.in_child([&] {
    place->after_fork();
    (void)place->charge(left / 2);
  });
  arm(world);
  (void)place->charge(left / 2 + world.pick(1, left / 2));
}

void act_credit(World& world) {
  auto place = attached(world, 9 * kMiB).release();
  arm(world);
  place->credit(4 * kMiB);
  place->credit(5 * kMiB);
}

void act_credit_ended(World& world) {
  auto place = attached(world, 9 * kMiB).release();
  expect(world.registry().release("a").has_value(), "release");
  arm(world);
  place->credit(9 * kMiB);
}

void act_reclaim(World& world) {
  world.place->after_fork();
  arm(world);
  world.attach(world.a.token).release();
}

void act_fork(World& world) {
  arm(world);
  world.place->after_fork();
  (void)world.place->charge(2 * kMiB);
  world.place->credit(kMiB);
}

void act_exec(World& world) {
  attached(world, 5 * kMiB).release();
  ::setenv(kControlVariable, world.control_path.c_str(), 1);
  ::execl("/proc/self/exe", "chronos_crash_tests", "--new-image", world.directory.c_str(),
          world.a.token.c_str(), nullptr);
  wrong("exec failed");
}

// ---- the registry ----

void act_create(World& world) {
  arm(world);
  (void)world.registry().create(world.request(50 * kMiB, "new"));
}

// Two devices at once: both or none.
ReserveRequest request_for_two(World& world) {
  ReserveRequest request;
  request.candidates = {world.request(1).device, world.request(1).device};
  request.candidates[1].key = "uuid:22222222222222222222222222222222";
  request.candidates[1].index = 1;
  request.count = 2;
  request.memory.bytes = 50 * kMiB;
  request.duration_ns = kHour;
  request.held = true;
  return request;
}

void act_reserve(World& world) {
  arm(world);
  (void)world.registry().reserve(request_for_two(world));
}

// Whoever made them is gone in every case.
void after_reserve(World& world) {
  expect(world.list().size() == 1, "what was held outlives its holder");
}

void act_wait_for_two(World& world) {
  here = &world;
  WaitOptions options;
  options.timeout_ns = kHour;
  options.on_change = [](const WaitState& state) {
    if (state.with_room == 1) (void)here->registry().release("b");
  };
  Registry registry = world.registry();
  arm(world);
  auto waiting = Reservation::join(registry, request_for_two(world), options);
  if (waiting) (void)waiting->wait();
}

void after_create(World& world) {
  const auto listed = world.list();
  expect(listed.size() <= 2, "more partitions than were made");
  for (const PartitionInfo& one : listed) {
    const bool whole = one.token == world.a.token ||
                       (one.name == "new" && one.limit_bytes == 50 * kMiB && one.used_bytes == 0);
    expect(whole, "half a partition: " + one.id);
  }
}

void forget_counter(World& world) {
  for (const auto& file : std::filesystem::directory_iterator(world.directory)) {
    if (file.path().extension() == ".counter") std::filesystem::remove(file.path());
  }
}

void make_b(World& world) { world.b = world.create(60 * kMiB, "b"); }

void act_release(World& world) {
  arm(world);
  (void)world.registry().release("b");
}

void act_release_held(World& world) {
  arm(world);
  (void)world.registry().release("a");
}

void make_given(World& world) {
  ::chmod(world.directory.c_str(), 01777);
  CreateRequest request = world.request(60 * kMiB, "b");
  request.owner = kOther;
  auto made = world.registry().create(request);
  expect(made.has_value(), "create for another");
  world.b = *made;
}

void act_release_given(World& world) {
  arm(world);
  if (::setresuid(kOther, kOther, kOther) != 0) wrong("setuid");
  (void)world.registry().release("b");
}

void act_extend(World& world) {
  arm(world);
  (void)world.registry().extend("a", kHour);
}

void after_extend(World& world) {
  const std::uint64_t duration = find_a(world).duration_ns;
  expect(duration == kHour || duration == 2 * kHour, "neither extended nor not");
}

void act_extend_late(World& world) {
  here = &world;
  call_at(Point::extend_stored, [] { (void)here->registry().release("a"); });
  act_extend(world);
}

void make_others(World& world) {
  ::chmod(world.directory.c_str(), 01777);
  const int made = world.in_child([&] {
    if (::setresuid(kOther, kOther, kOther) != 0) wrong("setuid");
    world.create(60 * kMiB, "b");
  });
  expect(made == 0, "another user's create");
}

void act_extend_others(World& world) {
  arm(world);
  (void)world.registry().extend("b", kHour);
}

void resize_a(World& world, std::uint64_t bytes, bool drain) {
  (void)world.registry().resize("a", {0, bytes}, drain);
}

void act_grow(World& world) {
  arm(world);
  resize_a(world, world.a.limit_bytes + 50 * kMiB, false);
}

void after_grow(World& world) {
  const std::uint64_t limit = find_a(world).limit_bytes;
  expect(limit == world.a.limit_bytes || limit == world.a.limit_bytes + 50 * kMiB, "half grown");
}

void act_shrink(World& world) {
  arm(world);
  resize_a(world, world.held, false);
}

// A charge gets in between the look and the store.
void act_shrink_overtaken(World& world) {
  own = attached(world, kMiB).release();
  call_at(Point::shrink_begun, [] { (void)own->charge(4 * kMiB); });
  arm(world);
  resize_a(world, world.held + 2 * kMiB, false);
}

void act_drain(World& world) {
  arm(world);
  resize_a(world, world.held / 2, true);
}

void after_shrink(World& world) {
  const PartitionInfo now = find_a(world);
  const bool old = now.limit_bytes == world.a.limit_bytes;
  const bool lowered = now.limit_bytes == world.held || now.limit_bytes == world.held / 2 ||
                       now.limit_bytes == world.held + 2 * kMiB;
  expect(old || lowered, "neither limit");
  expect(now.used_bytes == world.held,
         "what is held is not counted: " + std::to_string(now.used_bytes) + " of " +
             std::to_string(world.held));
}

void end_b(World& world) {
  make_b(world);
  auto state = StateDir::open_at(world.directory.c_str());
  expect(end_grant(*state, grant_name(world.b)).has_value(), "end");
}

void act_list(World& world) {
  arm(world);
  (void)world.registry().list();
}

// What commands that were killed, programs that drained and a reboot leave behind.
void leave_litter(World& world) {
  end_b(world);
  auto state = StateDir::open_at(world.directory.c_str());
  std::ofstream(world.directory + "/" +
                FileName{::geteuid(), random_token(), FileKind::kTemporary}.text());
  std::ofstream(world.directory + "/" +
                FileName{::geteuid(), random_token(), FileKind::kTicket}.text());
  const PartitionInfo orphan = world.create(kMiB, "orphan"), old = world.create(kMiB, "old");
  remove_file(*state, grant_name(orphan));
  auto opened = open_grant(*state, grant_name(old), O_RDWR);
  GrantLayout layout{};
  expect(opened && pread_all(opened->fd.get(), &layout, sizeof layout, 0), "read a grant");
  layout.boot_id[0] ^= 1;
  layout.checksum = layout.compute_checksum();
  expect(pwrite_all(opened->fd.get(), &layout, sizeof layout, 0), "write a grant");
  const std::uint64_t lower = world.held / 2;
  resize_a(world, lower, true);
  world.place->credit(world.held - lower / 2);
  world.held = lower / 2;
}

void fill_device(World& world) { world.b = world.create(kTotal - world.a.limit_bytes, "b"); }

void act_wait(World& world) {
  here = &world;
  WaitOptions options;
  options.timeout_ns = kHour;
  options.on_change = [](const WaitState& state) {
    if (state.available_bytes == 0) (void)here->registry().release("b");
  };
  arm(world);
  (void)world.registry().create_when_free(world.request(50 * kMiB, "new"), options);
}

// ---- the remembered devices ----

void remember_devices(World& world, const std::string& key) {
  auto state = StateDir::open_at(world.directory.c_str());
  InventoryStore store(*state, key);
  const UniqueFd lock = store.lock(std::chrono::seconds(5));
  Device device = world.request(1).device;
  device.vendor = device.platform = device.opencl_version = "Test";
  (void)store.write(Inventory{{device}, {}}, 1);
}

void remember_twice(World& world) {
  remember_devices(world, std::string(32, 'a'));
  remember_devices(world, std::string(32, 'b'));
}

void act_remember(World& world) {
  arm(world);
  remember_devices(world, std::string(32, 'b'));
}

void after_remember(World& world) {
  auto state = StateDir::open_at(world.directory.c_str());
  auto stored = InventoryStore(*state, std::string(32, 'b')).read([](const auto&) { return true; });
  expect(stored && stored->inventory.devices.size() == 1, "the devices are forgotten");
}

// ---- anything ----

void act_anything(World& world) {
  auto place = attached(world, kMiB).release();
  arm(world);
  for (int i = 0; i < 8; ++i) {
    switch (world.pick(0, 9)) {
      case 0:
        (void)world.registry().create(world.request(world.pick(1, 90) * kMiB));
        break;
      case 1:
        (void)world.registry().release("partition_0002");
        break;
      case 2:
        (void)world.registry().extend("a", kHour);
        break;
      case 3:
        resize_a(world, world.pick(1, 400) * kMiB, true);
        break;
      case 4:
        resize_a(world, world.pick(1, 600) * kMiB, false);
        break;
      case 5:
        (void)world.registry().list();
        break;
      case 6:
        place->credit(kMiB);
        break;
      case 7:
        world.attach(world.a.token).release();
        break;
      default:
        (void)place->charge(world.pick(1, 60) * kMiB);
        break;
    }
  }
}

constexpr auto kNamed = static_cast<std::uint32_t>(Fault::no_unnamed_files);

}  // namespace

const std::vector<Operation>& operations() {
  static const std::vector<Operation> all = {
      {"attach", leave_corpses, act_attach, nullptr, 0, false, true},
      {"charge", nullptr, act_charge, nullptr},
      {"charge_reclaiming", nullptr, act_charge_reclaiming, nullptr, 0, false, true},
      {"credit", nullptr, act_credit, nullptr},
      {"credit_ended", nullptr, act_credit_ended, nullptr},
      {"reclaim", leave_corpses, act_reclaim, nullptr, 0, false, true},
      {"fork", nullptr, act_fork, nullptr},
      {"exec", nullptr, act_exec, nullptr},
      {"create", nullptr, act_create, after_create},
      {"create_first", forget_counter, act_create, after_create},
      {"create_named", forget_counter, act_create, after_create, kNamed},
      {"create_sweeping", leave_litter, act_create, nullptr},
      {"release", make_b, act_release, nullptr},
      {"release_held", nullptr, act_release_held, nullptr},
      {"release_given", make_given, act_release_given, nullptr, 0, true},
      {"extend", nullptr, act_extend, after_extend},
      {"extend_late", nullptr, act_extend_late, nullptr},
      {"extend_others", make_others, act_extend_others, nullptr, 0, true},
      {"grow", nullptr, act_grow, after_grow},
      {"shrink", nullptr, act_shrink, after_shrink},
      {"shrink_overtaken", nullptr, act_shrink_overtaken, after_shrink},
      {"drain", nullptr, act_drain, after_shrink},
      {"list", end_b, act_list, nullptr},
      {"wait", fill_device, act_wait, nullptr},
      {"reserve", nullptr, act_reserve, after_reserve},
      {"wait_for_two", fill_device, act_wait_for_two, nullptr},
      {"remember", remember_twice, act_remember, after_remember},
      {"remember_named", remember_twice, act_remember, nullptr, kNamed},
      {"anything", nullptr, act_anything, nullptr},
  };
  return all;
}

void disturb(World& world, bool about_slots) {
  if (about_slots && world.pick(0, 1) == 0) {
    world.bring_neighbour(kMiB);
    return;
  }
  auto give_in = [&](std::uint64_t bytes) {
    if (world.place->charge(bytes).admitted()) world.held += bytes;
  };
  switch (world.pick(0, 7)) {
    case 0:
      (void)world.registry().release("a");
      break;
    case 1:
      (void)world.registry().create(world.request(world.pick(1, 300) * kMiB));
      break;
    case 2:
      (void)world.registry().extend("a", kHour);
      break;
    case 3:
      resize_a(world, world.pick(1, 600) * kMiB, world.pick(0, 1) == 0);
      break;
    case 4:
      leave_corpses(world);
      break;
    case 5:
      world.place->credit(world.held / 2);
      world.held -= world.held / 2;
      break;
    case 6:
      give_in(world.a.limit_bytes - world.held);
      break;
    default:
      give_in(world.pick(1, 20) * kMiB);
      break;
  }
}

int run_new_image(char** arguments) {
  auto state = StateDir::open_at(arguments[0]);
  Registry registry{std::move(*state)};
  const auto listed = registry.list();
  if (!listed) return 1;
  for (const PartitionInfo& one : *listed) {
    if (one.token != arguments[1]) continue;
    auto grant = read_grant(registry.state(), grant_name(one));
    if (!grant) return 1;
    auto place = Attachment::attach(registry.state(), *grant);
    if (!place) return 1;
    (void)place->release()->charge(2 * kMiB);
  }
  return 0;
}

}  // namespace chronos::crash
