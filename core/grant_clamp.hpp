// What root's policy makes of grants that users have made: their owners can write anything into
// them, so whoever reads one lowers it to what the policy lets its owner have. One thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/device.hpp"
#include "core/grant.hpp"
#include "core/policy.hpp"
#include "core/state_dir.hpp"

namespace chronos {

// The grants of one look at the state directory go through one GrantClamp, oldest first: the sum
// counts, not only each. Those that root made stay as they are.
class GrantClamp {
 public:
  // `devices` as the inventory knows them: a grant's own word for the size of its device is not
  // taken where there is a better one.
  GrantClamp(const Policy& policy, std::vector<Device> devices);

  bool is_idle() const { return idle_; }  // no limit anywhere: nothing will be lowered

  void clamp_deadline(Grant& grant);
  // After clamp_deadline(). Of an active partition the limit is lowered, of one that is over what
  // its processes `used_bytes` still hold.
  void clamp_bytes(Grant& grant, bool over, std::uint64_t& used_bytes);

 private:
  const UserLimits& limits_of(uid_t owner);
  Device device_of(const Grant& grant) const;

  const Policy& policy_;
  std::vector<Device> devices_;
  bool idle_;
  std::map<uid_t, UserLimits> limits_;
  std::map<std::pair<uid_t, std::string>, std::uint64_t> bytes_;
  std::map<uid_t, std::uint64_t> partitions_;
};

// The devices that a policy's shares are of: `asked_for` if there is one, then those of the
// remembered inventory. Asks no driver; none where no policy would use them.
std::vector<Device> devices_for(const Policy& policy, const StateDir& state,
                                const Device* asked_for = nullptr);

}  // namespace chronos
