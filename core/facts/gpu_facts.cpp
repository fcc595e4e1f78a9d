#include "core/facts/gpu_facts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/look.hpp"
#include "core/paths.hpp"
#include "core/posix.hpp"
#include "core/spawn.hpp"
#include "core/state_dir.hpp"
#include "core/text.hpp"

namespace chronos {
namespace {

using Json = nlohmann::json;

constexpr std::chrono::seconds kPatience{10};
constexpr std::size_t kMaxAnswer = std::size_t{1} << 20;

template <class T>
std::optional<T> number(const Json& gpu, const char* key, double unit = 1) {
  const auto found = gpu.find(key);
  if (found == gpu.end() || !found->is_number_unsigned()) return std::nullopt;
  if constexpr (std::is_integral_v<T>) return found->template get<T>();
  return static_cast<T>(found->template get<double>() / unit);
}

std::string text(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

GpuFacts nvidia_facts(const Json& gpu) {
  GpuFacts facts;
  facts.vendor = Vendor::kNvidia;
  facts.source = "nvml";
  facts.name = text(gpu, "name");
  facts.uuid = plain_uuid(text(gpu, "uuid"));
  if (!facts.uuid.empty()) facts.vendor_id = text(gpu, "uuid");
  facts.pci = plain_pci(text(gpu, "pci"));
  facts.total_bytes = number<std::uint64_t>(gpu, "total");
  facts.used_bytes = number<std::uint64_t>(gpu, "used");
  facts.free_bytes = number<std::uint64_t>(gpu, "free");
  facts.power_watts = number<double>(gpu, "milliwatts", 1000);
  facts.power_limit_watts = number<double>(gpu, "most_milliwatts", 1000);
  facts.utilization_percent = number<double>(gpu, "percent");
  facts.temperature_celsius = number<double>(gpu, "celsius");
  const auto processes = gpu.find("processes");
  if (processes == gpu.end() || !processes->is_array()) return facts;
  facts.processes.emplace();
  facts.all_processes = true;
  for (const Json& one : *processes) {
    const auto pid = one.is_object() ? number<std::uint32_t>(one, "pid") : std::nullopt;
    if (pid) {
      facts.processes->push_back({static_cast<pid_t>(*pid), number<std::uint64_t>(one, "used")});
    }
  }
  return facts;
}

Vendor vendor_of(const Device& device) {
  if (device.type != DeviceType::kGpu) return Vendor::kUnknown;
  auto has = [&](std::string_view word) {
    return device.vendor.find(word) != device.vendor.npos ||
           device.platform.find(word) != device.platform.npos;
  };
  if (has("NVIDIA")) return Vendor::kNvidia;
  if (has("Advanced Micro Devices") || has("AMD")) return Vendor::kAmd;
  return has("Intel") ? Vendor::kIntel : Vendor::kUnknown;
}

std::string in_groups(const std::string& uuid) {
  return fmt::format("GPU-{}-{}-{}-{}-{}", uuid.substr(0, 8), uuid.substr(8, 4), uuid.substr(12, 4),
                     uuid.substr(16, 4), uuid.substr(20));
}

}  // namespace

FactSources FactSources::of_this_process() {
  FactSources sources;
  auto take = [](std::string& to, const char* name) {
    const char* value = trusted_env(name);
    if (value != nullptr && *value != '\0') to = value;
  };
  take(sources.sys, "CHRONOS_TEST_SYS");
  take(sources.proc, "CHRONOS_TEST_PROC");
  take(sources.nvml, "CHRONOS_TEST_NVML");
  return sources;
}

std::string plain_pci(std::string_view given) {
  std::string plain(given);
  std::transform(plain.begin(), plain.end(), plain.begin(), [](unsigned char c) {
    return static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  });
  if (plain.size() > 12 && plain.starts_with("0000")) plain.erase(0, 4);  // eight digits of domain
  return is_pci_address(plain) ? plain : std::string();
}

std::string plain_uuid(std::string_view given) {
  if (given.starts_with("GPU-")) given.remove_prefix(4);
  std::string plain;
  for (const char c : given) {
    if (c != '-') plain += static_cast<char>(c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c);
  }
  return is_device_uuid(plain) ? plain : std::string();
}

std::vector<GpuFacts> ask_nvml(const FactSources& sources, std::string& problem) {
  const std::string probe = sources.probe.empty() ? probe_path() : sources.probe;
  if (probe.empty()) {
    problem = "the helper chronos-probe is missing from this installation";
    return {};
  }
  // The helper is not set-uid itself, so that the library would trust what this process must not.
  const auto environment = environment_is_untrusted()
                               ? std::vector<std::string>{"PATH=/usr/bin:/bin"}
                               : probe_environment(environ);
  const auto runs =
      run_and_capture({{probe, {"--nvml", sources.nvml}, environment}}, kPatience, kMaxAnswer);
  const Captured& run = runs.front();
  const Json answer = Json::parse(run.output, nullptr, false);
  if (run.start_error != 0) {
    problem = "cannot run " + probe + ": " + errno_text(run.start_error);
  } else if (run.timed_out) {
    problem = fmt::format("{} did not answer within {} s", sources.nvml, kPatience.count());
  } else if (!answer.is_object()) {
    problem = sources.nvml + " crashed or gave no answer";
  } else if (const std::string error = text(answer, "error"); !error.empty()) {
    problem = fmt::format("{}: {}", sources.nvml, escaped(error, 200));
  }
  std::vector<GpuFacts> gpus;
  if (!problem.empty()) return gpus;
  const auto list = answer.find("gpus");
  if (list == answer.end() || !list->is_array()) return gpus;
  for (const Json& gpu : *list) {
    if (gpu.is_object()) gpus.push_back(nvidia_facts(gpu));
  }
  return gpus;
}

GpuReport look_at_gpus(const std::vector<Device>& devices, const FactSources& sources) {
  GpuReport report;
  std::vector<GpuFacts> known = read_drm(sources);
  if (!known.empty()) read_fdinfo(sources, known);
  std::string problem;
  std::vector<GpuFacts> nvidia = ask_nvml(sources, problem);
  std::move(nvidia.begin(), nvidia.end(), std::back_inserter(known));
  bool nvidia_unknown = false;
  for (const Device& device : devices) {
    const auto match = std::find_if(known.begin(), known.end(), [&](const GpuFacts& gpu) {
      if (!device.uuid.empty() && gpu.uuid == device.uuid) return true;
      return !device.pci.empty() && gpu.pci == plain_pci(device.pci);
    });
    GpuFacts facts;
    if (match != known.end()) {
      facts = *match;
    } else {
      facts.source = "opencl";
      facts.vendor = vendor_of(device);
      facts.total_bytes = device.total_bytes;
      nvidia_unknown = nvidia_unknown || facts.vendor == Vendor::kNvidia;
    }
    if (!facts.total_bytes) facts.total_bytes = device.total_bytes;
    if (facts.name.empty()) facts.name = device.name;
    if (facts.uuid.empty()) facts.uuid = device.uuid;
    if (facts.pci.empty()) facts.pci = device.pci;
    if (facts.vendor == Vendor::kNvidia && facts.vendor_id.empty() && !facts.uuid.empty()) {
      facts.vendor_id = in_groups(facts.uuid);
    }
    report.of_device.push_back(std::move(facts));
  }
  // Who has no NVIDIA GPU need not hear that its library is missing.
  if (nvidia_unknown && !problem.empty()) report.warnings.push_back(problem);
  return report;
}

}  // namespace chronos
