// Admission: what a request for memory may have now, on which devices, and the making of it.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <ctime>

#include "core/clock.hpp"
#include "core/crash_point.hpp"
#include "core/ownership.hpp"
#include "core/registry_line.hpp"
#include "core/registry_lock.hpp"
#include "core/reservation.hpp"
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

struct NextNumbers {
  std::vector<std::uint64_t> numbers;
  bool is_users_first = false;  // in this boot
};

// Numbers are not used again within a boot: each creator remembers the highest of its own, and
// everybody takes the next after the highest that anybody knows. Somebody who writes nonsense into
// their counter can make others take a number twice, but none that is taken.
Result<NextNumbers> next_numbers(const StateDir& state, const std::vector<FileName>& names,
                                 std::size_t count,
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
  NextNumbers next{{}, !own || read_counter(state, *own) == 0};
  for (std::uint64_t number = highest + 1; next.numbers.size() < count; ++number) {
    if (number != 0 && !is_taken(number)) next.numbers.push_back(number);
  }
  CHRONOS_POINT(number_chosen);
  auto written = write_counter(state, own, next.numbers.back());
  if (!written && own) written = write_counter(state, std::nullopt, next.numbers.back());
  if (!written) return pass_on(written);
  return next;
}

// How long those in line may take over their turn before others go first.
constexpr std::chrono::seconds kTurn{1};

std::string name_on(const ReserveRequest& request, const Device& device) {
  if (request.name.empty() || request.count == 1) return request.name;
  return fmt::format("{}.{}", request.name, device.index);
}

std::string devices_text(const std::vector<Device>& devices) {
  if (devices.size() == 1) return fmt::format("device {}", devices.front().index);
  std::vector<int> numbers;
  for (const Device& device : devices) numbers.push_back(device.index);
  return fmt::format("devices {}", fmt::join(numbers, ", "));
}

ReserveRequest reserve_request(const CreateRequest& request) {
  ReserveRequest one;
  one.candidates = {request.device};
  one.memory = request.memory;
  one.duration_ns = request.duration_ns;
  one.owner = request.owner;
  one.name = request.name;
  one.held = request.held;
  return one;
}

Result<void> check_shape(const ReserveRequest& request) {
  if (request.count == 0 || request.candidates.size() < request.count) {
    return fail(ErrorCode::kInvalid,
                fmt::format("cannot take {} of {} device{}", request.count,
                            request.candidates.size(), request.candidates.size() == 1 ? "" : "s"));
  }
  if (request.candidates.size() > kMaxCandidates) {
    return fail(ErrorCode::kInvalid, fmt::format("more than {} devices", kMaxCandidates));
  }
  if (request.count > 1 && !request.held) {
    return fail(ErrorCode::kInvalid, "memory on several devices at once can only be held");
  }
  for (auto one = request.candidates.begin(); one != request.candidates.end(); ++one) {
    const bool twice = std::any_of(request.candidates.begin(), one,
                                   [&](const Device& other) { return other.key == one->key; });
    if (twice) return fail(ErrorCode::kInvalid, fmt::format("device {} twice", one->index));
  }
  return {};
}

Result<void> check_holder(const ReserveRequest& request) {
  if (!request.holder) return {};
  const ProcessIdentity& holder = *request.holder;
  const bool good = request.held && holder.pid > 0 && liveness_of(holder) == Liveness::kAlive &&
                    (::geteuid() == 0 || may_run_as(holder.pid, ::geteuid()));
  if (good) return {};
  return fail(
      ErrorCode::kInvalid,
      fmt::format("process {} cannot hold a partition: it is gone, or another user's", holder.pid));
}

}  // namespace

// Everything that can be judged without a look. The owner of the partitions to be.
Result<uid_t> Registry::check(const ReserveRequest& request) const {
  const uid_t me = ::geteuid();
  if (owners_are_hidden(state_)) {
    return strangers_are_hidden(state_, "create it outside");
  }
  const uid_t owner = request.owner.value_or(me);
  if (owner != me && me != 0) {
    return fail(ErrorCode::kPermission,
                "Permission denied: only administrators can create partitions for other users",
                "leave out --user, or use sudo");
  }
  auto good = check_shape(request);
  if (!good) return pass_on(good);
  for (const Device& device : request.candidates) {
    if (request.name.empty()) break;
    good = check_name(name_on(request, device));
    if (!good) return pass_on(good);
  }
  if (request.duration_ns == 0 || request.duration_ns > kMaxDurationSeconds * kNanosPerSecond) {
    return fail(ErrorCode::kInvalid, "invalid duration: more than 0 seconds, at most 100 years");
  }
  for (const Device& device : request.candidates) {
    if (!(request.memory.bytes > 0 ||
          (request.memory.fraction > 0 && request.memory.fraction <= 1)) ||
        request.memory.on(device.total_bytes) == 0) {
      return fail(ErrorCode::kInvalid,
                  "invalid memory: the share is less than a byte of the device");
    }
  }
  good = check_holder(request);
  if (!good) return pass_on(good);
  return owner;
}

