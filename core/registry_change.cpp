// Partitions that change while programs run in them: extend and resize.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "core/clock.hpp"
#include "core/crash_point.hpp"
#include "core/drivers.hpp"
#include "core/grant_writer.hpp"
#include "core/inventory_store.hpp"
#include "core/ownership.hpp"
#include "core/registry_lock.hpp"
#include "core/registry_look.hpp"
#include "core/text.hpp"
#include "core/units.hpp"
#include "core/users.hpp"

namespace chronos {

struct Registry::Change {
  RegistryLock lock;
  Look seen;
  Entry entry;  // as it stands
  GrantWriter writer;
};

namespace {

constexpr std::uint64_t kLongest = kMaxDurationSeconds * kNanosPerSecond;

tl::unexpected<Error> already_ended(std::string_view id) {
  return fail(ErrorCode::kExpired, fmt::format("Partition {} has already ended", escaped(id, 80)),
              "make another one with `chronos create`");
}

tl::unexpected<Error> not_to_be_changed(const Grant& grant) {
  if (!grant.is_mine) {
    return fail(ErrorCode::kPermission,
                "Permission denied: partition owned by " + user_name(grant.owner));
  }
  const std::string creator = user_name(grant.creator);
  return fail(ErrorCode::kPermission,
              fmt::format("Permission denied: partition granted by {}", creator),
              fmt::format("only {} can extend or resize it; you can release it", creator));
}

tl::unexpected<Error> too_small(const Grant& grant, std::uint64_t held) {
  constexpr std::uint64_t kMebibyte = 1 << 20;
  const std::string least =
      held % kMebibyte == 0 ? fmt::format("{}MiB", held / kMebibyte) : fmt::format("{}B", held);
  return fail(ErrorCode::kInUse,
              fmt::format("Partition {} holds {}", grant.id(), format_bytes(held)),
              fmt::format("ask for at least {}; or with --drain the new limit holds at once and "
                          "what is above it drains",
                          least));
}

// As the remembered inventory has it; the grant itself says only what its creator believed.
Device device_of(const StateDir& state, const Grant& grant) {
  auto stored = InventoryStore(state, find_drivers().key).read([](const auto&) { return true; });
  if (stored) {
    for (const Device& device : stored->inventory.devices) {
      if (device.key == grant.device_key) return device;
    }
  }
  Device device;
  device.key = grant.device_key;
  device.name = grant.device_name;
  device.index = grant.device_index;
  device.total_bytes = grant.device_total_bytes;
  return device;
}

}  // namespace

Result<Registry::Change> Registry::begin_change(std::string_view id) {
  auto lock = RegistryLock::acquire(state_);
  if (!lock) return pass_on(lock);
  auto seen = look_at_all();
  if (!seen) return pass_on(seen);
  auto chosen = seen->choose(id);
  if (!chosen) {
    const bool ended = chosen.error().code == ErrorCode::kNotFound &&
                       std::any_of(seen->entries.begin(), seen->entries.end(),
                                   [&](const Entry& one) { return matches(one.grant, id); });
    if (ended) return already_ended(id);
    return pass_on(chosen);
  }
  Entry entry = **chosen;
  auto writer = GrantWriter::open(state_, entry.name);
  if (!writer) {
    if (writer.error().code == ErrorCode::kPermission) return not_to_be_changed(entry.grant);
    if (writer.error().code == ErrorCode::kNotFound) return partition_not_found(id);
    if (writer.error().code == ErrorCode::kDamaged) {
      writer.error().message =
          fmt::format("{}/{} {}", state_.path(), entry.name.text(), writer.error().message);
    }
    return pass_on(writer);
  }
  entry.grant = writer->grant();
  if (entry.grant.ended || boot_now() >= entry.grant.deadline_ns) return already_ended(id);
  return Change{std::move(*lock), std::move(*seen), std::move(entry), std::move(*writer)};
}

// What a grant may become: asked before more time or more memory is given, as create() asks before
// it gives any.
Result<void> Registry::check_terms(const Change& change, const Device& device,
                                   std::uint64_t limit_bytes, std::uint64_t duration_ns) {
  if (duration_ns > kLongest) {
    return fail(ErrorCode::kInvalid, "invalid duration: at most 100 years in all");
  }
  const Grant& grant = change.entry.grant;
  return change.seen.may_have(grant.owner, device, limit_bytes, duration_ns, &grant.token);
}

Result<PartitionInfo> Registry::extend(std::string_view id, std::uint64_t duration_ns) {
  if (duration_ns == 0 || duration_ns > kLongest) {
    return fail(ErrorCode::kInvalid, "invalid duration: more than 0 seconds, at most 100 years");
  }
  auto change = begin_change(id);
  if (!change) return pass_on(change);
  Grant& grant = change->entry.grant;
  const std::uint64_t before = grant.deadline_ns;
  const std::uint64_t raw_before = change->writer.words().deadline_ns;
  auto allowed = check_terms(*change, device_of(state_, grant), grant.limit_bytes,
                             grant.duration_ns + duration_ns);
  if (!allowed) return pass_on(allowed);

  CHRONOS_POINT(extend_begun);
  auto stored = change->writer.set_deadline(before + duration_ns);
  if (!stored) return pass_on(stored);
  CHRONOS_POINT(extend_stored);
  // Only now is it certain that it had not ended before: what has been seen to end stays ended.
  const std::uint64_t now = boot_now();
  auto grant_now = read_grant(state_, change->entry.name);
  auto use_now = read_ledger(state_, grant);
  if (now >= before || !grant_now || grant_now->ended || (use_now && use_now->ended)) {
    CHRONOS_POINT(extend_too_late);
    (void)change->writer.set_deadline(raw_before);
    CHRONOS_POINT(extend_taken_back);
    return already_ended(id);
  }
  grant = std::move(*grant_now);
  if (use_now) change->entry.use = std::move(*use_now);
  return change->entry.info();
}

Result<PartitionInfo> Registry::resize(std::string_view id, const MemoryAmount& memory,
                                       bool drain) {
  if (!(memory.bytes > 0 || (memory.fraction > 0 && memory.fraction <= 1))) {
    return fail(ErrorCode::kInvalid, "invalid memory: more than 0, and a share at most 1");
  }
  auto change = begin_change(id);
  if (!change) return pass_on(change);
  Entry& entry = change->entry;
  const Device device = device_of(state_, entry.grant);
  const std::uint64_t bytes = memory.on(device.total_bytes);
  if (bytes == 0) {
    return fail(ErrorCode::kInvalid, "invalid memory: the share is less than a byte of the device");
  }
  if (bytes < entry.grant.limit_bytes) {
    auto lowered = store_lower_limit(*change, bytes, drain);
    if (!lowered) return pass_on(lowered);
  } else if (bytes > entry.grant.limit_bytes) {
    const std::uint64_t taken = std::max(entry.grant.limit_bytes, entry.use.used_bytes);
    if (bytes > taken) {
      if (hidden_ > 0) return strangers_are_hidden(state_, "resize it outside");
      const std::uint64_t available =
          change->seen.use_of(device, &entry.grant.token).available_bytes;
      auto fits = check_capacity(device, bytes, available, taken);
      if (!fits) return pass_on(fits);
      const std::uint64_t now = boot_now();
      const std::uint64_t deadline = entry.grant.deadline_ns;
      auto turn =
          turn_of_another(change->seen, device, bytes - taken, deadline > now ? deadline - now : 0);
      if (turn) return tl::unexpected<Error>(std::move(*turn));
    }
    auto allowed = check_terms(*change, device, bytes, entry.grant.duration_ns);
    if (!allowed) return pass_on(allowed);
    CHRONOS_POINT(grow_admitted);
    auto stored = change->writer.set_limit(bytes);
    if (!stored) return pass_on(stored);
    CHRONOS_POINT(grow_stored);
  }
  // Released meanwhile? Then nothing has come of it.
  auto grant_now = read_grant(state_, entry.name);
  auto use_now = grant_now ? read_ledger(state_, *grant_now) : Result<LedgerUse>();
  if (!grant_now || grant_now->ended || (use_now && use_now->ended)) return already_ended(id);
  entry.grant = std::move(*grant_now);
  if (use_now) entry.use = std::move(*use_now);
  return entry.info();
}

// Stores first and sums after: a charge that did not see the new limit is in the sum.
Result<void> Registry::store_lower_limit(Change& change, std::uint64_t bytes, bool drain) {
  GrantWriter& writer = change.writer;
  Grant grant = change.entry.grant;
  const GrantWords before = writer.words();
  auto held = read_ledger(state_, grant);
  if (!held) {
    return fail(ErrorCode::kDamaged,
                fmt::format("cannot tell what partition {} holds: its ledger {}", grant.id(),
                            held.error().message));
  }
  // A look first, so that a plain refusal has touched nothing.
  if (!drain && held->used_bytes > bytes) return too_small(grant, held->used_bytes);

  // What may be held until the sum is known counts from here on, though we be killed.
  CHRONOS_POINT(shrink_begun);
  const std::uint64_t most = grant.most_held_bytes();
  auto stored = writer.set_draining(most);
  CHRONOS_POINT(shrink_draining_stored);
  if (stored) stored = writer.set_limit(bytes);
  CHRONOS_POINT(shrink_limit_stored);
  grant.draining_bytes = most;
  grant.limit_bytes = bytes;
  if (stored) held = read_ledger(state_, grant);
  CHRONOS_POINT(shrink_summed);
  if (stored && held && (drain || held->used_bytes <= bytes)) {
    return writer.set_draining(held->used_bytes > bytes ? held->used_bytes : 0);
  }
  (void)writer.set_limit(before.limit_bytes);
  CHRONOS_POINT(shrink_limit_restored);
  (void)writer.set_draining(before.draining_bytes);
  CHRONOS_POINT(shrink_draining_restored);
  if (!stored) return stored;
  if (!held) return pass_on(held);
  return too_small(grant, held->used_bytes);
}

}  // namespace chronos
