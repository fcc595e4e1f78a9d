// The registry's view of the state directory: what is there, what counts, what is to be put away.
#include "core/registry_look.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <mutex>
#include <tuple>
#include <utility>

#include "core/clock.hpp"
#include "core/crash_point.hpp"
#include "core/grant_clamp.hpp"
#include "core/grant_writer.hpp"
#include "core/ownership.hpp"
#include "core/parallel.hpp"
#include "core/registry_lock.hpp"
#include "core/text.hpp"
#include "core/ticket.hpp"
#include "core/users.hpp"

namespace chronos {

const char* to_string(PartitionState state) {
  return state == PartitionState::kActive ? "active" : "draining";
}

tl::unexpected<Error> partition_not_found(std::string_view id) {
  return fail(ErrorCode::kNotFound,
              fmt::format("Partition not found or already released: {}", escaped(id, 80)),
              "`chronos list` shows the partitions there are");
}

namespace {

// As it was asked for while the limit is what that makes; after a resize what the limit makes, in
// the fewest digits.
double share_of_limit(const Grant& grant) {
  const std::uint64_t total = grant.device_total_bytes;
  auto makes_limit = [&](double share) {
    return share > 0 && MemoryAmount{share, 0}.on(total) == grant.limit_bytes;
  };
  if (total == 0 || makes_limit(grant.fraction)) return grant.fraction;
  const double exact = static_cast<double>(grant.limit_bytes) / static_cast<double>(total);
  for (double digits = 100; digits <= 1e6; digits *= 10) {
    const double rounded = std::round(exact * digits) / digits;
    if (makes_limit(rounded)) return rounded;
  }
  return exact;
}

PartitionInfo describe(Grant grant, LedgerUse use, PartitionState state) {
  PartitionInfo info;
  info.id = grant.id();
  info.name = std::move(grant.name);
  info.number = grant.number;
  info.token = token_text(grant.token);
  info.device_key = std::move(grant.device_key);
  info.device_name = std::move(grant.device_name);
  info.device_index = grant.device_index;
  info.device_total_bytes = grant.device_total_bytes;
  info.fraction = share_of_limit(grant);
  info.limit_bytes = grant.limit_bytes;
  info.used_bytes = use.used_bytes;
  info.draining_bytes = state == PartitionState::kDraining   ? use.used_bytes
                        : use.used_bytes > grant.limit_bytes ? use.used_bytes - grant.limit_bytes
                                                             : 0;
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
  info.is_mine = grant.is_mine;
  info.may_write = grant.may_write;
  info.pid = grant.creator_pid;
  info.state = state;
  info.held = grant.held;
  if (grant.held) info.holder = grant.holder;
  info.processes = std::move(use.processes);
  return info;
}

bool is_abandoned(const Grant& grant, const LedgerUse& use) {
  return grant.held && !use.any_live && liveness_anywhere(grant.holder) == Liveness::kDead;
}

// What their containers call them means another process here.
void number_from_here(std::vector<PartitionInfo*> partitions) {
  std::optional<InnerProcesses> inner;
  for (PartitionInfo* partition : partitions) {
    for (ProcessUse& process : partition->processes) {
      if (process.is_here) continue;
      if (!inner) inner = InnerProcesses::look();
      if (const auto pid = inner->pid_here(process.self)) {
        process.pid = *pid;
        process.is_here = true;
      }
    }
  }
}

// Oldest first. Entries are large: their keys are sorted, and each is moved once.
template <class Entry>
void sort_by_age(std::vector<Entry>& entries) {
  std::vector<std::tuple<std::uint64_t, std::uint64_t, std::size_t>> keys;
  keys.reserve(entries.size());
  for (const Entry& entry : entries) {
    keys.emplace_back(entry.grant.birth_ns, entry.grant.number, keys.size());
  }
  if (std::is_sorted(keys.begin(), keys.end())) return;
  std::sort(keys.begin(), keys.end());
  std::vector<Entry> sorted;
  sorted.reserve(entries.size());
  for (const auto& key : keys) sorted.push_back(std::move(entries[std::get<2>(key)]));
  entries = std::move(sorted);
}

// Two files take some 3 us to read, a thread 30 to make.
constexpr std::size_t kWorthAThread = 400;

// A partition's two files, by what their names have in common.
using Pair = std::pair<uid_t, Token>;

// `whole`: those whose files have been opened, and are whose their names say.
void add_squatters(const std::vector<FileName>& names, std::vector<Pair> whole,
                   PassedOver& passed) {
  std::sort(whole.begin(), whole.end());
  for (const FileName& name : names) {
    const bool of_pair = name.kind == FileKind::kGrant || name.kind == FileKind::kLedger;
    if (of_pair && std::binary_search(whole.begin(), whole.end(), Pair(name.uid, name.token))) {
      continue;
    }
    passed.add_squatter(name);
  }
}

}  // namespace

bool Registry::Entry::is_mine() const { return grant.is_mine; }
bool Registry::Entry::may_write() const { return grant.may_write; }
PartitionInfo Registry::Entry::info() const& { return describe(grant, use, state()); }
PartitionInfo Registry::Entry::info() && {
  return describe(std::move(grant), std::move(use), state());
}

Result<const Registry::Entry*> Registry::Look::choose(std::string_view id) const {
  const Entry* chosen = nullptr;
  for (const Entry& entry : entries) {
    if (entry.over || !matches(entry.grant, id)) continue;
    if (chosen == nullptr || (!chosen->is_mine() && entry.is_mine())) {
      chosen = &entry;
    } else if (chosen->is_mine() == entry.is_mine()) {
      // Whoever writes into a grant of theirs can give it any number; the token cannot be taken.
      auto unmistakable = [&](const Grant& grant) {
        return chosen->grant.number != entry.grant.number
                   ? number_id(grant.number)
                   : number_id(grant.number) + "@" + token_text(grant.token);
      };
      return fail(
          ErrorCode::kInvalid, fmt::format("several partitions are called {}", escaped(id, 80)),
          fmt::format("say {} or {}", unmistakable(chosen->grant), unmistakable(entry.grant)));
    }
  }
  if (chosen == nullptr) return partition_not_found(id);
  return chosen;
}

bool Registry::Look::has_number(const StateDir& state, std::uint64_t number) const {
  const bool seen = std::any_of(entries.begin(), entries.end(),
                                [&](const Entry& entry) { return entry.grant.number == number; });
  return seen || std::any_of(unread.begin(), unread.end(), [&](const FileName& name) {
           if (TokenTags::of(name.token).number != static_cast<std::uint16_t>(number)) return false;
           auto grant = read_grant(state, name);
           return grant && grant->number == number;
         });
}

// Makes the end of a partition known to running programs and then, if they hold nothing any more,
// takes its files away: the grant first, because a ledger without a grant is nobody's partition.
// The value says whether the files are gone. Needs the registry's lock.
Result<bool> Registry::put_away(const Entry& entry) {
  if (!entry.may_write()) return false;
  auto ended = end_grant(state_, entry.name);
  if (!ended) return pass_on(ended);
  CHRONOS_POINT(put_away_ended);
  // Only now the sum: a charge that did not see the end is in it.
  auto use = read_ledger(state_, entry.grant);
  CHRONOS_POINT(put_away_summed);
  if (use && use->used_bytes > 0) return false;
  remove_file(state_, entry.name);
  CHRONOS_POINT(put_away_grant_gone);
  remove_file(state_, {entry.name.uid, entry.name.token, FileKind::kLedger});
  CHRONOS_POINT(put_away_ledger_gone);
  return true;
}

Result<void> Registry::Look::may_have(uid_t owner, const Device& device, std::uint64_t bytes,
                                      std::uint64_t duration_ns, const Token* instead_of,
                                      uid_t giver, std::size_t more) const {
  PolicyRequest asked{device, bytes, duration_ns, 0, more};
  for (const Entry& entry : entries) {
    if (entry.grant.owner != owner) continue;
    if (instead_of != nullptr && entry.grant.token == *instead_of) continue;
    if (!entry.over) ++asked.other_partitions;
    if (entry.grant.device_key != device.key) continue;
    asked.other_bytes +=
        entry.over ? entry.use.used_bytes : std::max(entry.grant.limit_bytes, entry.use.used_bytes);
  }
  return policy.may_have(giver, owner, asked);
}

// Whether a partition can take more or less than its grant alone says: it has ended, or ends with
// its programs, or they may hold what is above its limit.
bool Registry::Entry::needs_ledger() const {
  return over || grant.held || grant.draining_bytes > grant.limit_bytes;
}

Result<Registry::Look> Registry::look_at_all() { return look({}); }

// All that `id` can mean.
Result<Registry::Look> Registry::look_for(std::string_view id) {
  return look({[id](const FileName& name) { return may_match(name.token, id); }});
}

// One grant and, unless the grant alone says enough, its ledger. Any thread.
Registry::Sighting Registry::see(const FileName& name, bool all_ledgers, GrantClamp& clamp,
                                 std::mutex& clamping) const {
  Sighting seen;
  auto grant = read_one_of_many(state_, name);
  if (!grant) {
    const bool gone = grant.error().code == ErrorCode::kNotFound;
    const bool hidden = grant.error().code == ErrorCode::kPermission && !state_.users().is_plain();
    seen.outcome = gone ? Sighting::kGone : hidden ? Sighting::kHidden : Sighting::kNoGrant;
    seen.problem = std::move(grant.error());
    return seen;
  }
  if (!clamp.is_idle()) {
    const std::lock_guard lock(clamping);
    clamp.clamp_deadline(*grant);
  }
  Entry& entry = seen.entry;
  entry.name = name;
  entry.grant = std::move(*grant);
  // The clock before the words: whoever charged before the deadline is then in the sum.
  entry.over = entry.grant.ended || boot_now() >= entry.grant.deadline_ns;
  if (!all_ledgers && clamp.is_idle() && !entry.needs_ledger()) {
    seen.outcome = Sighting::kGrantOnly;
    return seen;
  }
  auto use = look_at_ledger(state_, entry.grant);
  if (use) {
    entry.use = std::move(*use);
    seen.outcome = Sighting::kWhole;
  } else if (read_grant(state_, name)) {
    seen.problem = std::move(use.error());
    seen.outcome = Sighting::kNoLedger;
  } else {  // it was put away between the two looks
    seen.outcome = Sighting::kGone;
    return seen;
  }
  entry.over = entry.over || entry.use.ended || is_abandoned(entry.grant, entry.use);
  return seen;
}

Result<Registry::Look> Registry::look(const Scope& scope) {
  auto names = scan(state_);
  if (!names) return pass_on(names);
  Look look{std::move(*names), {}, {}, {}, Policy::load()};
  warnings_.clear();
  hidden_ = 0;
  inventories_.clear();
  for (const FileName& name : look.names) {
    if (name.kind == FileKind::kDevices) inventories_.push_back(name.text());
  }
  if (const PolicyProblem* problem = look.policy.problem()) {
    warnings_.push_back(
        fmt::format("policy: {} (until this is mended, nothing is given out)", problem->line()));
  }
  GrantClamp clamp(look.policy, devices_for(look.policy, state_, scope.asked_for));
  std::vector<FileName> wanted;
  for (const FileName& name : look.names) {
    if (name.kind != FileKind::kGrant) continue;
    const bool is_wanted = !scope.wants || !clamp.is_idle() || scope.wants(name);
    (is_wanted ? wanted : look.unread).push_back(name);
  }
  std::vector<Sighting> seen(wanted.size());
  std::mutex clamping;
  // What is kept from the first call on is found out before there are threads: a fork of the
  // program's meanwhile must not leave it half done for the child.
  (void)this_boot();
  in_parallel(wanted.size(), kWorthAThread, [&](std::size_t first, std::size_t end) {
    for (std::size_t i = first; i < end; ++i) {
      seen[i] = see(wanted[i], scope.all_ledgers, clamp, clamping);
    }
  });
  const uid_t me = ::geteuid();
  PassedOver passed(state_);
  std::vector<Pair> whole;
  look.entries.reserve(seen.size());
  for (std::size_t i = 0; i < seen.size(); ++i) {
    const FileName& name = wanted[i];
    switch (seen[i].outcome) {
      case Sighting::kGone:
        continue;
      case Sighting::kHidden:
        ++hidden_;
        continue;
      case Sighting::kNoGrant:
        if (seen[i].problem.code == ErrorCode::kExpired) look.expired.push_back(name);
        passed.add(name, seen[i].problem);
        continue;
      case Sighting::kNoLedger:
        passed.add({name.uid, name.token, FileKind::kLedger}, seen[i].problem);
        break;
      case Sighting::kWhole:
        whole.emplace_back(name.uid, name.token);
        break;
      case Sighting::kGrantOnly:
        break;
    }
    look.entries.push_back(std::move(seen[i].entry));
  }
  const bool tells_of_squatters = state_.users().i_am_root() && !scope.wants;
  if (tells_of_squatters) add_squatters(look.names, std::move(whole), passed);
  sort_by_age(look.entries);
  for (std::string& line : passed.lines()) warnings_.push_back(std::move(line));
  for (Entry& entry : look.entries) {
    if (state_.users().is_plain()) judge_caller(entry.grant, me);
    clamp.clamp_bytes(entry.grant, entry.over, entry.use.used_bytes);
  }
  return look;
}

// Forgets what drained from a lowered limit once it has: from then on its owner's ledger can claim
// no more than the limit. Needs the registry's lock.
void Registry::forget_drained(const Entry& entry) {
  const bool drained = entry.grant.draining_bytes > entry.grant.limit_bytes &&
                       entry.use.used_bytes <= entry.grant.limit_bytes;
  if (entry.over || !drained || !entry.may_write()) return;
  CHRONOS_POINT(sweep_drained);
  if (auto writer = GrantWriter::open(state_, entry.name)) (void)writer->set_draining(0);
  CHRONOS_POINT(sweep_drained_forgotten);
}

// Puts away what has ended or was left half made by a command that was killed, as far as the files
// are the caller's. Needs the registry's lock.
void Registry::sweep(Look& look) {
  for (const Entry& entry : look.entries) forget_drained(entry);
  std::erase_if(look.entries, [&](const Entry& entry) {
    if (!entry.over) return false;
    auto gone = put_away(entry);
    return gone && *gone;
  });
  const uid_t me = state_.users().me();
  const bool is_root = state_.users().i_am_root();
  std::vector<Token> granted;
  for (const FileName& name : look.names) {
    if (name.kind == FileKind::kGrant) granted.push_back(name.token);
  }
  std::sort(granted.begin(), granted.end());
  for (const FileName& name : look.names) {
    if (name.uid != me && !is_root) continue;
    const bool orphan = name.kind == FileKind::kTemporary ||
                        (name.kind == FileKind::kTicket && !is_waiting(state_, name)) ||
                        (name.kind == FileKind::kLedger &&
                         !std::binary_search(granted.begin(), granted.end(), name.token));
    if (!orphan) continue;
    CHRONOS_POINT(sweep_orphan);
    remove_file(state_, name);
    CHRONOS_POINT(sweep_orphan_gone);
  }
  for (const FileName& name : look.expired) {
    if (name.uid != me && !is_root) continue;
    remove_file(state_, name);
    CHRONOS_POINT(sweep_old_grant_gone);
    remove_file(state_, {name.uid, name.token, FileKind::kLedger});
    CHRONOS_POINT(sweep_old_ledger_gone);
  }
}

Result<Registry::Look> Registry::look_and_tidy() {
  auto seen = look_at_all();
  if (!seen) return seen;
  const bool untidy =
      std::any_of(seen->entries.begin(), seen->entries.end(),
                  [](const Entry& entry) { return entry.gone() && entry.may_write(); });
  if (untidy) {
    CHRONOS_POINT(list_untidy);
    if (auto lock = RegistryLock::try_acquire(state_)) {
      // Look again: what was half made a moment ago may be whole by now.
      seen = look_at_all();
      if (!seen) return seen;
      sweep(*seen);
    }
  }
  std::erase_if(seen->entries, [](const Entry& entry) { return entry.gone(); });
  return seen;
}

Result<std::vector<PartitionInfo>> Registry::list() {
  auto seen = look_and_tidy();
  if (!seen) return pass_on(seen);
  std::vector<PartitionInfo> partitions;
  partitions.reserve(seen->entries.size());
  std::vector<PartitionInfo*> all;
  for (Entry& entry : seen->entries) {
    partitions.push_back(std::move(entry).info());
    all.push_back(&partitions.back());
  }
  number_from_here(std::move(all));
  return partitions;
}

Result<PartitionInfo> Registry::find(std::string_view id) {
  auto seen = look_for(id);
  if (!seen) return pass_on(seen);
  const Entry* chosen = nullptr;
  for (const Entry& entry : seen->entries) {
    if (entry.gone() || !matches(entry.grant, id)) continue;
    auto rank = [](const Entry& e) { return (e.is_mine() ? 2 : 0) + (e.over ? 0 : 1); };
    if (chosen == nullptr || rank(entry) > rank(*chosen)) chosen = &entry;
  }
  if (chosen == nullptr) return partition_not_found(id);
  PartitionInfo info = chosen->info();
  number_from_here({&info});
  return info;
}

Result<Registry::Standing> Registry::standing(const PartitionInfo& partition) {
  auto name = FileName::parse(fmt::format("chronos.{}.{}.grant", partition.owner, partition.token));
  if (!name) return partition_not_found(partition.id);
  auto grant = read_grant(state_, *name);
  if (!grant && grant.error().code == ErrorCode::kExpired) return partition_not_found(partition.id);
  if (!grant) return pass_on(grant);
  const Policy policy = Policy::load();
  GrantClamp(policy, {}).clamp_deadline(*grant);
  const std::uint64_t now = boot_now();
  if (grant->ended || grant->deadline_ns <= now) return Standing{};
  auto use = read_ledger(state_, *grant);
  if (!use && use.error().code == ErrorCode::kNotFound) return partition_not_found(partition.id);
  // A ledger that cannot be read ends nothing, as in look().
  if (use && (use->ended || is_abandoned(*grant, *use))) return Standing{};
  return Standing{true, grant->deadline_ns - now};
}

}  // namespace chronos
