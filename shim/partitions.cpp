#include "shim/partitions.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "core/clock.hpp"
#include "core/grant_clamp.hpp"
#include "core/ownership.hpp"
#include "core/partition_files.hpp"
#include "core/text.hpp"
#include "core/users.hpp"
#include "shim/gate.hpp"

namespace chronos::shim {

namespace {

// What the state directory has for one user or one id, without ledgers.
struct Found {
  // There is one that may be the caller's, or a user's whom only this user namespace tells from
  // them.
  bool hidden = false;
  std::vector<Grant> grants;         // oldest first
  std::vector<std::string> damaged;  // "<path> is garbled"
};

bool is_over(const Grant& grant) { return grant.ended || boot_now() >= grant.deadline_ns; }

Result<Found> read_grants(const StateDir& state, auto wanted) {
  auto names = scan(state);
  if (!names) return pass_on(names);
  Found found;
  const UserView& users = state.users();
  for (const FileName& name : *names) {
    // In a user namespace a name does not tell whether the file is the caller's.
    if (name.kind != FileKind::kGrant || (users.is_plain() && !wanted(name))) continue;
    auto grant = read_grant(state, name);
    if (grant) {
      const bool of_another_here = users.hides_strangers() && !grant->is_mine;
      found.hidden = found.hidden || (of_another_here && !is_over(*grant));
      if (users.is_plain() || grant->is_mine || wanted(name)) {
        found.grants.push_back(std::move(*grant));
      }
    } else if (grant.error().code == ErrorCode::kPermission && !users.is_plain()) {
      found.hidden = found.hidden || may_be_mine(state, name);
    } else if (grant.error().code != ErrorCode::kNotFound &&
               grant.error().code != ErrorCode::kExpired && !squatter_of(state, name)) {
      found.damaged.push_back(
          fmt::format("{}/{} {}", state.path(), name.text(), grant.error().message));
    }
  }
  std::sort(found.grants.begin(), found.grants.end(),
            [](const Grant& a, const Grant& b) { return a.birth_ns < b.birth_ns; });
  return found;
}

}  // namespace

const UserPolicy& Partitions::rules() {
  if (!rules_) {
    policy_ = Policy::load();
    rules_ = policy_.is_empty() ? UserPolicy{} : policy_.for_caller();
  }
  return *rules_;
}

// The caller's own grants, as every reader clamps them. For the size of a device a grant is taken
// at its word: the driver's own answer may differ from what the inventory remembers.
void Partitions::clamp(std::vector<Grant>& grants) {
  rules();
  GrantClamp clamp(policy_, {});
  if (clamp.is_idle()) return;
  for (Grant& grant : grants) {
    if (!grant.is_mine) continue;
    clamp.clamp_deadline(grant);
    std::uint64_t used = 0;
    clamp.clamp_bytes(grant, is_over(grant), used);
  }
}

Place Partitions::unassigned_place(const std::string& device_name) {
  const Setting<Unassigned>& rule = rules().unassigned;
  if (rule.value == Unassigned::kAllow) return {};
  const PolicyProblem* problem = policy_.problem();
  Place place =
      refuse(problem != nullptr
                 ? fmt::format("{} is not in a partition, and the policy cannot be used: {}",
                               device_name, problem->line())
                 : fmt::format("you have no partition on {}, and the policy ({}) asks for one "
                               "(`chronos create`)",
                               device_name, rule.where));
  place.hidden = true;
  return place;
}

Place Partitions::refuse(const std::string& why) {
  for (const auto& reason : reasons_) {
    if (*reason == why) return {Place::Kind::kRefused, nullptr, reason.get(), false};
  }
  reasons_.push_back(std::make_unique<std::string>(why));
  return {Place::Kind::kRefused, nullptr, reasons_.back().get(), false};
}

Place Partitions::refuse_for_now(const Error& error) {
  Place place = refuse("partitions cannot be looked up: " + error.message);
  place.passing = true;
  return place;
}

Place Partitions::attach(const StateDir& state, const Grant& grant) {
  for (const auto& attachment : attachments_) {
    if (attachment->grant().token == grant.token) {
      return {Place::Kind::kCharged, attachment.get(), nullptr, false};
    }
  }
  auto attachment = Attachment::attach(state, grant);
  if (!attachment) {
    return refuse(
        fmt::format("partition {} cannot be used: {}", grant.id(), attachment.error().message));
  }
  attachments_.push_back(std::move(*attachment));
  return {Place::Kind::kCharged, attachments_.back().get(), nullptr, false};
}

void Partitions::read_environment() {
  read_ = true;
  const char* devices = trusted_env("CHRONOS_DEVICES");
  named_only_ = devices != nullptr && std::string_view(devices) == "partitions";
  const char* text = trusted_env("CHRONOS_PARTITION");
  if (text == nullptr) return;
  inherited_ = text;
  name(*inherited_);
}

void Partitions::name(std::string_view list) {
  std::string_view rest = list;
  while (!rest.empty()) {
    std::size_t comma = std::min(rest.find(','), rest.size());
    if (comma > 0) {
      Named named;
      named.id = rest.substr(0, comma);
      named.shown = escaped(std::string_view(named.id).substr(0, named.id.find('@')), 80);
      named_.push_back(std::move(named));
    }
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  // Set, and yet it names nothing: a script put it together from variables that were not set.
  if (named_.empty() && !list.empty()) {
    Named nothing;
    nothing.id = list;
    nothing.shown = escaped(list, 80);
    named_.push_back(std::move(nothing));
  }
}

void Partitions::use(const char* partitions) {
  if (!read_) read_environment();
  named_.clear();
  if (partitions != nullptr) {
    name(partitions);
  } else if (inherited_) {
    name(*inherited_);
  }
  for (auto& attachment : attachments_) {
    if (!attachment->retire_if_over()) continue;
    free_assignments_of(attachment.get());
    retired_.push_back(std::move(attachment));
  }
  std::erase(attachments_, nullptr);
}

// Decides what a named partition means here; once and for all, unless the system got in the way.
Place Partitions::resolve(Named& named) {
  if (named.resolved) return named.place;
  auto unusable = [&](const std::string& why) {
    named.resolved = true;
    return named.place = refuse(fmt::format("partition {} {}", named.shown, why));
  };
  const std::string never = "was not found, or has been released";
  auto state = StateDir::open();
  if (!state && state.error().code == ErrorCode::kNotFound) return unusable(never);
  if (!state) return refuse_for_now(state.error());
  auto found = read_grants(*state, [](const FileName&) { return true; });
  if (!found) return refuse_for_now(found.error());
  clamp(found->grants);

  const Grant* best = nullptr;
  auto rank = [&](const Grant& grant) {
    return (grant.is_mine ? 2 : 0) + (is_over(grant) ? 0 : 1);
  };
  for (const Grant& grant : found->grants) {
    if (!matches(grant, named.id)) continue;
    if (best == nullptr || rank(grant) > rank(*best)) best = &grant;
  }
  if (best == nullptr) {
    return unusable(found->damaged.empty() ? never : never + " (" + found->damaged.front() + ")");
  }
  if (!best->is_mine) return unusable("is owned by " + user_name(best->owner));
  if (is_over(*best)) return unusable("has ended");
  const Place place = attach(*state, *best);
  if (place.passing) return place;
  named.resolved = true;
  named.key = place.kind == Place::Kind::kCharged ? best->device_key : std::string();
  return named.place = place;
}

Place Partitions::named_place(const std::string& key, const std::string& device_name) {
  std::string ids;
  for (Named& named : named_) {
    const Place place = resolve(named);
    // An unusable partition might have been meant for any device.
    if (place.kind == Place::Kind::kRefused || named.key == key) return place;
    ids += (ids.empty() ? "" : ", ") + named.shown;
  }
  if (key.empty()) {
    Place place =
        refuse(fmt::format("{} cannot be told from other devices, and this program runs in "
                           "partition {}",
                           device_name, ids));
    place.hidden = named_only_;
    return place;
  }
  if (named_only_) {
    Place place =
        refuse(fmt::format("{} is not in partition {}, and CHRONOS_DEVICES asks for these "
                           "devices only",
                           device_name, ids));
    place.hidden = true;
    return place;
  }
  Place owned = owned_place(key, device_name);
  if (owned.kind != Place::Kind::kUnassigned) return owned;
  return refuse(
      fmt::format("{} is not in partition {}: create a partition on that device and "
                  "name both in CHRONOS_PARTITION",
                  device_name, ids));
}

Place Partitions::owned_place(const std::string& key, const std::string& device_name) {
  auto state = StateDir::open();
  if (!state && state.error().code == ErrorCode::kNotFound) return unassigned_place(device_name);
  if (!state) return refuse_for_now(state.error());
  const uid_t me = state->users().me();
  auto found = read_grants(*state, [me](const FileName& name) { return name.uid == me; });
  if (!found) return refuse_for_now(found.error());
  clamp(found->grants);
  bool owns = false;
  for (const Grant& grant : found->grants) {
    if (is_over(grant) || !grant.is_mine) continue;
    owns = true;
    if (grant.device_key == key) return attach(*state, grant);
  }
  // A user namespace is no way out of a partition.
  if (found->hidden) {
    return refuse("in this user namespace it cannot be told whether a partition is yours");
  }
  if (key.empty() && owns) {
    Place place = refuse("this device cannot be told from others");
    place.hidden = hides_devices();
    return place;
  }
  if (!found->damaged.empty()) {
    return refuse(fmt::format("a partition of yours cannot be read: {} (remove it if it stays)",
                              found->damaged.front()));
  }
  return unassigned_place(device_name);
}

bool Partitions::hides_devices() {
  return rules().unassigned.value == Unassigned::kDeny || shows_named_only();
}

bool Partitions::shows_named_only() {
  if (!read_) read_environment();
  return named_only_ && !named_.empty();
}

Place Partitions::place_for(const std::string& key, const std::string& device_name) {
  if (!read_) read_environment();
  if (named_.empty()) return owned_place(key, device_name);
  Place place = named_place(key, device_name);
  const bool denies = rules().unassigned.value == Unassigned::kDeny;
  if (place.kind == Place::Kind::kRefused && !place.passing && !place.hidden && denies) {
    place.hidden = owned_place(key, device_name).hidden;
  }
  return place;
}

void Partitions::after_fork() {
  for (const auto& attachment : attachments_) attachment->after_fork();
}

}  // namespace chronos::shim
