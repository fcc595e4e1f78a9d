#include "core/registry.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <tuple>

#include "core/clock.hpp"
#include "core/partition_files.hpp"
#include "core/registry_lock.hpp"
#include "core/text.hpp"
#include "core/ticket.hpp"
#include "core/users.hpp"

namespace chronos {

const char* to_string(PartitionState state) {
  return state == PartitionState::kActive ? "active" : "draining";
}

double DeviceUse::available_percent(std::uint64_t total) const {
  return total == 0 ? 0 : 100.0 * static_cast<double>(available_bytes) / static_cast<double>(total);
}

namespace {

tl::unexpected<Error> not_found(std::string_view id) {
  return fail(ErrorCode::kNotFound,
              fmt::format("Partition not found or already released: {}", escaped(id, 80)),
              "`chronos list` shows the partitions there are");
}

PartitionInfo describe(const Grant& grant, const LedgerUse& use, PartitionState state) {
  PartitionInfo info;
  info.id = grant.id();
  info.name = grant.name;
  info.number = grant.number;
  info.token = token_text(grant.token);
  info.device_key = grant.device_key;
  info.device_name = grant.device_name;
  info.device_index = grant.device_index;
  info.device_total_bytes = grant.device_total_bytes;
  info.fraction = grant.fraction;
  info.limit_bytes = grant.limit_bytes;
  info.used_bytes = use.used_bytes;
  info.peak_bytes = use.peak_bytes;
  info.refusals = use.refusals;
  info.duration_ns = grant.duration_ns;
  const std::uint64_t now = boot_now();
  if (state == PartitionState::kActive && grant.deadline_ns > now) {
    info.remaining_ns = grant.deadline_ns - now;
  }
  info.expires_at =
      static_cast<std::int64_t>(std::time(nullptr)) +
      (static_cast<std::int64_t>(grant.deadline_ns) - static_cast<std::int64_t>(now)) /
          static_cast<std::int64_t>(kNanosPerSecond);
  info.owner = grant.owner;
  info.creator = grant.creator;
  info.pid = grant.creator_pid;
  info.state = state;
  info.held = grant.held;
  info.processes = use.processes;
  return info;
}

template <std::size_t N>
void copy_text(char (&to)[N], std::string_view from) {
  std::size_t length = std::min(from.size(), N - 1);
  std::copy_n(from.begin(), length, to);
  to[length] = '\0';
}

// A partition as one look found it.
struct Entry {
  FileName name;
  Grant grant;
  LedgerUse use;
  bool over = false;  // its time is up, or it was ended

  PartitionState state() const {
    return over ? PartitionState::kDraining : PartitionState::kActive;
  }
  bool gone() const { return over && use.used_bytes == 0; }
  bool is_mine() const { return grant.owner == ::geteuid(); }
  PartitionInfo info() const { return describe(grant, use, state()); }
};

// Makes the end of a partition known to running programs and then, if they hold nothing any more,
// takes its files away: the grant first, because a ledger without a grant is nobody's partition.
// The value says whether the files are gone. Needs the registry's lock.
Result<bool> put_away(const StateDir& state, const Entry& entry) {
  const uid_t me = ::geteuid();
  if (entry.grant.creator != me && me != 0) return false;
  auto ended = end_grant(state, entry.name);
  if (!ended) return pass_on(ended);
  // Only now the sum: a charge that did not see the end is in it.
  auto use = read_ledger(state, entry.grant);
  if (use && use->used_bytes > 0) return false;
  remove_file(state, entry.name);
  remove_file(state, {entry.name.uid, entry.name.token, FileKind::kLedger});
  return true;
}

// Numbers are not used again within a boot: each creator remembers the highest of its own, and
// everybody takes the next after the highest that anybody knows.
Result<std::uint64_t> next_number(const StateDir& state, const std::vector<FileName>& names) {
  const uid_t me = ::geteuid();
  std::uint64_t highest = 0;
  std::optional<FileName> own;
  for (const FileName& name : names) {
    if (name.kind == FileKind::kCounter) {
      highest = std::max(highest, read_counter(state, name));
      if (name.uid == me) own = name;
    }
  }
  const std::uint64_t number = highest + 1;
  auto written = write_counter(state, own, number);
  if (!written) return pass_on(written);
  return number;
}

}  // namespace

struct Registry::Look {
  std::vector<FileName> names;
  std::vector<Entry> entries;  // oldest first
};

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

Result<Registry::Look> Registry::look() {
  auto names = scan(state_);
  if (!names) return pass_on(names);
  Look look{std::move(*names), {}};
  warnings_.clear();
  auto warn = [&](FileName name, FileKind kind, const Error& error) {
    name.kind = kind;
    if (error.code == ErrorCode::kExpired || (name.uid != ::geteuid() && ::geteuid() != 0)) return;
    warnings_.push_back(fmt::format("ignored {}/{}: it {} (remove it if it stays)", state_.path(),
                                    name.text(), error.message));
  };
  for (const FileName& name : look.names) {
    if (name.kind != FileKind::kGrant) continue;
    auto grant = read_grant(state_, name);
    if (!grant) {
      if (grant.error().code != ErrorCode::kNotFound) warn(name, name.kind, grant.error());
      continue;
    }
    Entry entry{name, std::move(*grant), {}, false};
    // The clock before the words: whoever charged before the deadline is then in the sum.
    entry.over = entry.grant.ended || boot_now() >= entry.grant.deadline_ns;
    auto use = read_ledger(state_, entry.grant);
    if (use) {
      entry.use = std::move(*use);
    } else if (read_grant(state_, name)) {  // else it was put away between the two looks
      warn(name, FileKind::kLedger, use.error());
    } else {
      continue;
    }
    const bool abandoned = entry.grant.held && !entry.use.any_live &&
                           liveness_of(entry.grant.holder) == Liveness::kDead;
    entry.over = entry.over || entry.use.ended || abandoned;
    look.entries.push_back(std::move(entry));
  }
  std::sort(look.entries.begin(), look.entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.grant.birth_ns, a.grant.number) < std::tie(b.grant.birth_ns, b.grant.number);
  });
  return look;
}

