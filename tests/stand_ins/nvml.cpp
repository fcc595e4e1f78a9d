// A stand-in for NVIDIA's management library: says what the text file that CHRONOS_STAND_IN_NVML
// names tells it to. It is no GPU's; it has the documented calls that chronos-probe makes.
//
//   gpu                     the lines that follow are of one more GPU
//   name A Name             also uuid, pci
//   memory TOTAL FREE USED  bytes
//   power MILLIWATTS        also limit, temperature, utilization; mig 1: divided
//   process PID BYTES       graphics PID BYTES: one that draws; BYTES "?" is not available
//   fail CALL CODE          that call fails; a value that was not told fails with "not supported"
//   hang CALL, crash CALL
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

namespace {

constexpr int kSuccess = 0, kNotSupported = 3, kInsufficientSize = 7;

struct Process {
  unsigned pid;
  unsigned long long used;
  unsigned gpu_instance, compute_instance;
};

struct Gpu {
  std::map<std::string, std::string> values;
  std::vector<Process> compute, graphics;
};

struct Script {
  std::vector<Gpu> gpus;
  std::map<std::string, int> fails;
  std::string hangs, crashes;

  Script() {
    const char* path = std::getenv("CHRONOS_STAND_IN_NVML");
    std::ifstream file(path == nullptr ? "" : path);
    for (std::string line; std::getline(file, line);) {
      std::istringstream words(line);
      std::string key, rest;
      words >> key;
      std::getline(words >> std::ws, rest);
      if (key == "gpu") {
        gpus.emplace_back();
      } else if (key == "fail") {
        fails[rest.substr(0, rest.find(' '))] = std::atoi(rest.substr(rest.find(' ')).c_str());
      } else if (key == "hang") {
        hangs = rest;
      } else if (key == "crash") {
        crashes = rest;
      } else if ((key == "process" || key == "graphics") && !gpus.empty()) {
        Process one{};
        std::string bytes;
        std::istringstream(rest) >> one.pid >> bytes;
        one.used = bytes == "?" ? ~0ull : std::strtoull(bytes.c_str(), nullptr, 10);
        (key == "process" ? gpus.back().compute : gpus.back().graphics).push_back(one);
      } else if (!gpus.empty()) {
        gpus.back().values[key] = rest;
      }
    }
  }

  int enter(const char* call) const {
    if (hangs == call) {
      for (;;) ::pause();
    }
    if (crashes == call) std::abort();
    const auto found = fails.find(call);
    return found == fails.end() ? kSuccess : found->second;
  }
};

const Script& script() {
  static const Script said;
  return said;
}

int text(const char* call, const char* key, void* device, char* out, unsigned size) {
  const int status = script().enter(call);
  const auto& values = static_cast<Gpu*>(device)->values;
  const auto found = values.find(key);
  if (status != kSuccess) return status;
  if (found == values.end()) return kNotSupported;
  if (found->second.size() + 1 > size) return kInsufficientSize;
  std::memcpy(out, found->second.c_str(), found->second.size() + 1);
  return kSuccess;
}

int number(const char* call, const char* key, void* device, unsigned* out) {
  std::string said(32, '\0');
  const int status = text(call, key, device, said.data(), 32);
  if (status == kSuccess) *out = static_cast<unsigned>(std::strtoul(said.c_str(), nullptr, 10));
  return status;
}

int processes(const char* call, const std::vector<Process>& list, unsigned* count, Process* out) {
  const int status = script().enter(call);
  if (status != kSuccess) return status;
  const bool fits = list.size() <= *count;
  *count = static_cast<unsigned>(list.size());
  if (!fits) return kInsufficientSize;
  std::copy(list.begin(), list.end(), out);
  return kSuccess;
}

}  // namespace

#define NVML extern "C" __attribute__((visibility("default")))

NVML int nvmlInit_v2() { return script().enter("nvmlInit_v2"); }
NVML const char* nvmlErrorString(int code) {
  return code == 9 ? "Driver Not Loaded" : "Unknown Error";
}
NVML int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = static_cast<unsigned>(script().gpus.size());
  return script().enter("nvmlDeviceGetCount_v2");
}
NVML int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** device) {
  *device = const_cast<Gpu*>(&script().gpus.at(index));
  return script().enter("nvmlDeviceGetHandleByIndex_v2");
}
NVML int nvmlDeviceGetName(void* device, char* out, unsigned size) {
  return text("nvmlDeviceGetName", "name", device, out, size);
}
NVML int nvmlDeviceGetUUID(void* device, char* out, unsigned size) {
  return text("nvmlDeviceGetUUID", "uuid", device, out, size);
}
struct PciInfo {
  char legacy[16];
  unsigned numbers[5];
  char bus_id[32];
};
NVML int nvmlDeviceGetPciInfo_v3(void* device, PciInfo* pci) {
  return text("nvmlDeviceGetPciInfo_v3", "pci", device, pci->bus_id, sizeof pci->bus_id);
}
struct Memory {
  unsigned long long total, free, used;
};
NVML int nvmlDeviceGetMemoryInfo(void* device, Memory* memory) {
  std::string said(96, '\0');
  const int status = text("nvmlDeviceGetMemoryInfo", "memory", device, said.data(), 96);
  std::istringstream(said.c_str()) >> memory->total >> memory->free >> memory->used;
  return status;
}
NVML int nvmlDeviceGetPowerUsage(void* device, unsigned* milliwatts) {
  return number("nvmlDeviceGetPowerUsage", "power", device, milliwatts);
}
NVML int nvmlDeviceGetEnforcedPowerLimit(void* device, unsigned* milliwatts) {
  return number("nvmlDeviceGetEnforcedPowerLimit", "limit", device, milliwatts);
}
NVML int nvmlDeviceGetTemperature(void* device, unsigned, unsigned* celsius) {
  return number("nvmlDeviceGetTemperature", "temperature", device, celsius);
}
NVML int nvmlDeviceGetUtilizationRates(void* device, unsigned* percents) {
  return number("nvmlDeviceGetUtilizationRates", "utilization", device, percents);
}
NVML int nvmlDeviceGetMigMode(void* device, unsigned* now, unsigned* pending) {
  *pending = 0;
  return number("nvmlDeviceGetMigMode", "mig", device, now);
}
NVML int nvmlDeviceGetComputeRunningProcesses_v3(void* device, unsigned* count, Process* out) {
  return processes("nvmlDeviceGetComputeRunningProcesses_v3", static_cast<Gpu*>(device)->compute,
                   count, out);
}
NVML int nvmlDeviceGetGraphicsRunningProcesses_v3(void* device, unsigned* count, Process* out) {
  return processes("nvmlDeviceGetGraphicsRunningProcesses_v3", static_cast<Gpu*>(device)->graphics,
                   count, out);
}
