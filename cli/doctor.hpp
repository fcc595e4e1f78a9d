// What `chronos doctor` prints. Exposed for its test.
#pragma once

#include <string>
#include <vector>

#include "cli/output.hpp"
#include "core/doctor/findings.hpp"

namespace chronos::cli {

// A line for each: status, topic, text, and behind an arrow what to do.
std::string findings_text(const std::vector<doctor::Finding>& findings, const Screen& screen);

}  // namespace chronos::cli