// Puts away what has ended or was left half made by a command that was killed, as far as the files
// are the caller's. Needs the registry's lock.
void Registry::sweep(Look& look) {
  std::erase_if(look.entries, [&](const Entry& entry) {
    if (!entry.over) return false;
    auto gone = put_away(state_, entry);
    return gone && *gone;
  });
  const uid_t me = ::geteuid();
  std::vector<Token> granted;
  for (const FileName& name : look.names) {
    if (name.kind == FileKind::kGrant) granted.push_back(name.token);
  }
  std::sort(granted.begin(), granted.end());
  for (const FileName& name : look.names) {
    if (name.uid != me && me != 0) continue;
    const bool orphan = name.kind == FileKind::kTemporary ||
                        (name.kind == FileKind::kTicket && !is_waiting(state_, name)) ||
                        (name.kind == FileKind::kLedger &&
                         !std::binary_search(granted.begin(), granted.end(), name.token));
    if (orphan) remove_file(state_, name);
    if (name.kind != FileKind::kGrant) continue;
    auto grant = read_grant(state_, name);
    if (!grant && grant.error().code == ErrorCode::kExpired) {  // of an earlier boot
      remove_file(state_, name);
      remove_file(state_, {name.uid, name.token, FileKind::kLedger});
    }
  }
}

