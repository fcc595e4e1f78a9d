#include "cli/devices.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "cli/output.hpp"
#include "core/drivers.hpp"
#include "core/inventory.hpp"
#include "core/inventory_store.hpp"
#include "core/text.hpp"

namespace chronos::cli {

Result<int> parse_device(std::string_view text) {
  int number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || text[0] == '-') {
    return fail(ErrorCode::kInvalid,
                fmt::format("invalid device {}: it is not a device number such as 0", quoted(text)),
                "`chronos stats` lists the devices");
  }
  return number;
}

Result<Device> device_by_number(const Registry& registry, int number) {
  Result<Inventory> inventory = load_inventory(registry.state());
  if (!inventory) return pass_on(inventory);
  Result<Device> device = find_device(*inventory, number);
  if (!device) device.error().code = ErrorCode::kInvalid;
  return device;
}

std::vector<Device> remembered_devices(const Registry& registry) {
  const InventoryStore store(registry.state(), find_drivers().key);
  auto stored = store.read([](const auto&) { return true; });
  return stored ? std::move(stored->inventory.devices) : std::vector<Device>();
}

void use_current_numbers(const Registry& registry, std::vector<PartitionInfo>& partitions) {
  if (partitions.empty()) return;
  const InventoryStore store(registry.state(), find_drivers().key);
  auto stored = store.read([](const auto&) { return true; }, registry.inventories());
  if (!stored) return;
  const std::vector<Device>& devices = stored->inventory.devices;
  for (PartitionInfo& partition : partitions) {
    auto device = std::find_if(devices.begin(), devices.end(),
                               [&](const Device& one) { return one.key == partition.device_key; });
    if (device != devices.end()) partition.device_index = device->index;
  }
}

void print_warnings(const Registry& registry) {
  print_warning_lines(registry.warnings());
  if (registry.hidden() == 0) return;
  print_warning_line(fmt::format(
      "{} partition{} of users whom this user namespace does not show {} not counted here",
      registry.hidden(), registry.hidden() == 1 ? "" : "s", registry.hidden() == 1 ? "is" : "are"));
}

}  // namespace chronos::cli