Result<PartitionInfo> Registry::create(const CreateRequest& request) {
  auto made = reserve(reserve_request(request));
  if (!made) return pass_on(made);
  return std::move(made->front());
}

Result<PartitionInfo> Registry::create_when_free(const CreateRequest& request,
                                                 const WaitOptions& options) {
  auto waiting = Reservation::join(*this, reserve_request(request), options);
  if (!waiting) return pass_on(waiting);
  auto made = waiting->wait();
  if (!made) return pass_on(made);
  return std::move(made->front());
}

Result<std::vector<PartitionInfo>> Registry::reserve(const ReserveRequest& request) {
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

Result<std::vector<PartitionInfo>> Registry::admit(const ReserveRequest& request, uid_t owner,
                                                   Line& line) {
  // What partitions may take at most is in their grants. Only where that leaves no room, or
  // something else is in the way, it counts what their programs hold, and who has ended without a
  // word in the grant.
  const uid_t me = ::geteuid();
  std::vector<std::uint32_t> tags;
  for (const Device& device : request.candidates) {
    tags.push_back(TokenTags::of(device.key, 0, {}).device);
  }
  // Only one: for several, a policy's shares are of what the inventory says.
  const Device* asked_for = &request.candidates.front();
  Scope scope;
  scope.asked_for = asked_for;
  scope.all_ledgers = false;
  scope.wants = [&](const FileName& name) {
    return name.uid == owner || name.uid == me ||
           std::find(tags.begin(), tags.end(), TokenTags::of(name.token).device) != tags.end();
  };
  auto seen = look(scope);
  if (!seen) return pass_on(seen);
  if (hidden_ > 0) return strangers_are_hidden(state_, "create it outside");
  sweep(*seen);
  // Whether others must come first depends on what they may have.
  const bool alone = std::none_of(seen->names.begin(), seen->names.end(), [](const FileName& name) {
    return name.kind == FileKind::kTicket;
  });
  Result<std::vector<std::size_t>> chosen;
  if (alone) chosen = judge(request, owner, *seen, line);
  if (!alone || !chosen) {
    seen = look({{}, true, asked_for});
    if (!seen) return pass_on(seen);
    sweep(*seen);
    chosen = judge(request, owner, *seen, line);
    if (!chosen) return pass_on(chosen);
  }
  CHRONOS_POINT(create_admitted);
  return make(request, owner, *chosen, *seen);
}

Result<std::vector<PartitionInfo>> Registry::make(const ReserveRequest& request, uid_t owner,
                                                  const std::vector<std::size_t>& chosen,
                                                  const Look& seen) {
  auto next = next_numbers(state_, seen.names, chosen.size(),
                           [&](std::uint64_t one) { return seen.has_number(state_, one); });
  if (!next) return pass_on(next);
  CHRONOS_POINT(create_numbered);
  std::vector<Entry> made;
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    auto one = make_one(request, owner, request.candidates[chosen[i]], next->numbers[i]);
    if (!one) {
      for (const Entry& other : made) (void)put_away(other);
      return pass_on(one);
    }
    CHRONOS_POINT(create_made);
    made.push_back(std::move(*one));
  }
  made_users_first_ = next->is_users_first;
  std::vector<PartitionInfo> all;
  for (Entry& one : made) all.push_back(std::move(one).info());
  return all;
}

