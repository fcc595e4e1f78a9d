#include "core/facts/gpu_facts.hpp"

#include <string>
#include <utility>
#include <vector>

#include "core/facts/health.hpp"
#include "tests/unit/catch.hpp"

using namespace chronos;

namespace {

using Variables = std::vector<std::pair<std::string, std::string>>;

GpuFacts gpu(Vendor vendor, const std::string& pci, const std::string& id = {}) {
  GpuFacts facts;
  facts.vendor = vendor;
  facts.pci = pci;
  facts.vendor_id = id;
  return facts;
}

}  // namespace

TEST_CASE("addresses and ids as vendors spell them", "[facts]") {
  CHECK(plain_pci("0000:65:00.0") == "0000:65:00.0");
  CHECK(plain_pci("00000000:6A:00.0") == "0000:6a:00.0");
  CHECK(plain_pci("00010000:6A:00.0") == "00010000:6a:00.0");
  CHECK(plain_pci("0000:65:00").empty());
  CHECK(plain_pci("").empty());
  CHECK(plain_uuid("GPU-8932F937-d72c-4106-c12f-20bd9faed9f6") ==
        "8932f937d72c4106c12f20bd9faed9f6");
  CHECK(plain_uuid("GPU-").empty());
  CHECK(plain_uuid("GPU-00000000-0000-0000-0000-000000000000").empty());
}

TEST_CASE("what is asked for and not known is not met", "[facts]") {
  GpuFacts facts;
  HealthConditions conditions;
  CHECK(!conditions.any());
  CHECK(unhealthy(facts, conditions).empty());
  conditions.min_free_bytes = 5;
  CHECK(unhealthy(facts, conditions) == "nobody says how much of its memory is free");
  facts.free_bytes = 4;
  CHECK(unhealthy(facts, conditions) == "has 4 B free, less than 5 B");
  facts.free_bytes = 5;
  CHECK(unhealthy(facts, conditions).empty());
  conditions.max_power_watts = 80;
  CHECK(unhealthy(facts, conditions) == "nobody says what power it draws");
  facts.power_watts = 80;
  CHECK(unhealthy(facts, conditions).empty());
  facts.power_watts = 80.5;
  CHECK(unhealthy(facts, conditions) == "draws 80.5 W, more than 80 W");
  facts.power_watts = 0;
  conditions.max_utilization_percent = 1;
  CHECK(unhealthy(facts, conditions) == "nobody says how busy it is");
  facts.utilization_percent = 2;
  CHECK(unhealthy(facts, conditions) == "is busy to 2%, more than 1%");
  facts.utilization_percent = 1;
  CHECK(unhealthy(facts, conditions).empty());
}

TEST_CASE("each vendor is told in its own words", "[facts]") {
  const std::vector<GpuFacts> all{
      gpu(Vendor::kUnknown, "0000:01:00.0"),
      gpu(Vendor::kNvidia, "0000:09:00.0", "GPU-b"),
      gpu(Vendor::kNvidia, "0000:02:00.0", "GPU-a"),
      gpu(Vendor::kAmd, "0000:03:00.0", "GPU-1"),
      gpu(Vendor::kAmd, "0000:04:00.0"),
      gpu(Vendor::kIntel, "0000:06:00.0"),
      gpu(Vendor::kIntel, "0000:05:00.0"),
  };
  CHECK(vendor_variables(all, {1, 3, 5}) == Variables{{"CUDA_DEVICE_ORDER", "PCI_BUS_ID"},
                                                      {"CUDA_VISIBLE_DEVICES", "GPU-b"},
                                                      {"ROCR_VISIBLE_DEVICES", "GPU-1"},
                                                      {"HIP_VISIBLE_DEVICES", "0"},
                                                      {"ZE_ENABLE_PCI_ID_DEVICE_ORDER", "1"},
                                                      {"ZE_AFFINITY_MASK", "1"}});
  // In the order of addresses; ordinals where an id is missing; none of a vendor's.
  CHECK(vendor_variables(all, {1, 2}) == Variables{{"CUDA_DEVICE_ORDER", "PCI_BUS_ID"},
                                                   {"CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b"},
                                                   {"ROCR_VISIBLE_DEVICES", "-1"},
                                                   {"HIP_VISIBLE_DEVICES", "-1"}});
  CHECK(vendor_variables(all, {3, 4})[2] ==
        std::pair<std::string, std::string>("ROCR_VISIBLE_DEVICES", "0,1"));
  CHECK(vendor_variables({all[0]}, {0}).empty());
  // By number, for CUDA, where that is wanted.
  CHECK(vendor_variables(all, {1, 3}, CudaNames::kNumbers) ==
        Variables{{"CUDA_DEVICE_ORDER", "PCI_BUS_ID"},
                  {"CUDA_VISIBLE_DEVICES", "1"},
                  {"ROCR_VISIBLE_DEVICES", "GPU-1"},
                  {"HIP_VISIBLE_DEVICES", "0"}});
  CHECK(vendor_variables(all, {5}, CudaNames::kNumbers)[1].second == "-1");
}
