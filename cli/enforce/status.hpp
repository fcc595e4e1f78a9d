// What `chronos enforce status` says, and `on` beside its own words. Text; one thread.
#pragma once

#include <string>
#include <vector>

#include "core/enforce/standing.hpp"
#include "core/report.hpp"

namespace chronos::cli {

// What decides whether enforcement means anything to users without a partition: one line each.
std::vector<std::string> policy_notes();

std::string status_text(const enforce::Standing& standing);

// {"schema_version", "state", "healthy", "version", "preload_file", "is_named", "library",
//  "library_version", "layer_file", "loader_reads_layer_file", "unassigned", "problems", "notes"}
Json status_json(const enforce::Standing& standing);

}  // namespace chronos::cli
