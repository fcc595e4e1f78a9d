#include "cli/json.hpp"

#include <fmt/format.h>

#include <ctime>

#include "cli/output.hpp"
#include "core/units.hpp"
#include "core/users.hpp"

namespace chronos::cli {
namespace {

Json text_or_null(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

// RFC 3339 in UTC.
Json time_json(std::int64_t seconds) {
  std::time_t when = seconds;
  std::tm utc{};
  if (seconds <= 0 || ::gmtime_r(&when, &utc) == nullptr) return nullptr;
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", utc.tm_year + 1900, utc.tm_mon + 1,
                     utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

}  // namespace

Json json_answer() { return Json{{"schema_version", 1}}; }

Json partition_json(const PartitionInfo& partition) {
  Json processes = Json::array();
  for (const ProcessUse& process : partition.processes) {
    processes.push_back(Json{{"pid", process.pid}, {"used_bytes", process.used_bytes}});
  }
  Json json;
  json["partition_id"] = partition.id;
  json["name"] = text_or_null(partition.name);
  json["device"] = partition.device_index < 0 ? Json(nullptr) : Json(partition.device_index);
  json["device_name"] = text_or_null(partition.device_name);
  json["memory_fraction"] = partition.fraction;
  json["limit_bytes"] = partition.limit_bytes;
  json["used_bytes"] = partition.used_bytes;
  json["peak_bytes"] = partition.peak_bytes;
  json["refusals"] = partition.refusals;
  // Whole seconds: a duration never shows as 0, and nobody is promised time that is not left.
  json["duration_seconds"] = (partition.duration_ns + kNanosPerSecond - 1) / kNanosPerSecond;
  json["time_remaining_seconds"] = partition.remaining_ns / kNanosPerSecond;
  json["expires_at"] = time_json(partition.expires_at);
  json["owner"] = user_name(partition.owner);
  json["creator"] = user_name(partition.creator);
  json["pid"] = partition.pid > 0 ? Json(partition.pid) : Json(nullptr);
  json["state"] = to_string(partition.state);
  json["processes"] = std::move(processes);
  return json;
}

Json device_json(const Device& device, const DeviceUse& use) {
  Json json;
  json["device"] = device.index;
  json["name"] = text_or_null(device.name);
  json["vendor"] = text_or_null(device.vendor);
  json["type"] = to_string(device.type);
  json["opencl_version"] = text_or_null(device.opencl_version);
  json["platform"] = text_or_null(device.platform);
  json["uuid"] = text_or_null(device.uuid);
  json["pci"] = text_or_null(device.pci);
  json["total_bytes"] = device.total_bytes;
  json["used_bytes"] = use.used_bytes;
  json["reserved_bytes"] = use.reserved_bytes;
  json["draining_bytes"] = use.draining_bytes;
  json["available_bytes"] = use.available_bytes;
  json["active_partitions"] = use.active_partitions;
  return json;
}

Json available_json(const Device& device, const DeviceUse& use) {
  Json json = json_answer();
  json["device"] = device.index;
  std::uint64_t hundredths = hundredths_of_percent(use.available_bytes, device.total_bytes);
  json["available_percent"] = static_cast<double>(hundredths) / 100;
  json["available_bytes"] = use.available_bytes;
  return json;
}

}  // namespace chronos::cli
