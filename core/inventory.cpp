#include "core/inventory.hpp"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <optional>

#include "core/drivers.hpp"
#include "core/inventory_store.hpp"
#include "core/look.hpp"

namespace chronos {
namespace {

using std::chrono::milliseconds;

// Beyond the time that another's look may take.
constexpr milliseconds kLockPatience{2'000};
// A driver that failed may work a little later (its module gets loaded): not for the whole boot,
// but not at each command either, as one that hangs costs 10 s.
constexpr std::uint64_t kTrustWithWarningsNs = 600'000'000'000;

std::uint64_t boot_time_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

bool still_holds(const StoredInventory& stored) {
  if (stored.inventory.warnings.empty()) return true;
  std::uint64_t now = boot_time_ns();
  return now >= stored.looked_at && now - stored.looked_at < kTrustWithWarningsNs;
}

// The total of a device is what was seen first in this boot with these drivers: some answer
// differently each time (PoCL: a share of the memory that is there), and limits, shares and the
// admission of partitions must keep one sum. With other drivers or settings, the file of before
// does not match (its key differs), and the new answer stands.
void keep_totals(Inventory& inventory, const Inventory& before) {
  for (Device& device : inventory.devices) {
    auto known = std::find_if(before.devices.begin(), before.devices.end(),
                              [&](const Device& d) { return d.key == device.key; });
    if (known != before.devices.end()) device.total_bytes = known->total_bytes;
  }
}

}  // namespace

Result<Inventory> load_inventory(const StateDir& state, Look look, const LookOptions& options) {
  const std::uint64_t asked_at = boot_time_ns();
  const Drivers drivers = find_drivers();
  const InventoryStore store(state, drivers.key);

  // What answers without a look: while one waits for the lock, another's look will do.
  auto is_enough = [&](const StoredInventory& stored) {
    return look == Look::kRemembered ? still_holds(stored) : stored.looked_at > asked_at;
  };
  if (look == Look::kRemembered) {
    if (auto stored = store.read(is_enough)) return std::move(stored->inventory);
  }
  // Held until the new file is there: who waited for it then finds it.
  UniqueFd lock = store.lock(options.timeout + kLockPatience);
  if (auto stored = store.read(is_enough)) return std::move(stored->inventory);

  std::optional<StoredInventory> before = store.read([](const auto&) { return true; });
  auto inventory = look_at_drivers(drivers, options);
  if (!inventory) return inventory;
  if (before) keep_totals(*inventory, before->inventory);
  if (auto why = store.write(*inventory, boot_time_ns())) {
    inventory->warnings.push_back(std::move(*why));
  }
  return inventory;
}

Result<Inventory> load_inventory(const StateDir& state, Look look) {
  return load_inventory(state, look, LookOptions{});
}

Result<Device> find_device(const Inventory& inventory, int index) {
  const auto& devices = inventory.devices;
  if (index >= 0 && static_cast<std::size_t>(index) < devices.size()) {
    return devices[static_cast<std::size_t>(index)];
  }
  constexpr std::size_t kNamed = 8;
  std::string there;
  for (std::size_t i = 0; i < std::min(devices.size(), kNamed); ++i) {
    there += fmt::format("{}{} ({})", i == 0 ? "" : ", ", i, devices[i].name);
  }
  if (devices.size() > kNamed) there += fmt::format(", ... {}", devices.size() - 1);
  return fail(ErrorCode::kNoDevice,
              fmt::format("there is no device {}; there is {}", index,
                          devices.empty() ? "none at all" : there),
              "`chronos stats` shows the devices; `chronos stats --refresh` looks for them again");
}

}  // namespace chronos
