// What of a device is taken, and whether a request fits beside it.
#include <fmt/format.h>

#include <algorithm>

#include "core/clock.hpp"
#include "core/registry_look.hpp"
#include "core/units.hpp"

namespace chronos {
namespace {

class UseCounter {
 public:
  explicit UseCounter(const Device& device) : device_(device) {}

  void add(std::string_view device_key, PartitionState state, std::uint64_t limit_bytes,
           std::uint64_t used_bytes) {
    if (device_key != device_.key) return;
    // Nobody can hold or reserve more of a device than there is of it.
    const std::uint64_t used = std::min(used_bytes, device_.total_bytes);
    use_.used_bytes += used;
    if (state == PartitionState::kActive) {
      const std::uint64_t limit = std::min(limit_bytes, device_.total_bytes);
      use_.reserved_bytes += limit;
      use_.draining_bytes += used - std::min(used, limit);
      ++use_.active_partitions;
    } else {
      use_.draining_bytes += used;
    }
  }

  DeviceUse use() const {
    DeviceUse use = use_;
    const std::uint64_t taken = use.reserved_bytes + use.draining_bytes;
    use.available_bytes = device_.total_bytes > taken ? device_.total_bytes - taken : 0;
    return use;
  }

 private:
  const Device& device_;
  DeviceUse use_;
};

}  // namespace

double DeviceUse::available_percent(std::uint64_t total) const {
  return total == 0 ? 0 : 100.0 * static_cast<double>(available_bytes) / static_cast<double>(total);
}

DeviceUse Registry::use_of(const Device& device, const std::vector<PartitionInfo>& partitions) {
  UseCounter counter(device);
  for (const PartitionInfo& partition : partitions) {
    counter.add(partition.device_key, partition.state, partition.limit_bytes, partition.used_bytes);
  }
  return counter.use();
}

DeviceUse Registry::Look::use_of(const Device& device, const Token* but) const {
  UseCounter counter(device);
  for (const Entry& entry : entries) {
    if (but != nullptr && entry.grant.token == *but) continue;
    counter.add(entry.grant.device_key, entry.state(), entry.grant.limit_bytes,
                entry.use.used_bytes);
  }
  return counter.use();
}

Outlook Registry::Look::outlook(const std::vector<Device>& devices) const {
  Outlook outlook(boot_now());
  for (const Device& device : devices) outlook.add_device(device.key, device.total_bytes);
  for (const Entry& entry : entries) {
    const Grant& grant = entry.grant;
    const std::uint64_t limit = entry.over ? 0 : std::min(grant.limit_bytes, kMaxBytes);
    if (!entry.over) outlook.take(grant.device_key, limit, grant.deadline_ns);
    const std::uint64_t total = outlook.total_bytes(grant.device_key);
    const std::uint64_t used = std::min(entry.use.used_bytes, total);
    outlook.drain(grant.device_key, used - std::min(used, std::min(limit, total)));
  }
  return outlook;
}

Result<void> Registry::check_capacity(const Device& device, std::uint64_t bytes,
                                      std::uint64_t available, std::uint64_t own_bytes) {
  if (bytes <= available) return {};
  return fail(
      ErrorCode::kNoCapacity, fmt::format("Not enough available memory on device {}", device.index),
      fmt::format("asked {}, available {} of {}{}; `chronos list` shows who has the rest and until "
                  "when",
                  format_bytes(bytes), format_bytes(available), format_bytes(device.total_bytes),
                  own_bytes == 0 ? "" : fmt::format(" with its own {}", format_bytes(own_bytes))));
}

}  // namespace chronos
