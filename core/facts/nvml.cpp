#include "core/facts/nvml.hpp"

#include <dlfcn.h>

#include <array>
#include <map>
#include <string>

namespace chronos::nvml {
namespace {

using Json = nlohmann::json;

class Library {
 public:
  explicit Library(void* handle) : handle_(handle) {}

  // The value that `name` gives out as the last of its arguments; none if it is missing or fails.
  template <class Value, class... Arguments>
  bool get(const char* name, Value* value, Arguments... arguments) const {
    auto* function = reinterpret_cast<Return (*)(Arguments..., Value*)>(::dlsym(handle_, name));
    return function != nullptr && function(arguments..., value) == kSuccess;
  }
  bool get_text(const char* name, Device device, char* text, unsigned size) const {
    auto* function = reinterpret_cast<Return (*)(Device, char*, unsigned)>(::dlsym(handle_, name));
    const bool good = function != nullptr && function(device, text, size) == kSuccess;
    text[good ? size - 1 : 0] = '\0';
    return good && text[0] != '\0';
  }
  Return call(const char* name) const {
    auto* function = reinterpret_cast<Return (*)()>(::dlsym(handle_, name));
    return function == nullptr ? -1 : function();
  }
  std::string error_text(Return code) const {
    auto* function = reinterpret_cast<const char* (*)(Return)>(::dlsym(handle_, "nvmlErrorString"));
    const char* text = function == nullptr ? nullptr : function(code);
    return text == nullptr ? "error " + std::to_string(code) : text;
  }
  // Of all that compute or draw. `known`: of some of them; `all`: of all.
  void processes(Device device, std::map<unsigned, unsigned long long>& found, bool& known,
                 bool& all) const {
    all = true;
    for (const std::string kind : {"Compute", "Graphics"}) {
      const std::string name = "nvmlDeviceGet" + kind + "RunningProcesses_v";
      void* symbol = ::dlsym(handle_, (name + "3").c_str());
      if (symbol == nullptr) symbol = ::dlsym(handle_, (name + "2").c_str());
      auto* function = reinterpret_cast<Return (*)(Device, unsigned*, ProcessInfo*)>(symbol);
      std::array<ProcessInfo, 1024> list{};
      auto count = static_cast<unsigned>(list.size());
      const Return status =
          function == nullptr ? kFunctionNotFound : function(device, &count, list.data());
      if (status != kSuccess || count > list.size()) {
        // A GPU that cannot draw has nobody who does.
        all = all && kind == "Graphics" && status == kNotSupported;
        continue;
      }
      known = true;
      // Who does both is in both lists, with all of its memory.
      for (unsigned i = 0; i < count; ++i) found[list[i].pid] = list[i].used_gpu_memory;
    }
    all = all && known;
  }
  bool is_divided(Device device) const {
    auto* function = reinterpret_cast<Return (*)(Device, unsigned*, unsigned*)>(
        ::dlsym(handle_, "nvmlDeviceGetMigMode"));
    unsigned now = 0, pending = 0;
    return function != nullptr && function(device, &now, &pending) == kSuccess && now != 0;
  }

 private:
  void* handle_;
};

Json describe(const Library& nvml, Device device) {
  Json gpu;
  std::array<char, kNameSize> text{};
  if (nvml.get_text("nvmlDeviceGetName", device, text.data(), kNameSize)) gpu["name"] = text.data();
  if (nvml.get_text("nvmlDeviceGetUUID", device, text.data(), kUuidSize)) gpu["uuid"] = text.data();
  PciInfo pci{};
  if (nvml.get("nvmlDeviceGetPciInfo_v3", &pci, device)) {
    pci.bus_id[sizeof pci.bus_id - 1] = '\0';
    gpu["pci"] = pci.bus_id;
  }
  Memory memory{};
  if (nvml.get("nvmlDeviceGetMemoryInfo", &memory, device)) {
    gpu["total"] = memory.total;
    gpu["used"] = memory.used;
    gpu["free"] = memory.free;
  }
  unsigned number = 0;
  if (nvml.get("nvmlDeviceGetPowerUsage", &number, device)) gpu["milliwatts"] = number;
  if (nvml.get("nvmlDeviceGetEnforcedPowerLimit", &number, device)) gpu["most_milliwatts"] = number;
  if (nvml.get("nvmlDeviceGetTemperature", &number, device, kGpuTemperature)) {
    gpu["celsius"] = number;
  }
  Utilization use{};
  if (nvml.get("nvmlDeviceGetUtilizationRates", &use, device)) gpu["percent"] = use.gpu;
  if (nvml.is_divided(device)) gpu["mig"] = true;
  std::map<unsigned, unsigned long long> processes;
  bool known = false, all = false;
  nvml.processes(device, processes, known, all);
  if (known) {
    gpu["all"] = all;
    gpu["processes"] = Json::array();
    for (const auto& [pid, bytes] : processes) {
      Json process{{"pid", pid}};
      if (bytes != kNotAvailable) process["used"] = bytes;
      gpu["processes"].push_back(std::move(process));
    }
  }
  return gpu;
}

}  // namespace

Json ask(const char* library) {
  void* handle = ::dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* why = ::dlerror();
    return {{"error", why == nullptr ? "cannot be loaded" : why}, {"missing", true}};
  }
  const Library nvml(handle);
  const Return status = nvml.call("nvmlInit_v2");
  if (status != kSuccess) return {{"error", "nvmlInit: " + nvml.error_text(status)}};
  unsigned count = 0;
  if (!nvml.get("nvmlDeviceGetCount_v2", &count)) return {{"error", "cannot count its devices"}};
  Json gpus = Json::array();
  for (unsigned i = 0; i < count && i < 64; ++i) {
    Device device = nullptr;
    if (nvml.get("nvmlDeviceGetHandleByIndex_v2", &device, i))
      gpus.push_back(describe(nvml, device));
  }
  return {{"gpus", std::move(gpus)}};
}

}  // namespace chronos::nvml
