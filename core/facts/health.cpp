#include "core/facts/health.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

#include "core/units.hpp"

namespace chronos {
namespace {

template <class T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}
Json or_null(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

// Those of one vendor among all, in the order of their PCI addresses, as vendors number them.
std::vector<std::size_t> of_vendor(const std::vector<GpuFacts>& all, Vendor vendor) {
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].vendor == vendor) found.push_back(i);
  }
  std::stable_sort(found.begin(), found.end(),
                   [&](std::size_t a, std::size_t b) { return all[a].pci < all[b].pci; });
  return found;
}

}  // namespace

bool is_known(const GpuFacts& gpu, const HealthConditions& conditions) {
  return (gpu.free_bytes || !conditions.min_free_bytes) &&
         (gpu.power_watts || !conditions.max_power_watts) &&
         (gpu.utilization_percent || !conditions.max_utilization_percent);
}

std::string unhealthy(const GpuFacts& gpu, const HealthConditions& conditions) {
  if (conditions.min_free_bytes) {
    if (!gpu.free_bytes) return "nobody says how much of its memory is free";
    if (*gpu.free_bytes < *conditions.min_free_bytes) {
      return fmt::format("has {} free, less than {}", format_bytes(*gpu.free_bytes),
                         format_bytes(*conditions.min_free_bytes));
    }
  }
  if (conditions.max_power_watts) {
    if (!gpu.power_watts) return "nobody says what power it draws";
    if (*gpu.power_watts > *conditions.max_power_watts) {
      return fmt::format("draws {:g} W, more than {:g} W", *gpu.power_watts,
                         *conditions.max_power_watts);
    }
  }
  if (conditions.max_utilization_percent) {
    if (!gpu.utilization_percent) return "nobody says how busy it is";
    if (*gpu.utilization_percent > *conditions.max_utilization_percent) {
      return fmt::format("is busy to {:g}%, more than {:g}%", *gpu.utilization_percent,
                         *conditions.max_utilization_percent);
    }
  }
  return {};
}

Json facts_json(const Device& device, const GpuFacts& gpu) {
  Json json;
  json["device"] = device.index;
  json["name"] = or_null(gpu.name);
  json["uuid"] = or_null(gpu.uuid);
  json["pci"] = or_null(gpu.pci);
  json["source"] = gpu.source;
  json["total_bytes"] = or_null(gpu.total_bytes);
  json["used_bytes"] = or_null(gpu.used_bytes);
  json["free_bytes"] = or_null(gpu.free_bytes);
  json["power_watts"] = or_null(gpu.power_watts);
  json["power_limit_watts"] = or_null(gpu.power_limit_watts);
  json["utilization_percent"] = or_null(gpu.utilization_percent);
  json["temperature_celsius"] = or_null(gpu.temperature_celsius);
  json["processes"] = nullptr;
  json["all_processes"] = gpu.all_processes;
  if (!gpu.processes) return json;
  json["processes"] = Json::array();
  for (const GpuProcess& process : *gpu.processes) {
    json["processes"].push_back(
        Json{{"pid", process.pid}, {"used_bytes", or_null(process.used_bytes)}});
  }
  return json;
}

std::vector<std::pair<std::string, std::string>> vendor_variables(
    const std::vector<GpuFacts>& all, const std::vector<std::size_t>& chosen,
    CudaNames cuda_names) {
  std::vector<std::pair<std::string, std::string>> variables;
  auto taken = [&](const std::vector<std::size_t>& gpus) {
    std::vector<std::size_t> ordinals;
    for (std::size_t i = 0; i < gpus.size(); ++i) {
      if (std::find(chosen.begin(), chosen.end(), gpus[i]) != chosen.end()) ordinals.push_back(i);
    }
    return ordinals;
  };
  // Neither CUDA nor ROCm knows a GPU -1. Ids where every one has one, else ordinals: the two
  // cannot be mixed everywhere.
  auto list = [&](const std::vector<std::size_t>& gpus, const std::vector<std::size_t>& ordinals,
                  CudaNames names) {
    if (ordinals.empty()) return std::string("-1");
    if (names == CudaNames::kNumbers) return fmt::format("{}", fmt::join(ordinals, ","));
    std::vector<std::string> ids;
    for (const std::size_t i : ordinals) ids.push_back(all[gpus[i]].vendor_id);
    const bool all_have_one =
        std::none_of(ids.begin(), ids.end(), [](const std::string& id) { return id.empty(); });
    return all_have_one ? fmt::format("{}", fmt::join(ids, ","))
                        : fmt::format("{}", fmt::join(ordinals, ","));
  };
  if (const auto gpus = of_vendor(all, Vendor::kNvidia); !gpus.empty()) {
    variables.emplace_back("CUDA_DEVICE_ORDER", "PCI_BUS_ID");
    variables.emplace_back("CUDA_VISIBLE_DEVICES", list(gpus, taken(gpus), cuda_names));
  }
  if (const auto gpus = of_vendor(all, Vendor::kAmd); !gpus.empty()) {
    const auto ordinals = taken(gpus);
    variables.emplace_back("ROCR_VISIBLE_DEVICES", list(gpus, ordinals, CudaNames::kIds));
    // HIP counts what ROCr has left.
    std::vector<std::size_t> left(ordinals.size());
    std::iota(left.begin(), left.end(), std::size_t{0});
    variables.emplace_back("HIP_VISIBLE_DEVICES",
                           left.empty() ? "-1" : fmt::format("{}", fmt::join(left, ",")));
  }
  // An empty mask is no mask for Level Zero; then only OpenCL is filtered.
  if (const auto gpus = of_vendor(all, Vendor::kIntel); !taken(gpus).empty()) {
    variables.emplace_back("ZE_ENABLE_PCI_ID_DEVICE_ORDER", "1");
    variables.emplace_back("ZE_AFFINITY_MASK", fmt::format("{}", fmt::join(taken(gpus), ",")));
  }
  return variables;
}

}  // namespace chronos
