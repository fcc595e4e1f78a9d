// The JSON objects of `--json`. Field names and their meaning are a promise to scripts.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "core/device.hpp"
#include "core/registry.hpp"

namespace chronos::cli {

using Json = nlohmann::ordered_json;

// {"schema_version": 1}, to which each answer adds its own fields.
Json json_answer();

Json partition_json(const PartitionInfo& partition);
Json device_json(const Device& device, const DeviceUse& use);
Json available_json(const Device& device, const DeviceUse& use);

}  // namespace chronos::cli
