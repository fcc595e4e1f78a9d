#include "core/inventory_format.hpp"

#include <algorithm>
#include <array>
#include <set>
#include <tuple>

#include "core/opencl_facts.hpp"
#include "core/text.hpp"

namespace chronos {
namespace {

using Json = nlohmann::json;

constexpr int kSchema = 1;
constexpr std::size_t kMaxWarnings = 80;
constexpr std::size_t kMaxWarning = 1024;
constexpr std::array kTypes = {DeviceType::kGpu, DeviceType::kAccelerator, DeviceType::kCpu,
                               DeviceType::kCustom};

bool is_printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
}

Json parse(std::string_view text) { return Json::parse(text.begin(), text.end(), nullptr, false); }

// A field of `object`, or null.
const Json* field(const Json& object, const char* name) {
  if (!object.is_object()) return nullptr;
  auto found = object.find(name);
  return found == object.end() ? nullptr : &*found;
}

bool read_text(const Json* value, std::size_t limit, std::string& out) {
  const auto* text = value == nullptr ? nullptr : value->get_ptr<const std::string*>();
  if (text == nullptr || text->size() > limit || !is_printable(*text)) return false;
  out = *text;
  return true;
}

bool read_text(const Json& object, const char* name, std::size_t limit, std::string& out) {
  const Json* value = field(object, name);
  return value != nullptr && value->is_string() && read_text(value, limit, out);
}

bool read_number(const Json& object, const char* name, std::uint64_t limit, std::uint64_t& out) {
  const Json* value = field(object, name);
  if (value == nullptr || !value->is_number_unsigned()) return false;
  out = value->get<std::uint64_t>();
  return out <= limit;
}

bool read_type(const Json& object, DeviceType& type) {
  std::string text;
  if (!read_text(object, "type", 16, text)) return false;
  auto found = std::find_if(kTypes.begin(), kTypes.end(),
                            [&](DeviceType known) { return text == to_string(known); });
  if (found == kTypes.end()) return false;
  type = *found;
  return true;
}

bool read_devices(const Json* list, std::vector<Device>& devices) {
  if (list == nullptr || !list->is_array()) return false;
  for (const Json& entry : *list) {
    auto device = device_from_json(entry);
    if (!device || devices.size() == kMaxInventoryDevices) return false;
    devices.push_back(std::move(*device));
  }
  return true;
}

bool have_distinct_keys(const std::vector<Device>& devices) {
  std::set<std::string_view> keys;
  return std::all_of(devices.begin(), devices.end(),
                     [&](const Device& device) { return keys.insert(device.key).second; });
}

bool read_warnings(const Json* list, std::vector<std::string>& warnings) {
  if (list == nullptr || !list->is_array() || list->size() > kMaxWarnings) return false;
  for (const Json& entry : *list) {
    if (!entry.is_string() || !read_text(&entry, kMaxWarning, warnings.emplace_back()))
      return false;
  }
  return true;
}

bool take_line(const Json& line, ProbeAnswer& answer) {
  if (field(line, probe_line::kStep) != nullptr) {
    return read_text(line, probe_line::kStep, 64, answer.step) &&
           read_text(line, probe_line::kPlatform, opencl::kMaxShownText, answer.platform);
  }
  if (const Json* list = field(line, probe_line::kDevices)) {
    std::vector<Device> devices;
    if (!read_devices(list, devices) || !have_distinct_keys(devices)) return false;
    if (answer.devices.size() + devices.size() > kMaxInventoryDevices) return false;
    std::move(devices.begin(), devices.end(), std::back_inserter(answer.devices));
    return true;
  }
  if (field(line, probe_line::kError) != nullptr) {
    return read_text(line, probe_line::kError, kMaxProblem, answer.error);
  }
  const Json* done = field(line, probe_line::kDone);
  answer.done = done != nullptr && done->is_boolean() && done->get<bool>();
  return answer.done;
}

}  // namespace

