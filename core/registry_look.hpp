// What one look into the state directory found; shared by the parts of the registry.
#pragma once

#include <unistd.h>

#include <functional>
#include <string_view>
#include <vector>

#include "core/line.hpp"
#include "core/partition_files.hpp"
#include "core/policy.hpp"
#include "core/registry.hpp"

namespace chronos {

// A partition as one look found it.
struct Registry::Entry {
  FileName name;
  Grant grant;
  LedgerUse use;
  bool over = false;  // its time is up, or it was ended

  PartitionState state() const {
    return over ? PartitionState::kDraining : PartitionState::kActive;
  }
  bool needs_ledger() const;
  bool gone() const { return over && use.used_bytes == 0; }
  bool is_mine() const;
  bool may_write() const;  // its grant
  PartitionInfo info() const&;
  PartitionInfo info() &&;
};

// What came of one grant.
struct Registry::Sighting {
  enum Outcome {
    kGone,       // it is nobody's any more
    kHidden,     // whose it is cannot be told in this user namespace
    kNoGrant,    // it cannot be used; `problem` says why
    kNoLedger,   // its ledger cannot
    kGrantOnly,  // its ledger was not needed
    kWhole,
  };
  Outcome outcome = kGone;
  Entry entry;  // from kNoLedger on
  Error problem{};
};

// Whose partitions a look is to find, and how much of each.
struct Registry::Scope {
  // None: all of them. Where a policy lowers what others' grants say, it takes all to know by how
  // much, and so all are found.
  std::function<bool(const FileName&)> wants;
  // Whether ledgers are read of those whose grants alone say what they can take at most.
  bool all_ledgers = true;
  const Device* asked_for = nullptr;  // for the shares of a policy
};

struct Registry::Look {
  std::vector<FileName> names;
  std::vector<FileName> unread;   // grants that the look was not for
  std::vector<FileName> expired;  // grants of an earlier boot
  std::vector<Entry> entries;     // oldest first
  Policy policy;

  // The active partition that `id` means; the caller's own wins where several match.
  // Errors: kNotFound, kInvalid (several are called so).
  Result<const Entry*> choose(std::string_view id) const;

  // Whether a partition has this number; reads what was not read and may have it.
  bool has_number(const StateDir& state, std::uint64_t number) const;

  // What is taken of a device; without the partition `but`.
  DeviceUse use_of(const Device& device, const Token* but = nullptr) const;

  // Whether the policy lets `giver` give `owner` one partition more, of this size and for this
  // long since its birth; with `instead_of`, in the place of that one; together with `more` on
  // other devices. Errors: kPermission.
  Result<void> may_have(uid_t owner, const Device& device, std::uint64_t bytes,
                        std::uint64_t duration_ns, const Token* instead_of = nullptr,
                        uid_t giver = ::geteuid(), std::size_t more = 0) const;

  // What `devices` have room for, now and later.
  Outlook outlook(const std::vector<Device>& devices) const;
};

tl::unexpected<Error> partition_not_found(std::string_view id);

}  // namespace chronos
