// Devices as the command line names them.
#pragma once

#include <string_view>
#include <vector>

#include "core/device.hpp"
#include "core/registry.hpp"

namespace chronos::cli {

// The number of a device as people write it. Errors: kInvalid.
Result<int> parse_device(std::string_view text);

// A device of this machine by its number. An unknown number is kInvalid: the request is wrong, not
// the machine. Errors: kInvalid, kNoDevice (no OpenCL at all), kSystem.
Result<Device> device_by_number(const Registry& registry, int number);

// What the last look of the registry could not use or judge, on stderr.
void print_warnings(const Registry& registry);

// What is remembered of them; nothing, if they have not been looked for. Starts no driver.
std::vector<Device> remembered_devices(const Registry& registry);

// Partitions record the number that their device had for their creator. Replaces it by today's,
// where the remembered inventory knows the device: starts no driver and needs no OpenCL.
void use_current_numbers(const Registry& registry, std::vector<PartitionInfo>& partitions);

}  // namespace chronos::cli
