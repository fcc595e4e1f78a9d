// What Chronos tells about partitions and devices, as JSON and as the text that scripts parse.
// Field names, their order and their meaning are a promise to scripts. Pure functions but for the
// lookup of user names; any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/device.hpp"
#include "core/registry.hpp"
#include "core/users.hpp"

namespace chronos {

using Json = nlohmann::ordered_json;

// {"schema_version": 1}, to which each answer adds its own fields.
Json json_answer();

Json partition_json(const PartitionInfo& partition);
Json partition_json(const PartitionInfo& partition, UserNames& users);
Json device_json(const Device& device, const DeviceUse& use);
Json available_json(const Device& device, const DeviceUse& use);

// Valid UTF-8 whatever the strings hold. `indent` as for Json::dump.
std::string json_text(const Json& json, int indent = -1);

struct DeviceStanding {
  Device device;
  DeviceUse use;
};

// How a string that came from a driver is shown; by default as escaped() does.
using Shown = std::function<std::string(std::string_view)>;

// The block of `chronos stats`.
std::string stats_text(const std::vector<DeviceStanding>& devices, const Shown& name = {},
                       const Shown& text = {});

// RFC 3339 in UTC ("2026-11-22T22:40:10Z"); empty for a time that is none, or after the year 9999.
std::string utc_text(std::int64_t seconds);

// MB of 2^20 bytes without decimals, as the original printed them; sizes below one keep two.
std::string legacy_megabytes(std::uint64_t bytes);
// "75.00", rounded down so that what is promised can be had.
std::string percent_of(std::uint64_t part, std::uint64_t whole);
std::uint64_t hundredths_of_percent(std::uint64_t part, std::uint64_t whole);

}  // namespace chronos
