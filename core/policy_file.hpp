// What a policy file says: TOML, checked whole. docs/policy.md describes it for people.
// Pure functions, no state, any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "core/device.hpp"
#include "core/units.hpp"

namespace chronos {

// A value and where it stands: "/etc/chronos/config.toml:7".
template <class T>
struct Setting {
  T value{};
  std::string where;
};

enum class Unassigned { kAllow, kDeny };
enum class ExpiryAction { kRefuse, kTerminate, kKill };
const char* to_string(Unassigned rule);      // "allow", "deny"
const char* to_string(ExpiryAction action);  // "refuse", "terminate", "kill"

// What one user may have; empty: as much as there is.
struct LimitSettings {
  std::optional<Setting<MemoryAmount>> memory;       // on each device, of all partitions together
  std::optional<Setting<std::uint64_t>> partitions;  // on all devices together
  std::optional<Setting<std::uint64_t>> duration_ns;
};

struct NamedLimits {
  std::string name;  // of a user or a group, or its number
  std::string where;
  LimitSettings limits;
};

struct DeviceRule {
  std::string selector;  // "0", "uuid:...", "pci:...", or a name
  std::string where;
  std::optional<Setting<bool>> closed;
  // Set (even if empty): for nobody else.
  std::optional<Setting<std::vector<std::string>>> users, groups;

  bool is_reserved() const { return users || groups; }
  bool means(const Device& device) const;
};

struct ExpirySettings {
  std::optional<Setting<ExpiryAction>> action;
  std::optional<Setting<std::vector<std::uint64_t>>> warn_before_ns;  // longest first
  std::optional<Setting<std::uint64_t>> terminate_after_ns, grace_ns;
};

struct PolicyFile {
  std::string path;
  std::optional<Setting<Unassigned>> unassigned;
  LimitSettings everyone;
  std::vector<NamedLimits> users, groups;
  std::vector<DeviceRule> devices;
  ExpirySettings expiry;
};

struct Mistake {
  unsigned line = 0;  // from 1; 0: the file as a whole
  std::string text;   // one line, without the file's name
};

inline constexpr std::size_t kMaxPolicyBytes = std::size_t{64} << 10;

// Every mistake, in the order of lines; a file that is no TOML has one.
tl::expected<PolicyFile, std::vector<Mistake>> parse_policy(std::string_view text,
                                                            const std::string& path);

}  // namespace chronos
