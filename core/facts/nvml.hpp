// The part of NVIDIA's management library that is used here, in own declarations, by its
// documentation. Used in chronos-probe only: the library is the vendor's, and may do anything.
#pragma once

#include <nlohmann/json.hpp>

namespace chronos::nvml {

using Device = struct DeviceHandle*;
using Return = int;
inline constexpr Return kSuccess = 0, kNotSupported = 3, kFunctionNotFound = 13;
inline constexpr unsigned kUuidSize = 96, kNameSize = 96, kGpuTemperature = 0;
inline constexpr unsigned long long kNotAvailable = ~0ull;

struct Memory {
  unsigned long long total, free, used;
};
struct Utilization {
  unsigned gpu, memory;  // percent
};
struct PciInfo {  // version 3
  char bus_id_legacy[16];
  unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
  char bus_id[32];
};
struct ProcessInfo {  // versions 2 and 3
  unsigned pid;
  unsigned long long used_gpu_memory;
  unsigned gpu_instance_id, compute_instance_id;
};
static_assert(sizeof(ProcessInfo) == 24 && sizeof(PciInfo) == 68);

// {"gpus": [...]}, a GPU's fields being there as far as the library knows them, or {"error": why}.
// Ends with the process: nothing is given back.
nlohmann::json ask(const char* library);

}  // namespace chronos::nvml
