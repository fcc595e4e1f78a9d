// Devices as text for scripts, and as a table for a terminal.
#pragma once

#include <string>
#include <vector>

#include "cli/output.hpp"
#include "core/report.hpp"

namespace chronos::cli {

std::string stats_text(const std::vector<DeviceStanding>& devices, const Screen& screen);
std::string stats_table(const std::vector<DeviceStanding>& devices, const Screen& screen);

}  // namespace chronos::cli
