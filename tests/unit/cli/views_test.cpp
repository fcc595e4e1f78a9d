// What `list` and `stats` print: the text that scripts parse, and JSON.
#include <unistd.h>

#include "catch.hpp"
#include "cli/list.hpp"
#include "cli/stats.hpp"
#include "core/report.hpp"
#include "core/units.hpp"
#include "core/users.hpp"

using namespace chronos;
using namespace chronos::cli;

namespace {

PartitionInfo sample() {
  PartitionInfo partition;
  partition.id = "partition_0001";
  partition.number = 1;
  partition.device_index = 0;
  partition.device_name = "NVIDIA GeForce RTX 3080";
  partition.fraction = 0.5;
  partition.limit_bytes = 5120ull << 20;
  partition.used_bytes = 812ull << 20;
  partition.peak_bytes = 900ull << 20;
  partition.refusals = 2;
  partition.duration_ns = 3600 * kNanosPerSecond;
  partition.remaining_ns = 3598 * kNanosPerSecond + 999'999'999;
  partition.expires_at = 1'767'225'600;
  partition.owner = partition.creator = ::getuid();
  partition.pid = 12345;
  partition.processes = {{77, 812ull << 20}};
  return partition;
}

std::string me() { return user_name(::getuid()); }

}  // namespace

TEST_CASE("list prints the block that scripts know") {
  CHECK(list_text({sample()}, Screen{}) ==
        "Active partitions:\n"
        "-----------------\n"
        "ID: partition_0001\n"
        "  Device: 0 (NVIDIA GeForce RTX 3080)\n"
        "  Memory: 50%\n"
        "  Time remaining: 3598 seconds\n"
        "  Owner: " +
            me() +
            " (PID: 12345)\n"
            "  Memory usage: 812 MB of 5120 MB\n");
  CHECK(list_text({}, Screen{}) == "No active partitions\n");
  CHECK(list_table({}, Screen{}) == "No active partitions\n");
}

TEST_CASE("a draining partition has one line more") {
  PartitionInfo partition = sample();
  partition.state = PartitionState::kDraining;
  partition.remaining_ns = 0;
  std::string text = list_text({partition}, Screen{});
  CHECK(text.find("  Time remaining: 0 seconds\n") != std::string::npos);
  CHECK(text.find("  State: draining (pid 77 holds 812 MiB)\n") != std::string::npos);
}

TEST_CASE("list as a table fits the terminal") {
  Screen screen;
  screen.width = 80;
  std::string text = list_table({sample()}, screen);
  for (std::size_t at = 0, end; (end = text.find('\n', at)) != std::string::npos; at = end + 1) {
    CHECK(end - at <= 80);
  }
  CHECK(text.find("59m 58s") != std::string::npos);
}

TEST_CASE("a partition in JSON has every field, in order") {
  Json json = partition_json(sample());
  std::vector<std::string> names;
  for (const auto& item : json.items()) names.push_back(item.key());
  CHECK(names ==
        std::vector<std::string>{"partition_id", "name", "device", "device_name", "memory_fraction",
                                 "limit_bytes", "used_bytes", "draining_bytes", "peak_bytes",
                                 "refusals", "duration_seconds", "time_remaining_seconds",
                                 "expires_at", "owner", "creator", "pid", "state", "processes"});
  CHECK(json["name"].is_null());
  CHECK(json["time_remaining_seconds"] == 3598);
  CHECK(json["duration_seconds"].is_number_integer());
  CHECK(json["expires_at"] == "2026-01-01T00:00:00Z");
  CHECK(json["state"] == "active");
  CHECK(json["processes"][0]["pid"] == 77);
  CHECK(json["processes"][0]["used_bytes"] == 812ull << 20);
}

TEST_CASE("unknown is null") {
  PartitionInfo partition = sample();
  partition.device_index = -1;
  partition.device_name.clear();
  partition.expires_at = 0;
  partition.pid = 0;
  Json json = partition_json(partition);
  CHECK(json["device"].is_null());
  CHECK(json["device_name"].is_null());
  CHECK(json["expires_at"].is_null());
  CHECK(json["pid"].is_null());

  Json device = device_json(Device{}, DeviceUse{});
  for (const char* name : {"name", "vendor", "opencl_version", "platform", "uuid", "pci"}) {
    CHECK(device[name].is_null());
  }
}

TEST_CASE("JSON is valid UTF-8 whatever a driver calls its device") {
  PartitionInfo partition = sample();
  partition.device_name = "bad \xff\n\x1b name";
  std::string text = to_text(partition_json(partition));
  CHECK(text.find("bad \xef\xbf\xbd\\n\\u001b name") != std::string::npos);
  CHECK(Json::accept(text));
}

TEST_CASE("a duration below a second does not show as none") {
  PartitionInfo partition = sample();
  partition.duration_ns = partition.remaining_ns = kNanosPerSecond / 4;
  Json json = partition_json(partition);
  CHECK(json["duration_seconds"] == 1);
  CHECK(json["time_remaining_seconds"] == 0);
}

TEST_CASE("stats prints the block of the user guide") {
  Device device;
  device.name = "NVIDIA GeForce RTX 3080";
  device.vendor = "NVIDIA Corporation";
  device.opencl_version = "OpenCL 3.0";
  device.total_bytes = 10240ull << 20;
  DeviceUse use;
  use.available_bytes = 10240ull << 20;
  CHECK(stats_text({{device, use}}, Screen{}) ==
        "Device statistics:\n"
        "=================\n"
        "Device 0: NVIDIA GeForce RTX 3080\n"
        "  Type: GPU\n"
        "  Vendor: NVIDIA Corporation\n"
        "  OpenCL version: OpenCL 3.0\n"
        "  Memory:\n"
        "    Total: 10240 MB\n"
        "    Used: 0 MB\n"
        "    Available: 10240 MB\n"
        "    Usage: 0.00%\n"
        "  Chronos management:\n"
        "    Active partitions: 0\n");
}