// Everything that can be judged without a look. The owner of the partition to be.
Result<uid_t> Registry::check(const CreateRequest& request) {
  const uid_t me = ::geteuid();
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
std::optional<Error> Registry::turn_of_another(const Look& look, const CreateRequest& request,
                                               std::uint64_t available, Line& line) const {
  const std::uint64_t bytes = request.memory.on(request.device.total_bytes);
  for (const Waiting& waiting : read_tickets(state_, look.names)) {
    auto same = [&](const FileName& file) { return file.token == waiting.file.token; };
    if (waiting.device_key != request.device.key ||
        (line.ahead != nullptr && std::none_of(line.ahead->begin(), line.ahead->end(), same)) ||
        waiting.bytes > request.device.total_bytes) {
      continue;
    }
    const bool could_go_on = waiting.bytes <= available;
    if (could_go_on && line.overtake) continue;
    line.held_back = could_go_on;
    return Error{ErrorCode::kNoCapacity,
                 fmt::format("Not enough available memory on device {}", request.device.index),
                 fmt::format("asked {}, available {}, but {} waits in line for {}; --wait joins "
                             "the line",
                             format_bytes(bytes), format_bytes(available),
                             user_name(waiting.file.uid), format_bytes(waiting.bytes))};
  }
  return std::nullopt;
}

Result<PartitionInfo> Registry::admit(const CreateRequest& request, uid_t owner, Line& line) {
  auto seen = look();
  if (!seen) return pass_on(seen);
  sweep(*seen);

  std::vector<PartitionInfo> partitions;
  for (const Entry& entry : seen->entries) {
    if (!entry.over && !request.name.empty() && entry.grant.owner == owner &&
        entry.grant.name == request.name) {
      return fail(
          ErrorCode::kNameInUse,
          fmt::format("the name {} is in use by {}", request.name, number_id(entry.grant.number)),
          fmt::format("choose another, or `chronos release {}`", request.name));
    }
    partitions.push_back(entry.info());
  }
  const Device& device = request.device;
  const std::uint64_t bytes = request.memory.on(device.total_bytes);
  const DeviceUse use = use_of(device, partitions);
  if (bytes > use.available_bytes) {
    return fail(ErrorCode::kNoCapacity,
                fmt::format("Not enough available memory on device {}", device.index),
                fmt::format("asked {}, available {} of {}; `chronos list` shows who has the rest "
                            "and until when",
                            format_bytes(bytes), format_bytes(use.available_bytes),
                            format_bytes(device.total_bytes)));
  }
  if (auto error = turn_of_another(*seen, request, use.available_bytes, line)) {
    return tl::unexpected<Error>(std::move(*error));
  }
  auto number = next_number(state_, seen->names);
  if (!number) return pass_on(number);

  GrantLayout layout{};
  layout.magic = GrantLayout::kMagic;
  layout.version = GrantLayout::kVersion;
  layout.size = kGrantFileSize;
  layout.token = random_token();
  layout.boot_id = this_boot();
  layout.number = *number;
  layout.owner_uid = owner;
  layout.creator_uid = ::geteuid();
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
  layout.limit_bytes.store(bytes);
  layout.deadline_ns.store(layout.birth_ns + request.duration_ns);

  const FileName name{owner, layout.token, FileKind::kGrant};
  auto grant = validate(layout, name.token, owner, layout.creator_uid);
  if (!grant) {
    return fail(ErrorCode::kInvalid,
                "the device cannot be recorded: the grant " + grant.error().message);
  }
  auto made = make_partition(state_, name, layout);
  if (!made) return pass_on(made);
  return describe(*grant, {}, PartitionState::kActive);
}

Result<PartitionInfo> Registry::release(std::string_view id) {
  auto seen = look();
  if (!seen) return pass_on(seen);
  const Entry* chosen = nullptr;
  for (const Entry& entry : seen->entries) {
    if (entry.over || !matches(entry.grant, id)) continue;
    if (chosen == nullptr || (!chosen->is_mine() && entry.is_mine())) {
      chosen = &entry;
    } else if (chosen->is_mine() == entry.is_mine()) {
      return fail(ErrorCode::kInvalid,
                  fmt::format("several partitions are called {}", escaped(id, 80)),
                  fmt::format("say {} or {}", number_id(chosen->grant.number),
                              number_id(entry.grant.number)));
    }
  }
  if (chosen == nullptr) return not_found(id);

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
  if (!ended && ended.error().code == ErrorCode::kNotFound) return not_found(id);  // just now
  if (!ended && ended.error().code == ErrorCode::kDamaged) {
    ended.error().message =
        fmt::format("{}/{} {}", state_.path(), chosen->name.text(), ended.error().message);
  }
  if (!ended) return pass_on(ended);

  Entry result = *chosen;
  result.over = true;
  // That was the release; to tidy up, nobody's lock is worth waiting for.
  if (auto lock = RegistryLock::try_acquire(state_)) (void)put_away(state_, result);
  return result.info();
}

Result<std::vector<PartitionInfo>> Registry::list() {
  auto seen = look();
  if (!seen) return pass_on(seen);
  const bool untidy =
      std::any_of(seen->entries.begin(), seen->entries.end(), [](const Entry& entry) {
        return entry.gone() && (entry.grant.creator == ::geteuid() || ::geteuid() == 0);
      });
  if (untidy) {
    if (auto lock = RegistryLock::try_acquire(state_)) {
      // Look again: what was half made a moment ago may be whole by now.
      seen = look();
      if (!seen) return pass_on(seen);
      sweep(*seen);
    }
  }
  std::vector<PartitionInfo> partitions;
  for (const Entry& entry : seen->entries) {
    if (!entry.gone()) partitions.push_back(entry.info());
  }
  return partitions;
}

Result<PartitionInfo> Registry::find(std::string_view id) {
  auto seen = look();
  if (!seen) return pass_on(seen);
  const Entry* chosen = nullptr;
  for (const Entry& entry : seen->entries) {
    if (entry.gone() || !matches(entry.grant, id)) continue;
    auto rank = [](const Entry& e) { return (e.is_mine() ? 2 : 0) + (e.over ? 0 : 1); };
    if (chosen == nullptr || rank(entry) > rank(*chosen)) chosen = &entry;
  }
  if (chosen == nullptr) return not_found(id);
  return chosen->info();
}

DeviceUse Registry::use_of(const Device& device, const std::vector<PartitionInfo>& partitions) {
  DeviceUse use;
  for (const PartitionInfo& partition : partitions) {
    if (partition.device_key != device.key) continue;
    // Nobody can hold or reserve more of a device than there is of it.
    use.used_bytes += std::min(partition.used_bytes, device.total_bytes);
    if (partition.state == PartitionState::kActive) {
      use.reserved_bytes += std::min(partition.limit_bytes, device.total_bytes);
      ++use.active_partitions;
    } else {
      use.draining_bytes += std::min(partition.used_bytes, device.total_bytes);
    }
  }
  const std::uint64_t taken = use.reserved_bytes + use.draining_bytes;
  use.available_bytes = device.total_bytes > taken ? device.total_bytes - taken : 0;
  return use;
}

}  // namespace chronos
