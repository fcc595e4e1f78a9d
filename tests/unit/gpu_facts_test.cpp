#include "core/facts/gpu_facts.hpp"

#include <sys/stat.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
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

TEST_CASE("what makes no sense is not known", "[facts]") {
  const std::uint64_t gib = 1 << 30;
  nlohmann::json said{{"name", "GPU"},         {"uuid", "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"},
                      {"pci", "0000:65:00.0"}, {"total", 24 * gib},
                      {"free", 20 * gib},      {"used", 4 * gib},
                      {"milliwatts", 30500},   {"percent", 7},
                      {"celsius", 41}};
  const GpuFacts good = from_wire(said);
  CHECK(good.vendor == Vendor::kNvidia);
  CHECK(good.free_bytes == 20 * gib);
  CHECK(good.power_watts == 30.5);
  CHECK(good.utilization_percent == 7);
  CHECK(from_wire(to_wire(good)).free_bytes == 20 * gib);
  auto with = [&](const char* key, const nlohmann::json& value) {
    nlohmann::json other = said;
    other[key] = value;
    return from_wire(other);
  };
  CHECK(!with("free", UINT64_MAX).free_bytes);
  CHECK(!with("free", 25 * gib).free_bytes);
  CHECK(!with("used", 25 * gib).free_bytes);
  CHECK(!with("total", 0).total_bytes);
  CHECK(!with("free", -1).free_bytes);
  CHECK(!with("free", "lots").free_bytes);
  CHECK(!with("percent", 101).utilization_percent);
  CHECK(!with("percent", -1).utilization_percent);
  CHECK(!with("milliwatts", 4'294'967'295u).power_watts);
  CHECK(!with("celsius", 1e300).temperature_celsius);
  CHECK(with("pci", "../../etc").pci.empty());
  CHECK(with("uuid", 7).uuid.empty());
  CHECK(!with("processes", "none").processes);
  const GpuFacts odd =
      with("processes", {1, {{"pid", -4}}, {{"pid", 7u}}, {{"pid", std::uint64_t{1} << 40}}});
  REQUIRE(odd.processes->size() == 1);
  CHECK(!odd.processes->front().used_bytes);
  CHECK(!odd.all_processes);
}

namespace {

struct Tree {
  std::string folder;

  Tree() {
    char path[] = "/tmp/chronos-sys-XXXXXX";
    folder = ::mkdtemp(path);
  }
  ~Tree() { std::filesystem::remove_all(folder); }

  std::string path(int card, const std::string& name) const {
    return folder + "/class/drm/card" + std::to_string(card) + "/device/" + name;
  }
  void say(int card, const std::string& name, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(path(card, name)).parent_path());
    std::ofstream(path(card, name)) << text << "\n";
  }
  void add(int card) const {
    say(card, "uevent", "DRIVER=amdgpu\nPCI_SLOT_NAME=0000:4" + std::to_string(card) + ":00.0");
    say(card, "mem_info_vram_total", "1000");
    say(card, "mem_info_vram_used", "100");
    say(card, "gpu_busy_percent", "3");
  }
  GpuReport look(std::chrono::milliseconds patience) const {
    std::vector<Device> devices(2);
    for (int i = 0; i < 2; ++i) {
      devices[i].type = DeviceType::kGpu;
      devices[i].pci = "0000:4" + std::to_string(i) + ":00.0";
      devices[i].total_bytes = 1000;
    }
    FactSources sources;
    sources.sys = folder;
    sources.proc = folder + "/proc";
    sources.nvml = "/nonexistent/nvml";
    sources.patience = patience;
    return look_at_gpus(devices, sources);
  }
};

}  // namespace

TEST_CASE("a card whose files block is not known, and the others are", "[facts]") {
  const Tree tree;
  tree.add(0);
  tree.add(1);
  GpuReport report = tree.look(std::chrono::seconds(60));
  CHECK(report.warnings.empty());
  CHECK(report.of_device[0].free_bytes == 900);
  std::filesystem::remove(tree.path(0, "gpu_busy_percent"));
  REQUIRE(::mkfifo(tree.path(0, "gpu_busy_percent").c_str(), 0600) == 0);
  report = tree.look(std::chrono::seconds(2));
  CHECK(report.of_device[0].source == "opencl");
  CHECK(!report.of_device[0].free_bytes);
  REQUIRE(report.warnings.size() == 1);
  CHECK(report.warnings[0].find("card0) did not answer within 2 s") != std::string::npos);
  CHECK(report.of_device[1].free_bytes == 900);
}

TEST_CASE("what the kernel's files say is judged", "[facts]") {
  const Tree tree;
  tree.add(0);
  tree.add(1);
  auto free_with = [&](const std::string& name, const std::string& text) {
    tree.add(0);
    tree.say(0, name, text);
    return read_card(tree.folder, "card0")->free_bytes;
  };
  CHECK(free_with("gpu_busy_percent", "3") == 900);
  for (const char* garbage :
       {"", "-1", "0x10", "1e3", "99999999999999999999999", "100 200", "no"}) {
    CHECK(!free_with("mem_info_vram_used", garbage));
    CHECK(!free_with("mem_info_vram_total", garbage));
  }
  CHECK(!free_with("mem_info_vram_used", "1001"));
  std::filesystem::remove(tree.path(0, "mem_info_vram_used"));
  std::filesystem::create_directory(tree.path(0, "mem_info_vram_used"));  // cannot be read
  CHECK(!read_card(tree.folder, "card0")->free_bytes);
  std::filesystem::remove(tree.path(0, "mem_info_vram_used"));
  std::filesystem::create_symlink("/proc/self/mem", tree.path(0, "mem_info_vram_used"));  // EIO
  CHECK(!read_card(tree.folder, "card0")->free_bytes);
  std::filesystem::remove(tree.path(0, "mem_info_vram_used"));
  // More than any driver of OpenCL hides: not what this device has.
  tree.say(1, "mem_info_vram_total", "18446744073709551615");
  CHECK(!tree.look(std::chrono::seconds(60)).of_device[1].free_bytes);
  // Gone between the list and the look.
  CHECK(!read_card(tree.folder, "card7"));
  CHECK(drm_cards(tree.folder) == std::vector<std::string>{"card0", "card1"});
  CHECK(drm_cards("/nonexistent").empty());
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
