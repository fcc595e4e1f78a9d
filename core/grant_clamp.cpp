#include "core/grant_clamp.hpp"

#include <algorithm>

#include "core/drivers.hpp"
#include "core/inventory_store.hpp"

namespace chronos {

GrantClamp::GrantClamp(const Policy& policy, std::vector<Device> devices)
    : policy_(policy), devices_(std::move(devices)), idle_(policy.root_file() == nullptr) {}

const UserLimits& GrantClamp::limits_of(uid_t owner) {
  auto [at, is_new] = limits_.try_emplace(owner);
  if (is_new) {
    UserPolicy policy = policy_.for_user(owner);
    if (!policy.limits.empty()) at->second = std::move(policy.limits.front());
  }
  return at->second;
}

Device GrantClamp::device_of(const Grant& grant) const {
  for (const Device& device : devices_) {
    if (device.key == grant.device_key) return device;
  }
  Device device;
  device.index = grant.device_index;
  device.key = grant.device_key;
  device.name = grant.device_name;
  device.total_bytes = grant.device_total_bytes;
  if (device.key.starts_with("uuid:")) device.uuid = device.key.substr(5);
  if (device.key.starts_with("pci:")) device.pci = device.key.substr(4);
  return device;
}

void GrantClamp::clamp_deadline(Grant& grant) {
  if (idle_ || grant.creator == 0) return;
  const UserLimits& limits = limits_of(grant.owner);
  if (!limits.duration_ns) return;
  grant.latest_deadline_ns =
      std::min(grant.latest_deadline_ns, grant.birth_ns + limits.duration_ns->value);
  grant.deadline_ns = std::min(grant.deadline_ns, grant.latest_deadline_ns);
}

void GrantClamp::clamp_bytes(Grant& grant, bool over, std::uint64_t& used_bytes) {
  if (idle_ || grant.creator == 0) return;
  const UserLimits& limits = limits_of(grant.owner);
  const Device device = device_of(grant);
  std::uint64_t left = device.total_bytes == 0 ? kMaxBytes : device.total_bytes;
  if (const auto most = limits.memory_on(device.total_bytes)) left = std::min(left, most->value);
  if (!policy_.reserved_against(grant.owner, device).empty()) left = 0;
  std::uint64_t& taken = bytes_[{grant.owner, device.key}];
  left -= std::min(left, taken);
  if (!over) {
    if (limits.partitions && partitions_[grant.owner]++ >= limits.partitions->value) left = 0;
    grant.most_bytes = std::min(grant.most_bytes, left);
    grant.limit_bytes = std::min(grant.limit_bytes, left);
    grant.draining_bytes = std::min(grant.draining_bytes, left);
    used_bytes = std::min(used_bytes, grant.most_held_bytes());
  } else {
    used_bytes = std::min(used_bytes, left);
  }
  taken += over ? used_bytes : std::max(grant.limit_bytes, used_bytes);
}

std::vector<Device> devices_for(const Policy& policy, const StateDir& state,
                                const Device* asked_for) {
  std::vector<Device> devices;
  if (policy.root_file() == nullptr) return devices;
  if (asked_for != nullptr) devices.push_back(*asked_for);
  auto stored = InventoryStore(state, find_drivers().key).read([](const auto&) { return true; });
  if (!stored) return devices;
  const std::vector<Device>& known = stored->inventory.devices;
  devices.insert(devices.end(), known.begin(), known.end());
  return devices;
}

}  // namespace chronos
