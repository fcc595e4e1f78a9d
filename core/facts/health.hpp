// Whether a GPU is fit for use, by what its user asked for. Pure functions, any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/facts/gpu_facts.hpp"
#include "core/report.hpp"

namespace chronos {

struct HealthConditions {
  std::optional<std::uint64_t> min_free_bytes;
  std::optional<double> max_power_watts, max_utilization_percent;

  bool any() const { return min_free_bytes || max_power_watts || max_utilization_percent; }
};

// Whether what is asked for is known.
bool is_known(const GpuFacts& gpu, const HealthConditions& conditions);

// Why the GPU does not meet the conditions, in some words ("uses 120 W, more than 80 W"); empty if
// it does. What is asked for and not known is not met.
std::string unhealthy(const GpuFacts& gpu, const HealthConditions& conditions);

// Units are in the names; null for what is not known. `processes` null: nobody says.
Json facts_json(const Device& device, const GpuFacts& gpu);

// How CUDA_VISIBLE_DEVICES names GPUs: by id where each has one, or in any case by number, which
// programs that read it themselves expect.
enum class CudaNames { kIds, kNumbers };

// Name and value for a program that is to use those of `all` whose number is in `chosen`: the
// variables by which CUDA, ROCm and Level Zero choose devices, of the vendors that this machine
// has.
std::vector<std::pair<std::string, std::string>> vendor_variables(
    const std::vector<GpuFacts>& all, const std::vector<std::size_t>& chosen,
    CudaNames cuda_names = CudaNames::kIds);

}  // namespace chronos