Result<Registry::Entry> Registry::make_one(const ReserveRequest& request, uid_t owner,
                                           const Device& device, std::uint64_t number) {
  const std::string name = name_on(request, device);
  GrantLayout layout{};
  layout.magic = GrantLayout::kMagic;
  layout.version = GrantLayout::kVersion;
  layout.size = kGrantFileSize;
  layout.token = grant_token(TokenTags::of(device.key, number, name));
  layout.boot_id = this_boot();
  layout.number = number;
  layout.owner_uid = owner;
  layout.creator_uid = ::geteuid();
  const ProcessIdentity holder = request.holder.value_or(this_process());
  layout.creator_pid = holder.pid;
  layout.held = request.held ? 1 : 0;
  layout.holder_pid_namespace = holder.pid_namespace;
  layout.holder_start_ticks = holder.start_ticks;
  layout.device_index = device.index;
  layout.device_total_bytes = device.total_bytes;
  layout.fraction = request.memory.share_of(device.total_bytes);
  copy_text(layout.name, name);
  copy_text(layout.device_key, device.key);
  copy_text(layout.device_name, device.name);
  layout.birth_ns = boot_now();
  layout.duration_ns = request.duration_ns;
  layout.checksum = layout.compute_checksum();
  layout.limit_bytes.store(request.memory.on(device.total_bytes));
  layout.deadline_ns.store(layout.birth_ns + request.duration_ns);

  const FileName file{owner, layout.token, FileKind::kGrant};
  auto grant = validate(layout, file.token, owner, layout.creator_uid);
  if (!grant) {
    return fail(ErrorCode::kInvalid,
                "the device cannot be recorded: the grant " + grant.error().message);
  }
  auto made = make_partition(state_, file, layout);
  if (!made) return pass_on(made);
  grant->is_mine = owner == state_.users().me();
  grant->may_write = true;
  return Entry{file, std::move(*grant), {}, false};
}

// Which of the candidates, by what was seen, the request can have now.
Result<std::vector<std::size_t>> Registry::judge(const ReserveRequest& request, uid_t owner,
                                                 const Look& seen, Line& line) const {
  const std::vector<Device>& candidates = request.candidates;
  for (const Entry& entry : seen.entries) {
    if (entry.over || request.name.empty() || entry.grant.owner != owner) continue;
    const bool in_use = std::any_of(candidates.begin(), candidates.end(), [&](const Device& one) {
      return entry.grant.name == name_on(request, one);
    });
    if (!in_use) continue;
    return fail(
        ErrorCode::kNameInUse,
        fmt::format("the name {} is in use by {}", entry.grant.name, number_id(entry.grant.number)),
        fmt::format("choose another, or `chronos release {}`", entry.grant.name));
  }
  const std::vector<Waiting> ahead = line.ahead ? *line.ahead : read_tickets(state_, seen.names);
  Judged judged = weigh(request, owner, seen, ahead);
  if (judged.claim.wishes.size() < request.count) {
    return tl::unexpected<Error>(std::move(*judged.forbidden));
  }
  const std::vector<bool> could =
      judged.pass([&](std::size_t) { return line.overtake && !line.ahead; });
  const Turn turn = turn_of(judged.outlook, judged.claim, request.choice, judged.ahead);
  if (turn.chosen.size() == request.count) {
    std::vector<std::size_t> chosen;
    for (const std::size_t wish : turn.chosen) chosen.push_back(judged.candidate_of_wish[wish]);
    return chosen;
  }
  const std::string message =
      fmt::format("Not enough available memory on {}", devices_text(candidates));
  const Claim::Wish& first = judged.claim.wishes.front();
  if (!turn.behind) {
    if (candidates.size() == 1) {
      auto fits =
          check_capacity(candidates.front(), first.bytes, judged.outlook.room(first.device_key));
      if (!fits) return pass_on(fits);
    }
    return fail(
        ErrorCode::kNoCapacity, message,
        fmt::format("asked {}, {} of them ha{} room; `chronos list` shows who has the rest "
                    "and until when",
                    asked_text(judged.claim), turn.with_room, turn.with_room == 1 ? "s" : "ve"));
  }
  line.held_back = could[*turn.behind];
  const Waiting& other = ahead[*turn.behind];
  const std::string available =
      candidates.size() > 1
          ? fmt::format("{} have room", turn.with_room)
          : fmt::format("available {}", format_bytes(judged.outlook.room(first.device_key)));
  return fail(ErrorCode::kNoCapacity, message,
              fmt::format("asked {}, {}, but {} waits in line for {}; `chronos create --wait` "
                          "joins the line",
                          asked_text(judged.claim), available, user_name(other.file.uid),
                          asked_text(other.claim)));
}

}  // namespace chronos
