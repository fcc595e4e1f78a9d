#include "core/report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "core/text.hpp"
#include "core/units.hpp"

namespace chronos {
namespace {

__extension__ using Wide = unsigned __int128;

Json text_or_null(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

}  // namespace

// Not by gmtime_r() or localtime_r(): their lock stays taken in a child that is forked meanwhile.
std::string utc_text(std::int64_t seconds) {
  namespace chrono = std::chrono;
  constexpr std::int64_t kLast = 253'402'300'799;  // of the year 9999
  if (seconds <= 0 || seconds > kLast) return {};
  const chrono::sys_seconds when{chrono::seconds(seconds)};
  const auto day = chrono::floor<chrono::days>(when);
  const chrono::year_month_day date(day);
  const chrono::hh_mm_ss<chrono::seconds> time(when - day);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                     time.hours().count(), time.minutes().count(), time.seconds().count());
}

Json json_answer() { return Json{{"schema_version", 1}}; }

Json partition_json(const PartitionInfo& partition) {
  UserNames users;
  return partition_json(partition, users);
}

Json partition_json(const PartitionInfo& partition, UserNames& users) {
  Json processes = Json::array();
  for (const ProcessUse& process : partition.processes) {
    Json one{{"pid", process.pid}, {"used_bytes", process.used_bytes}};
    // There it is another process, or none: nobody must signal that number.
    if (!process.is_here) one["pid"] = nullptr;
    const bool has_two = process.self.pid != 0 && process.self.pid != process.pid;
    if (has_two || !process.is_here) one["pid_inside"] = process.self.pid;
    processes.push_back(std::move(one));
  }
  Json json;
  json["partition_id"] = partition.id;
  json["name"] = text_or_null(partition.name);
  json["device"] = partition.device_index < 0 ? Json(nullptr) : Json(partition.device_index);
  json["device_name"] = text_or_null(partition.device_name);
  json["memory_fraction"] = partition.fraction;
  json["limit_bytes"] = partition.limit_bytes;
  json["used_bytes"] = partition.used_bytes;
  json["draining_bytes"] = partition.draining_bytes;
  json["peak_bytes"] = partition.peak_bytes;
  json["refusals"] = partition.refusals;
  // Whole seconds: a duration never shows as 0, and nobody is promised time that is not left.
  json["duration_seconds"] = (partition.duration_ns + kNanosPerSecond - 1) / kNanosPerSecond;
  json["time_remaining_seconds"] = partition.remaining_ns / kNanosPerSecond;
  json["expires_at"] = text_or_null(utc_text(partition.expires_at));
  json["owner"] = users.of(partition.owner);
  json["creator"] = users.of(partition.creator);
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
  const std::uint64_t hundredths = hundredths_of_percent(use.available_bytes, device.total_bytes);
  json["available_percent"] = static_cast<double>(hundredths) / 100;
  json["available_bytes"] = use.available_bytes;
  return json;
}

std::string json_text(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

std::string stats_text(const std::vector<DeviceStanding>& devices, const Shown& name,
                       const Shown& text) {
  auto known = [](const Shown& shown, const std::string& value) {
    if (value.empty()) return std::string("unknown");
    return shown ? shown(value) : escaped(value);
  };
  std::string out = "Device statistics:\n=================\n";
  for (const auto& [device, use] : devices) {
    if (device.index > 0) out += '\n';
    out += fmt::format(
        "Device {}: {}\n"
        "  Type: {}\n"
        "  Vendor: {}\n"
        "  OpenCL version: {}\n"
        "  Memory:\n"
        "    Total: {} MB\n"
        "    Used: {} MB\n"
        "    Available: {} MB\n"
        "    Usage: {}%\n"
        "  Chronos management:\n"
        "    Active partitions: {}\n",
        device.index, known(name, device.name), to_string(device.type), known(text, device.vendor),
        known(text, device.opencl_version), legacy_megabytes(device.total_bytes),
        legacy_megabytes(use.used_bytes), legacy_megabytes(use.available_bytes),
        percent_of(use.used_bytes, device.total_bytes), use.active_partitions);
  }
  return out;
}

std::string legacy_megabytes(std::uint64_t bytes) {
  constexpr std::uint64_t kMegabyte = 1 << 20;
  if (bytes >= kMegabyte || bytes == 0) return fmt::format("{}", bytes / kMegabyte);
  return fmt::format("{:.2f}", static_cast<double>(bytes) / static_cast<double>(kMegabyte));
}

std::uint64_t hundredths_of_percent(std::uint64_t part, std::uint64_t whole) {
  if (whole == 0) return 0;
  return static_cast<std::uint64_t>(Wide{std::min(part, whole)} * 10000 / whole);
}

std::string percent_of(std::uint64_t part, std::uint64_t whole) {
  const std::uint64_t hundredths = hundredths_of_percent(part, whole);
  return fmt::format("{}.{:02}", hundredths / 100, hundredths % 100);
}

}  // namespace chronos
