// What GPUs say of themselves: memory, power, load, temperature, and which processes hold memory.
// docs/decisions/0010-gpu-facts.md has the sources. What nobody says is not there; it is never
// taken for free.
//
// Each source is asked in a process of its own (chronos-probe), so that it can hang or crash: NVML,
// each card's files in sysfs, and procfs. Blocks for at most some seconds. Any thread.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/device.hpp"

namespace chronos {

enum class Vendor { kUnknown, kNvidia, kAmd, kIntel };

struct GpuProcess {
  pid_t pid = 0;
  std::optional<std::uint64_t> used_bytes;
};

struct GpuFacts {
  Vendor vendor = Vendor::kUnknown;
  std::string source;           // "nvml", "amdgpu", "i915", "xe"; "opencl": nobody but its driver
  std::string name, uuid, pci;  // empty if unknown; the last two as in Device
  std::string vendor_id;  // as the vendor's own variables take it ("GPU-..."); empty if unknown
  std::optional<std::uint64_t> total_bytes, used_bytes, free_bytes;
  std::optional<double> power_watts, power_limit_watts, utilization_percent, temperature_celsius;
  // None: nobody says. Not all of them where others' processes are hidden from the caller.
  std::optional<std::vector<GpuProcess>> processes;
  bool all_processes = false;
  // Divided into parts (NVIDIA's MIG) that are devices of their own at the same address.
  bool is_divided = false;
};

struct FactSources {
  std::string sys = "/sys", proc = "/proc", nvml = "libnvidia-ml.so.1";
  std::string probe;  // chronos-probe; empty: where it is installed
  std::chrono::milliseconds patience{10'000};

  // With CHRONOS_TEST_SYS, CHRONOS_TEST_PROC and CHRONOS_TEST_NVML in their places, for tests;
  // ignored where the environment is not to be trusted (AT_SECURE).
  static FactSources of_this_process();
};

struct GpuReport {
  std::vector<GpuFacts> of_device;    // for each device that was asked for, in that order
  std::vector<std::string> warnings;  // one line for each source that failed
};

GpuReport look_at_gpus(const std::vector<Device>& devices,
                       const FactSources& sources = FactSources::of_this_process());

// What chronos-probe does. Files of sysfs may block, and its readers with them.
std::optional<GpuFacts> read_card(const std::string& sys, const std::string& card);  // "card0"
// {"all": whether nothing is hidden, "held": [{"pci", "pid", "used"}]}, by /proc/PID/fdinfo.
nlohmann::json read_fdinfo(const std::string& proc);
std::vector<std::string> drm_cards(const std::string& sys);  // looks at no card itself

// A GPU as chronos-probe tells of it: name, uuid, pci, source, vendor_id, total, used, free
// (bytes), milliwatts, most_milliwatts, percent, celsius, processes [{pid, used}], all, mig. What
// makes no sense is left out.
nlohmann::json to_wire(const GpuFacts& gpu);
GpuFacts from_wire(const nlohmann::json& gpu);

// "0000:65:00.0" of any spelling that vendors use; empty if it is none.
std::string plain_pci(std::string_view text);
// 32 digits of "GPU-8932f937-d72c-..."; empty if it is none.
std::string plain_uuid(std::string_view text);

}  // namespace chronos