ProbeAnswer parse_probe_answer(std::string_view output) {
  ProbeAnswer answer;
  while (!output.empty()) {
    std::size_t end = output.find('\n');
    // A line that is cut short is no garbage: the probe died while it wrote.
    if (end == output.npos) break;
    if (answer.done || !answer.error.empty() || !take_line(parse(output.substr(0, end)), answer)) {
      answer.garbage = true;
      break;
    }
    output.remove_prefix(end + 1);
  }
  return answer;
}

Json device_to_json(const Device& device) {
  return {{"key", device.key},
          {"name", device.name},
          {"vendor", device.vendor},
          {"platform", device.platform},
          {"type", to_string(device.type)},
          {"opencl_version", device.opencl_version},
          {"uuid", device.uuid},
          {"pci", device.pci},
          {"total_bytes", device.total_bytes}};
}

std::optional<Device> device_from_json(const Json& value) {
  Device device;
  bool valid = read_text(value, "key", kMaxDeviceKey, device.key) && !device.key.empty() &&
               read_text(value, "name", opencl::kMaxShownText, device.name) &&
               read_text(value, "vendor", opencl::kMaxShownText, device.vendor) &&
               read_text(value, "platform", opencl::kMaxShownText, device.platform) &&
               read_type(value, device.type) &&
               read_text(value, "opencl_version", 32, device.opencl_version) &&
               read_text(value, "uuid", 32, device.uuid) &&
               (device.uuid.empty() || is_device_uuid(device.uuid)) &&
               read_text(value, "pci", 16, device.pci) &&
               (device.pci.empty() || is_pci_address(device.pci)) &&
               read_number(value, "total_bytes", opencl::kMaxTotalBytes, device.total_bytes);
  if (!valid) return std::nullopt;
  return device;
}

std::vector<Device> arrange(std::vector<Device> devices) {
  auto rank = [](const Device& d) {
    // A domain of eight digits goes behind one of four.
    return std::tuple(static_cast<int>(d.type), d.pci.empty(), d.pci.size(),
                      std::string_view(d.pci), std::string_view(d.platform));
  };
  std::stable_sort(devices.begin(), devices.end(),
                   [&](const Device& a, const Device& b) { return rank(a) < rank(b); });
  std::vector<Device> arranged;
  for (Device& device : devices) {
    auto same = [&](const Device& known) { return known.key == device.key; };
    if (arranged.size() == kMaxInventoryDevices ||
        std::any_of(arranged.begin(), arranged.end(), same)) {
      continue;
    }
    device.index = static_cast<int>(arranged.size());
    arranged.push_back(std::move(device));
  }
  return arranged;
}

std::string to_text(const StoredInventory& stored) {
  Json devices = Json::array();
  for (const Device& device : stored.inventory.devices) devices.push_back(device_to_json(device));
  Json all = {{"schema", kSchema},
              {"boot_id", stored.boot_id},
              {"drivers", stored.drivers_key},
              {"looked_at", stored.looked_at},
              {"devices", std::move(devices)},
              {"warnings", stored.inventory.warnings}};
  return all.dump(-1, ' ', true, Json::error_handler_t::replace) + "\n";
}

std::optional<StoredInventory> parse_inventory(std::string_view text) {
  if (text.size() > kMaxInventoryFile) return std::nullopt;
  Json all = parse(text);
  StoredInventory stored;
  std::uint64_t schema = 0;
  Inventory& inventory = stored.inventory;
  bool valid = read_number(all, "schema", kSchema, schema) && schema == kSchema &&
               read_text(all, "boot_id", 64, stored.boot_id) &&
               read_text(all, "drivers", 32, stored.drivers_key) &&
               read_number(all, "looked_at", INT64_MAX, stored.looked_at) &&
               read_devices(field(all, "devices"), inventory.devices) &&
               !inventory.devices.empty() && have_distinct_keys(inventory.devices) &&
               read_warnings(field(all, "warnings"), inventory.warnings);
  if (!valid) return std::nullopt;
  for (std::size_t i = 0; i < inventory.devices.size(); ++i) {
    inventory.devices[i].index = static_cast<int>(i);
  }
  return stored;
}

}  // namespace chronos
