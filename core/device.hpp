// What Chronos knows of an OpenCL device, and how one is told from another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace chronos {

enum class DeviceType { kGpu, kAccelerator, kCpu, kCustom };
const char* to_string(DeviceType type);  // "GPU", "Accelerator", "CPU", "Custom"

struct Device {
  int index = 0;    // the number that people use: `chronos create <index> ...`
  std::string key;  // identity, the same in every process: see device_key()
  std::string name;
  std::string vendor;
  std::string platform;
  std::string opencl_version;  // "OpenCL 3.0", without what the vendor adds behind it
  DeviceType type = DeviceType::kGpu;
  std::string uuid;               // 32 hexadecimal digits (cl_khr_device_uuid); empty if unknown
  std::string pci;                // "0000:65:00.0"; empty if unknown
  std::uint64_t total_bytes = 0;  // CL_DEVICE_GLOBAL_MEM_SIZE when it was first seen
};

// The identity of a device: "uuid:..." or "pci:...", else platform, name and the ordinal among the
// devices of that name on that platform. At most kMaxDeviceKey bytes, printable, no newline.
// Both the inventory and the shim use it, so that they always agree.
inline constexpr std::size_t kMaxDeviceKey = 191;
std::string device_key(std::string_view uuid, std::string_view pci, std::string_view platform,
                       std::string_view name, unsigned ordinal);

// 32 lower case hexadecimal digits that are not all 0: what counts as a UUID here.
bool is_device_uuid(std::string_view text);
// "0000:65:00.0", lower case; a domain of eight digits is accepted too.
bool is_pci_address(std::string_view text);

}  // namespace chronos
