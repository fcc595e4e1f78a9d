// What the facts mean for the user: one plain line each, and what to do about it. Pure functions;
// any thread.
#pragma once

#include <string>
#include <vector>

#include "core/doctor/facts.hpp"
#include "core/report.hpp"

namespace chronos::doctor {

enum class Status { kOk, kNote, kWarning, kProblem };
const char* to_string(Status status);  // "ok", "note", "warning", "problem"

struct Finding {
  Status status = Status::kOk;
  std::string topic;   // one of a few words: "device", "driver", "loader", "doors", ...
  std::string text;    // one line
  std::string remedy;  // one line; never empty for a problem
};

std::vector<Finding> findings(const Facts& facts);

// Those about enforcement for the whole machine (enforcement.cpp); part of the above.
std::vector<Finding> enforcement_findings(const enforce::Standing& standing);

// Whether something keeps enforcement from working.
bool has_problem(const std::vector<Finding>& findings);

// {"schema_version", "healthy", "findings": [{"status", "topic", "text", "remedy"}], "devices",
//  "drivers", "loaders", "doors", "state"}.
Json machine_json(const Facts& facts, const std::vector<Finding>& findings);

}  // namespace chronos::doctor
