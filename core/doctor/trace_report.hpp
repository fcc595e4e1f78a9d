// The traces of one command's processes, added up and told. Pure functions; any thread.
#pragma once

#include <string>
#include <vector>

#include "core/registry.hpp"
#include "core/report.hpp"
#include "core/trace.hpp"

namespace chronos::doctor {

// What was seen and is not covered, or only partly: one plain line each.
struct Uncovered {
  std::string kind;  // a word for programs: "extension", "device", "short_table",
                     // "read_only_table", "import", "earlier_library", "no_layer",
                     // "no_driver_door", "unassigned", "process", "trace"
  std::string text;
};

struct CommandReport {
  std::vector<std::string> command;
  int exit_status = 0;
  Traces traces;
  std::vector<PartitionInfo> partitions;  // as they stood when the command had ended
  std::vector<Uncovered> uncovered;       // beyond what the traces say
};

// The calls of all processes, added up by name, in the order of their first appearance.
std::vector<TracedCall> add_up(const std::vector<ProcessTrace>& processes);

// What the traces say of what is not covered.
std::vector<Uncovered> uncovered_of(const std::vector<ProcessTrace>& processes);

Json command_json(const CommandReport& report);
std::string command_text(const CommandReport& report);

}  // namespace chronos::doctor
