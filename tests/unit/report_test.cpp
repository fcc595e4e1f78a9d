#include "core/report.hpp"

#include "core/units.hpp"
#include "tests/unit/catch.hpp"

using namespace chronos;

TEST_CASE("a partition as JSON", "[report]") {
  PartitionInfo info;
  info.id = "p1";
  info.fraction = 0.5;
  info.limit_bytes = 1 << 20;
  info.duration_ns = kNanosPerSecond / 2;
  info.remaining_ns = 2 * kNanosPerSecond - 1;
  info.expires_at = 1'000'000'000;
  info.processes = {{7, 42}};
  Json json = partition_json(info);
  CHECK(json["partition_id"] == "p1");
  CHECK(json["name"].is_null());
  CHECK(json["device"].is_null());
  CHECK(json["pid"].is_null());
  CHECK(json["duration_seconds"] == 1);        // never shown as 0
  CHECK(json["time_remaining_seconds"] == 1);  // never more than is left
  CHECK(json["expires_at"] == "2001-09-09T01:46:40Z");
  CHECK(json["owner"] == "root");
  CHECK(json["creator"] == "root");
  CHECK(json["state"] == "active");
  CHECK(json["processes"][0]["used_bytes"] == 42);
  info.creator = 3999999999;
  info.expires_at = -1;
  json = partition_json(info);
  CHECK(json["creator"] == "3999999999");
  CHECK(json["expires_at"].is_null());
}

TEST_CASE("JSON is valid UTF-8 whatever a driver says", "[report]") {
  Device device;
  device.name = "GPU\xff";
  const std::string text = json_text(device_json(device, {}));
  CHECK(text.find("GPU\xef\xbf\xbd") != std::string::npos);
}

TEST_CASE("percentages are rounded down", "[report]") {
  CHECK(percent_of(99'999, 100'000) == "99.99");
  CHECK(percent_of(100'000, 100'000) == "100.00");
  CHECK(percent_of(2, 1) == "100.00");
  CHECK(percent_of(1, 0) == "0.00");
  CHECK(percent_of(~0ull - 1, ~0ull) == "99.99");
}

TEST_CASE("the statistics of a device as text", "[report]") {
  Device device;
  device.name = "Test\nGPU";
  device.total_bytes = 10ull << 30;
  DeviceUse use;
  use.used_bytes = 1ull << 29;
  use.available_bytes = 5ull << 30;
  use.active_partitions = 2;
  CHECK(stats_text({{device, use}}) ==
        "Device statistics:\n=================\n"
        "Device 0: Test\\nGPU\n"
        "  Type: GPU\n"
        "  Vendor: unknown\n"
        "  OpenCL version: unknown\n"
        "  Memory:\n"
        "    Total: 10240 MB\n"
        "    Used: 512 MB\n"
        "    Available: 5120 MB\n"
        "    Usage: 5.00%\n"
        "  Chronos management:\n"
        "    Active partitions: 2\n");
  auto shout = [](std::string_view) { return std::string("NAME"); };
  CHECK(stats_text({{device, use}}, shout).find("Device 0: NAME\n") != std::string::npos);
}
