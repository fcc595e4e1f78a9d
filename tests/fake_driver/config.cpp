#include "tests/fake_driver/config.hpp"

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string_view>
#include <type_traits>

namespace chronos::fake {
namespace {

using nlohmann::json;

[[noreturn]] void reject(const std::string& what) { throw std::invalid_argument(what); }

void allow_only(const json& object, const char* where, std::initializer_list<const char*> known) {
  if (!object.is_object()) reject(std::string(where) + " must be an object");
  for (const auto& item : object.items()) {
    bool found = false;
    for (const char* key : known) found = found || item.key() == key;
    if (!found) reject("unknown key \"" + item.key() + "\" in " + where);
  }
}

template <class T>
void read(const json& object, const char* key, T& out) {
  const auto found = object.find(key);
  if (found == object.end()) return;
  if constexpr (std::is_same_v<T, bool>) {
    if (!found->is_boolean()) reject(std::string(key) + " must be true or false");
  } else if constexpr (std::is_unsigned_v<T>) {
    if (!found->is_number_unsigned()) reject(std::string(key) + " must be a whole number >= 0");
  }
  out = found->get<T>();
}

std::vector<std::string> read_names(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) return {};
  if (found->is_string()) return {found->get<std::string>()};
  return found->get<std::vector<std::string>>();
}

std::array<cl_uchar, CL_UUID_SIZE_KHR> parse_uuid(const std::string& text) {
  std::array<cl_uchar, CL_UUID_SIZE_KHR> uuid{};
  if (text.size() != 2 * uuid.size() ||
      text.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos) {
    reject("uuid must be 32 hexadecimal digits: " + text);
  }
  for (std::size_t i = 0; i < uuid.size(); ++i) {
    uuid[i] = static_cast<cl_uchar>(std::stoul(text.substr(2 * i, 2), nullptr, 16));
  }
  return uuid;
}

cl_device_pci_bus_info_khr parse_pci(const std::string& text) {
  cl_device_pci_bus_info_khr pci{};
  int end = 0;
  if (std::sscanf(text.c_str(), "%4x:%2x:%2x.%1x%n", &pci.pci_domain, &pci.pci_bus, &pci.pci_device,
                  &pci.pci_function, &end) != 4 ||
      static_cast<std::size_t>(end) != text.size()) {
    reject("pci must look like 0000:65:00.0: " + text);
  }
  return pci;
}

cl_device_type parse_type(const std::string& text) {
  if (text == "gpu") return CL_DEVICE_TYPE_GPU;
  if (text == "cpu") return CL_DEVICE_TYPE_CPU;
  if (text == "accelerator") return CL_DEVICE_TYPE_ACCELERATOR;
  reject("type must be gpu, cpu or accelerator: " + text);
}

void parse_device(const json& object, std::vector<DeviceConfig>& out) {
  allow_only(object, "devices",
             {"name", "type", "memory_bytes", "max_alloc_bytes", "witness_limit_bytes",
              "free_memory_amd", "uuid", "pci", "count"});
  DeviceConfig device;
  device.name = "Fake GPU " + std::to_string(out.size());
  std::string type = "gpu";
  std::string uuid;
  std::string pci;
  std::uint64_t count = 1;
  read(object, "name", device.name);
  read(object, "type", type);
  read(object, "memory_bytes", device.memory_bytes);
  read(object, "max_alloc_bytes", device.max_alloc_bytes);
  read(object, "witness_limit_bytes", device.witness_limit_bytes);
  read(object, "free_memory_amd", device.free_memory_amd);
  read(object, "uuid", uuid);
  read(object, "pci", pci);
  read(object, "count", count);
  device.type = parse_type(type);
  if (!uuid.empty()) device.uuid = parse_uuid(uuid);
  if (!pci.empty()) device.pci = parse_pci(pci);
  if (device.memory_bytes == 0 || device.memory_bytes > kMaxMemoryBytes) {
    reject("memory_bytes must be from 1 to " + std::to_string(kMaxMemoryBytes));
  }
  for (std::uint64_t i = 0; i < count; ++i) {
    if (out.size() == kMaxDevices) reject("too many devices");
    out.push_back(device);
    // Repeated devices are alike but for what tells real cards apart.
    if (device.uuid) ++device.uuid->back();
    if (device.pci) device.pci->pci_bus = (device.pci->pci_bus + 1) & 0xff;
  }
}

Config parse(const json& root) {
  Config config;
  allow_only(
      root, "the configuration",
      {"platform", "devices", "faults", "delays", "crash_on", "hang_on", "witness",
       "enforce_device_memory", "back_memory", "deferred", "table_entries", "table_read_only",
       "table_managed", "table_empty"});
  if (const auto platform = root.find("platform"); platform != root.end()) {
    allow_only(*platform, "platform", {"name", "vendor", "version"});
    read(*platform, "name", config.platform_name);
    read(*platform, "vendor", config.platform_vendor);
    read(*platform, "version", config.platform_version);
  }
  if (const auto devices = root.find("devices"); devices != root.end()) {
    config.devices.clear();
    for (const json& device : *devices) parse_device(device, config.devices);
  }
  if (const auto faults = root.find("faults"); faults != root.end()) {
    for (const json& object : *faults) {
      allow_only(object, "faults", {"call", "after", "times", "error"});
      Fault fault;
      read(object, "call", fault.call);
      read(object, "after", fault.after);
      read(object, "times", fault.times);
      read(object, "error", fault.error);
      if (fault.call.empty() || fault.error >= 0) reject("a fault needs a call and an error < 0");
      config.faults.push_back(fault);
    }
  }
  if (const auto delays = root.find("delays"); delays != root.end()) {
    for (const json& object : *delays) {
      allow_only(object, "delays", {"call", "microseconds"});
      Delay delay;
      read(object, "call", delay.call);
      read(object, "microseconds", delay.microseconds);
      if (delay.call.empty()) reject("a delay needs a call");
      config.delays.push_back(delay);
    }
  }
  config.crash_on = read_names(root, "crash_on");
  config.hang_on = read_names(root, "hang_on");
  read(root, "enforce_device_memory", config.enforce_device_memory);
  read(root, "back_memory", config.back_memory);
  read(root, "deferred", config.deferred);
  read(root, "witness", config.witness);
  read(root, "table_entries", config.table_entries);
  read(root, "table_read_only", config.table_read_only);
  read(root, "table_managed", config.table_managed);
  read(root, "table_empty", config.table_empty);
  return config;
}

}  // namespace

std::optional<Config> load_config() {
  const char* path = std::getenv("CHRONOS_FAKE_DRIVER");
  if (path == nullptr || *path == '\0') return Config{};
  try {
    std::ifstream file(path);
    if (!file) reject("cannot be opened");
    return parse(json::parse(file));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fake driver: %s: %s\n", path, error.what());
    return std::nullopt;
  }
}

}  // namespace chronos::fake
