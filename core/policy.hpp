// What the administrator allows: the policy file, what of it applies to a user, and the two places
// where it counts: admission (may_have) and reading others' grants (core/grant_clamp.hpp).
//
// Root's file binds everybody; the caller's own file can only narrow it, and only for the caller.
// A file that cannot be used denies: commands that would give out memory refuse with its line, and
// programs are treated as with unassigned = "deny". See docs/policy.md.
//
// Threads: a Policy is never changed after load(); any thread. Lookups of users and groups go to
// the system's databases.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/device.hpp"
#include "core/policy_file.hpp"
#include "core/result.hpp"

namespace chronos {

inline constexpr char kRootPolicyPath[] = "/etc/chronos/config.toml";

struct PolicyPaths {
  std::string root = kRootPolicyPath;
  uid_t trusted_owner = 0;    // of the root policy; tests have another
  std::string own;            // empty: none
  bool own_is_named = false;  // by CHRONOS_CONFIG: then it must be there

  // CHRONOS_CONFIG, else config.toml in $XDG_CONFIG_HOME/chronos or ~/.config/chronos; neither
  // where the environment is not to be trusted (AT_SECURE).
  static PolicyPaths of_this_process();
};

// Why a file cannot be used.
struct PolicyProblem {
  std::string path;
  std::vector<Mistake> mistakes;  // at least one
  std::string hint;

  // "/etc/chronos/config.toml:7: unknown key ..."
  std::string line(const Mistake& mistake) const;
  std::string line() const { return line(mistakes.front()); }
  std::string place() const;  // "/etc/chronos/config.toml:7"
};

// What one file lets a user have.
struct UserLimits {
  std::vector<Setting<MemoryAmount>> memory;  // of several, the largest on a device counts
  std::optional<Setting<std::uint64_t>> partitions, duration_ns;

  // The bytes of a device of `total` bytes; none: no limit.
  std::optional<Setting<std::uint64_t>> memory_on(std::uint64_t total) const;
  bool is_empty() const { return memory.empty() && !partitions && !duration_ns; }
};

// What applies to one user.
struct UserPolicy {
  std::vector<UserLimits> limits;  // of each file that limits anything; all of them bind
  Setting<Unassigned> unassigned;  // `where` is empty for the default
  ExpirySettings expiry;
};

// What somebody wants to have in one partition, and has besides it.
struct PolicyRequest {
  const Device& device;
  std::uint64_t bytes = 0;
  std::uint64_t duration_ns = 0;       // from the partition's birth
  std::uint64_t other_bytes = 0;       // on that device: limits of active ones, and what drains
  std::uint64_t other_partitions = 0;  // active, on any device
};

class Policy {
 public:
  Policy() = default;  // no file: everything is allowed

  // Never fails: what cannot be used is a problem(). Without a file this costs a failed open(2).
  static Policy load(const PolicyPaths& paths = PolicyPaths::of_this_process());

  // The files that cannot be used, root's before the caller's own.
  const std::vector<PolicyProblem>& problems() const { return problems_; }
  const PolicyProblem* problem() const { return problems_.empty() ? nullptr : &problems_.front(); }
  // The same as an error (kPermission) for whoever is to be refused for it.
  Result<void> usable() const;

  bool is_empty() const { return !root_ && !own_ && problems_.empty(); }
  const PolicyFile* root_file() const { return root_ ? &*root_ : nullptr; }
  const PolicyFile* own_file() const { return own_ ? &*own_ : nullptr; }

  // What binds `user`, by root's file alone: what every reader agrees on. Each value is that of the
  // user's own section, else the most generous one of their groups' sections, else everybody's.
  UserPolicy for_user(uid_t user) const;
  // The same, narrowed by the caller's own file.
  UserPolicy for_caller() const;

  // Whether `caller` may give `owner` this. Closed devices are closed to all; else root is free to
  // give. Errors: kPermission ("policy: at most 2 partitions for alice (FILE:7)").
  Result<void> may_have(uid_t caller, uid_t owner, const PolicyRequest& request) const;

  // Where it stands that `user` may have nothing on the device; empty if they may.
  std::string reserved_against(uid_t user, const Device& device) const;

  // What the files say of devices, for whoever shows it.
  struct DeviceStanding {
    std::string selector, where;
    bool closed = false, reserved = false, allowed = true;
  };
  std::vector<DeviceStanding> devices_for(uid_t user) const;

  // Names that root's file or the own one uses and this system does not know, as lines.
  std::vector<std::string> unknown_names() const;

 private:
  friend Policy try_policy(const std::string& path);

  std::optional<PolicyFile> root_, own_;
  std::vector<PolicyProblem> problems_;
};

// The policy of which `path` would be root's file, whoever owns it: for trying one out.
Policy try_policy(const std::string& path);

}  // namespace chronos
