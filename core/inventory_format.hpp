// Devices as JSON: the lines that chronos-probe answers with, and the remembered inventory. Readers
// take both as hostile: every size, count and value is checked, nothing throws. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/device.hpp"
#include "core/inventory.hpp"

namespace chronos {

inline constexpr std::size_t kMaxInventoryFile = std::size_t{256} << 10;
inline constexpr std::size_t kMaxInventoryDevices = 256;
inline constexpr std::size_t kMaxProblem = 300;

// The fields of the probe's lines, one JSON object each:
//   {"step": "naming its devices", "platform": "..."}   before something that may fail
//   {"devices": [...]}                                  of the platform of the last step
//   {"error": "cannot be loaded: ..."}                  the last line
//   {"done": true}                                      the last line
namespace probe_line {
inline constexpr char kStep[] = "step", kPlatform[] = "platform", kDevices[] = "devices",
                      kError[] = "error", kDone[] = "done";
}

// What a probe said, as far as it came.
struct ProbeAnswer {
  std::vector<Device> devices;  // in the driver's order; `index` is not set
  std::string step, platform;   // the last that was begun
  std::string error;            // of the driver
  bool done = false;            // it came to the end
  bool garbage = false;         // a line made no sense; what came before it stands
};
ProbeAnswer parse_probe_answer(std::string_view output);

nlohmann::json device_to_json(const Device& device);
// None if a field is missing, of the wrong type, too long, not printable or out of range.
std::optional<Device> device_from_json(const nlohmann::json& value);

// All devices in the order that people see: GPUs, accelerators, CPUs, others; by PCI address, then
// by platform name, then as given. One device that two drivers offer (the key is the same) counts
// once. Sets the indices.
std::vector<Device> arrange(std::vector<Device> devices);

struct StoredInventory {
  std::string boot_id;          // nothing is valid after a reboot
  std::string drivers_key;      // Drivers::key
  std::uint64_t looked_at = 0;  // CLOCK_BOOTTIME, ns
  Inventory inventory;
};
std::string to_text(const StoredInventory& stored);
std::optional<StoredInventory> parse_inventory(std::string_view text);

}  // namespace chronos
