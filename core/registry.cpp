#include "core/registry.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <ctime>

#include "core/clock.hpp"
#include "core/crash_point.hpp"
#include "core/ownership.hpp"
#include "core/partition_files.hpp"
#include "core/registry_lock.hpp"
#include "core/registry_look.hpp"
#include "core/ticket.hpp"
#include "core/units.hpp"
#include "core/users.hpp"

namespace chronos {
namespace {

template <std::size_t N>
void copy_text(char (&to)[N], std::string_view from) {
  std::size_t length = std::min(from.size(), N - 1);
  std::copy_n(from.begin(), length, to);
  to[length] = '\0';
}

struct NextNumber {
  std::uint64_t number = 0;
  bool is_users_first = false;  // in this boot
};

// Numbers are not used again within a boot: each creator remembers the highest of its own, and
// everybody takes the next after the highest that anybody knows. Somebody who writes nonsense into
// their counter can make others take a number twice, but none that is taken.
Result<NextNumber> next_number(const StateDir& state, const std::vector<FileName>& names,
                               const std::function<bool(std::uint64_t)>& is_taken) {
  const uid_t me = ::geteuid();
  std::uint64_t highest = 0;
  std::optional<FileName> own;
  for (const FileName& name : names) {
    if (name.kind == FileKind::kCounter) {
      highest = std::max(highest, read_counter(state, name));
      if (name.uid == me && is_file_of(state, name, me)) own = name;
    }
  }
  NextNumber next{highest + 1, !own || read_counter(state, *own) == 0};
  while (next.number == 0 || is_taken(next.number)) ++next.number;
  CHRONOS_POINT(number_chosen);
  auto written = write_counter(state, own, next.number);
  if (!written && own) written = write_counter(state, std::nullopt, next.number);
  if (!written) return pass_on(written);
  return next;
}

}  // namespace

// How long those in line may take over their turn before others go first.
constexpr std::chrono::seconds kTurn{1};

Result<Registry> Registry::open() {
  auto state = StateDir::open_or_make();
  if (!state) {
    state.error().code = ErrorCode::kSystem;  // kNotFound is about partitions here
    return pass_on(state);
  }
  return Registry(std::move(*state));
}

// Everything that can be judged without a look. The owner of the partition to be.
Result<uid_t> Registry::check(const CreateRequest& request) const {
  const uid_t me = ::geteuid();
  if (owners_are_hidden(state_)) {
    return fail(ErrorCode::kPermission,
                fmt::format("Permission denied: in this user namespace nobody can tell whose the "
                            "partitions in {} are",
                            state_.path()),
                "create it outside");
  }
  const uid_t owner = request.owner.value_or(me);
  if (owner != me && me != 0) {
    return fail(ErrorCode::kPermission,
                "Permission denied: only administrators can create partitions for other users",
                "leave out --user, or use sudo");
  }
  if (!request.name.empty()) {
    auto good = check_name(request.name);
    if (!good) return pass_on(good);
  }
  if (request.duration_ns == 0 || request.duration_ns > kMaxDurationSeconds * kNanosPerSecond) {
    return fail(ErrorCode::kInvalid, "invalid duration: more than 0 seconds, at most 100 years");
  }
  if (!(request.memory.bytes > 0 ||
        (request.memory.fraction > 0 && request.memory.fraction <= 1)) ||
      request.memory.on(request.device.total_bytes) == 0) {
    return fail(ErrorCode::kInvalid, "invalid memory: the share is less than a byte of the device");
  }
  return owner;
}

Result<PartitionInfo> Registry::create(const CreateRequest& request) {
  auto owner = check(request);
  if (!owner) return pass_on(owner);
  const auto until = std::chrono::steady_clock::now() + kTurn;
  for (;;) {
    Line line;
    line.overtake = std::chrono::steady_clock::now() >= until;
    {
      auto lock = RegistryLock::acquire(state_);
      if (!lock) return pass_on(lock);
      auto made = admit(request, *owner, line);
      if (made || !line.held_back) return made;
    }
    // Somebody in line is about to take what is free: let them.
    timespec pause{0, 5'000'000};
    ::nanosleep(&pause, nullptr);
  }
}

// Whoever asks without waiting must not take what others stand in line for.
std::optional<Error> Registry::turn_of_another(const Look& look, const Device& device,
                                               std::uint64_t bytes, std::uint64_t available,
                                               Line& line) const {
  if (line.is_first) return std::nullopt;
  for (const Waiting& waiting : read_tickets(state_, look.names)) {
    if (waiting.device_key != device.key || waiting.bytes > device.total_bytes) {
      continue;
    }
    // Nobody can block a device with a ticket, written by hand, for what they may not have.
    const uid_t waiter = waiting.file.uid;
    if (!look.may_have(waiter, device, waiting.bytes, 0, nullptr, waiter)) continue;
    const bool could_go_on = waiting.bytes <= available;
    if (could_go_on && line.overtake) continue;
    line.held_back = could_go_on;
    return Error{
        ErrorCode::kNoCapacity,
        fmt::format("Not enough available memory on device {}", device.index),
        fmt::format(
            "asked {}, available {}, but {} waits in line for {}; `chronos create --wait` joins "
            "the line",
            format_bytes(bytes), format_bytes(available), user_name(waiting.file.uid),
            format_bytes(waiting.bytes))};
  }
  return std::nullopt;
}

Result<PartitionInfo> Registry::admit(const CreateRequest& request, uid_t owner, Line& line) {
  // What partitions may take at most is in their grants. Only where that leaves no room, or
  // something else is in the way, it counts what their programs hold, and who has ended without a
  // word in the grant.
  const uid_t me = ::geteuid();
  const std::uint32_t tag = TokenTags::of(request.device.key, 0, {}).device;
  Scope scope;
  scope.asked_for = &request.device;
  scope.all_ledgers = false;
  scope.wants = [=](const FileName& name) {
    return name.uid == owner || name.uid == me || TokenTags::of(name.token).device == tag;
  };
  auto seen = look(scope);
  if (!seen) return pass_on(seen);
  sweep(*seen);
  // Whether others must come first depends on what they may have.
  const bool alone = std::none_of(seen->names.begin(), seen->names.end(), [](const FileName& name) {
    return name.kind == FileKind::kTicket;
  });
  if (!alone || !judge(request, owner, *seen, line)) {
    seen = look({{}, true, &request.device});
    if (!seen) return pass_on(seen);
    sweep(*seen);
    auto good = judge(request, owner, *seen, line);
    if (!good) return pass_on(good);
  }
  CHRONOS_POINT(create_admitted);
  auto number = next_number(state_, seen->names,
                            [&](std::uint64_t one) { return seen->has_number(state_, one); });
  if (!number) return pass_on(number);
  CHRONOS_POINT(create_numbered);

  const Device& device = request.device;
  GrantLayout layout{};
  layout.magic = GrantLayout::kMagic;
  layout.version = GrantLayout::kVersion;
  layout.size = kGrantFileSize;
  layout.token = grant_token(TokenTags::of(device.key, number->number, request.name));
  layout.boot_id = this_boot();
  layout.number = number->number;
  layout.owner_uid = owner;
  layout.creator_uid = me;
  const ProcessIdentity self = this_process();
  layout.creator_pid = self.pid;
  layout.held = request.held ? 1 : 0;
  layout.holder_pid_namespace = self.pid_namespace;
  layout.holder_start_ticks = self.start_ticks;
  layout.device_index = device.index;
  layout.device_total_bytes = device.total_bytes;
  layout.fraction = request.memory.share_of(device.total_bytes);
  copy_text(layout.name, request.name);
  copy_text(layout.device_key, device.key);
  copy_text(layout.device_name, device.name);
  layout.birth_ns = boot_now();
  layout.duration_ns = request.duration_ns;
  layout.checksum = layout.compute_checksum();
  layout.limit_bytes.store(request.memory.on(device.total_bytes));
  layout.deadline_ns.store(layout.birth_ns + request.duration_ns);

  const FileName name{owner, layout.token, FileKind::kGrant};
  auto grant = validate(layout, name.token, owner, layout.creator_uid);
  if (!grant) {
    return fail(ErrorCode::kInvalid,
                "the device cannot be recorded: the grant " + grant.error().message);
  }
  auto made = make_partition(state_, name, layout);
  if (!made) return pass_on(made);
  CHRONOS_POINT(create_made);
  made_users_first_ = number->is_users_first;
  return Entry{name, std::move(*grant), {}, false}.info();
}

// Whether, by what was seen, a request can be met now.
Result<void> Registry::judge(const CreateRequest& request, uid_t owner, const Look& seen,
                             Line& line) const {
  for (const Entry& entry : seen.entries) {
    if (!entry.over && !request.name.empty() && entry.grant.owner == owner &&
        entry.grant.name == request.name) {
      return fail(
          ErrorCode::kNameInUse,
          fmt::format("the name {} is in use by {}", request.name, number_id(entry.grant.number)),
          fmt::format("choose another, or `chronos release {}`", request.name));
    }
  }
  const Device& device = request.device;
  const std::uint64_t bytes = request.memory.on(device.total_bytes);
  auto allowed = seen.may_have(owner, device, bytes, request.duration_ns);
  if (!allowed) return pass_on(allowed);
  const std::uint64_t available = seen.use_of(device).available_bytes;
  auto fits = check_capacity(device, bytes, available);
  if (!fits) return pass_on(fits);
  if (auto error = turn_of_another(seen, device, bytes, available, line)) {
    return tl::unexpected<Error>(std::move(*error));
  }
  return {};
}

Result<PartitionInfo> Registry::release(std::string_view id) {
  auto seen = look_for(id);
  if (!seen) return pass_on(seen);
  auto found = seen->choose(id);
  if (!found) return pass_on(found);
  const Entry* chosen = *found;
  CHRONOS_POINT(release_chosen);

  const uid_t me = ::geteuid();
  Result<void> ended;
  if (me == 0 || chosen->grant.creator == me) {
    ended = end_grant(state_, chosen->name);
  } else if (chosen->is_mine()) {
    ended = end_ledger(state_, chosen->grant);
  } else {
    return fail(ErrorCode::kPermission,
                "Permission denied: partition owned by " + user_name(chosen->grant.owner));
  }
  if (!ended && ended.error().code == ErrorCode::kNotFound) return partition_not_found(id);
  if (!ended && ended.error().code == ErrorCode::kDamaged) {
    ended.error().message =
        fmt::format("{}/{} {}", state_.path(), chosen->name.text(), ended.error().message);
  }
  if (!ended) return pass_on(ended);

  CHRONOS_POINT(release_ended);
  Entry result = *chosen;
  result.over = true;
  // That was the release; to tidy up, nobody's lock is worth waiting for.
  if (auto lock = RegistryLock::try_acquire(state_)) (void)put_away(result);
  return result.info();
}

}  // namespace chronos
