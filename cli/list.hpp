// Partitions as text for scripts, and as a table for a terminal.
#pragma once

#include <string>
#include <vector>

#include "cli/output.hpp"
#include "core/registry.hpp"

namespace chronos::cli {

std::string list_text(const std::vector<PartitionInfo>& partitions, const Screen& screen);
std::string list_table(const std::vector<PartitionInfo>& partitions, const Screen& screen);

}  // namespace chronos::cli
