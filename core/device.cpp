#include "core/device.hpp"

#include <algorithm>

#include "core/text.hpp"

namespace chronos {
namespace {

bool is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

// '/' parts platform and name in a key, so it is escaped inside of them.
std::string key_part(std::string_view text) {
  std::string out;
  for (char c : escaped(text)) {
    if (c == '/') {
      out += "\\x2f";
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

const char* to_string(DeviceType type) {
  switch (type) {
    case DeviceType::kGpu:
      return "GPU";
    case DeviceType::kAccelerator:
      return "Accelerator";
    case DeviceType::kCpu:
      return "CPU";
    case DeviceType::kCustom:
      break;
  }
  return "Custom";
}

bool is_device_uuid(std::string_view text) {
  return text.size() == 32 && std::all_of(text.begin(), text.end(), is_hex) &&
         text.find_first_not_of('0') != text.npos;
}

bool is_pci_address(std::string_view text) {
  constexpr std::string_view kShape = "hhhh:hh:hh.o";  // of 16 bits or, with some hosts, 32
  if (text.size() == kShape.size() + 4) {
    if (!std::all_of(text.begin(), text.begin() + 4, is_hex)) return false;
    text.remove_prefix(4);
  }
  return std::equal(text.begin(), text.end(), kShape.begin(), kShape.end(), [](char c, char shape) {
    return shape == 'h' ? is_hex(c) : shape == 'o' ? c >= '0' && c <= '7' : c == shape;
  });
}

std::string device_key(std::string_view uuid, std::string_view pci, std::string_view platform,
                       std::string_view name, unsigned ordinal) {
  if (is_device_uuid(uuid)) return "uuid:" + std::string(uuid);
  if (is_pci_address(pci)) return "pci:" + std::string(pci);
  std::string head = "name:" + key_part(platform) + "/" + key_part(name);
  std::string tail = "#" + std::to_string(ordinal);
  if (head.size() + tail.size() > kMaxDeviceKey) {
    // The hash is of the names as they are: escaped() may have cut them already.
    tail = "~" + to_hex(hash_bytes(name, hash_bytes(platform) ^ platform.size())) + tail;
    head.resize(kMaxDeviceKey - tail.size());
  }
  return head + tail;
}

}  // namespace chronos
