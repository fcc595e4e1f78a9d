#include "core/doctor/trace_report.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/text.hpp"
#include "core/units_text.hpp"

namespace chronos::doctor {
namespace {

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

std::string plural(std::uint64_t count, std::string_view one, std::string_view more) {
  return fmt::format("{} {}", count, count == 1 ? one : more);
}

Uncovered told(const TracedNote& note) {
  switch (note.kind) {
    case TraceNoteKind::kExtension:
      return {"extension",
              fmt::format("{} was asked for by name: what it allocates, if it does, is not counted",
                          note.text)};
    case TraceNoteKind::kDevice:
      return {"device", fmt::format("allocations on a device were refused: {}", note.text)};
    case TraceNoteKind::kShortTable:
      return {"short_table",
              fmt::format("a dispatch table has no {}: older than its OpenCL version, and nothing "
                          "can come in by it",
                          note.text)};
    case TraceNoteKind::kReadOnlyTable:
      return {"read_only_table", note.text + ": only the layer door reaches that driver"};
    case TraceNoteKind::kImport:
      return {"import",
              note.text + ": memory that is not OpenCL's own is counted apart, and not limited"};
    case TraceNoteKind::kEarlier:
      return {"earlier_library",
              fmt::format("{} comes before the shim in LD_PRELOAD and defines OpenCL's functions: "
                          "what is called there is not limited; name the shim first",
                          note.text)};
    case TraceNoteKind::kNone:
      break;
  }
  return {"trace", note.text};
}

Json call_json(const TracedCall& call) {
  Json json;
  json["call"] = call.name;
  json["allocated"] = call.admitted;
  json["allocated_bytes"] = call.admitted_bytes;
  json["largest_bytes"] = call.largest_bytes;
  json["refused"] = call.refused;
  json["refused_bytes"] = call.refused_bytes;
  json["driver_failed"] = call.failed;
  json["unassigned"] = call.unassigned;
  json["unassigned_bytes"] = call.unassigned_bytes;
  return json;
}

Json calls_json(const std::vector<TracedCall>& calls) {
  Json json = Json::array();
  for (const TracedCall& call : calls) json.push_back(call_json(call));
  return json;
}

Json process_json(const ProcessTrace& process) {
  Json json;
  json["pid"] = process.pid;
  json["program"] = process.program.empty() ? Json(nullptr) : Json(process.program);
  json["doors"] = {
      {"layer", {{"opened", process.layer_opened}, {"calls", process.layer_calls}}},
      {"driver", {{"opened", process.drivers_patched}, {"calls", process.driver_calls}}},
      {"symbols", {{"opened", process.symbols_opened}, {"calls", process.symbol_calls}}}};
  json["peak_bytes"] = process.peak_bytes;
  json["left_bytes"] = process.live_bytes;
  json["imports"] = process.imports;
  json["import_bytes"] = process.import_bytes;
  json["calls"] = calls_json(process.calls);
  return json;
}

template <class Get>
std::uint64_t sum(const std::vector<ProcessTrace>& processes, Get get) {
  std::uint64_t total = 0;
  for (const ProcessTrace& process : processes) total += get(process);
  return total;
}

std::uint64_t largest_peak(const std::vector<ProcessTrace>& processes) {
  std::uint64_t most = 0;
  for (const ProcessTrace& process : processes) most = std::max(most, process.peak_bytes);
  return most;
}

Json doors_json(const std::vector<ProcessTrace>& processes) {
  auto of = [&](auto opened, auto calls) {
    return Json{{"processes", sum(processes, [&](const auto& p) { return p.*opened > 0; })},
                {"opened", sum(processes, [&](const auto& p) { return p.*opened; })},
                {"calls", sum(processes, [&](const auto& p) { return p.*calls; })}};
  };
  return {{"layer", of(&ProcessTrace::layer_opened, &ProcessTrace::layer_calls)},
          {"driver", of(&ProcessTrace::drivers_patched, &ProcessTrace::driver_calls)},
          {"symbols", of(&ProcessTrace::symbols_opened, &ProcessTrace::symbol_calls)}};
}

Json imports_json(const std::vector<ProcessTrace>& processes) {
  return {{"objects", sum(processes, [](const auto& p) { return p.imports; })},
          {"bytes", sum(processes, [](const auto& p) { return p.import_bytes; })}};
}

std::string door_line(std::string_view name, const Json& door) {
  if (door["processes"] == 0) return fmt::format("{} did not fire", name);
  return fmt::format("{} fired in {} and took {}", name,
                     plural(door["processes"].get<std::uint64_t>(), "process", "processes"),
                     plural(door["calls"].get<std::uint64_t>(), "call", "calls"));
}

std::string allocation_line(const TracedCall& call) {
  std::string line = fmt::format("    {}: ", call.name);
  if (call.admitted > 0) {
    line += fmt::format("{} allocated, {} (largest {})", call.admitted,
                        format_bytes(call.admitted_bytes), format_bytes(call.largest_bytes));
  }
  auto also = [&](std::uint64_t count, const std::string& text) {
    if (count > 0) line += (line.ends_with(": ") ? "" : "; ") + text;
  };
  also(call.refused, fmt::format("{} refused, {}", call.refused, format_bytes(call.refused_bytes)));
  also(call.failed, fmt::format("{} failed in the driver", call.failed));
  also(call.unassigned,
       fmt::format("{} in no partition, {}", call.unassigned, format_bytes(call.unassigned_bytes)));
  return line + "\n";
}

std::vector<Uncovered> all_uncovered(const CommandReport& report) {
  std::vector<Uncovered> all = uncovered_of(report.traces.processes);
  all.insert(all.end(), report.uncovered.begin(), report.uncovered.end());
  for (const std::string& line : report.traces.warnings) all.push_back({"trace", line});
  return all;
}

}  // namespace

std::vector<TracedCall> add_up(const std::vector<ProcessTrace>& processes) {
  std::vector<TracedCall> sums;
  for (const ProcessTrace& process : processes) {
    for (const TracedCall& call : process.calls) {
      auto known = std::find_if(sums.begin(), sums.end(),
                                [&](const TracedCall& one) { return one.name == call.name; });
      if (known == sums.end()) {
        sums.push_back(call);
        continue;
      }
      known->admitted += call.admitted;
      known->admitted_bytes += call.admitted_bytes;
      known->largest_bytes = std::max(known->largest_bytes, call.largest_bytes);
      known->refused += call.refused;
      known->refused_bytes += call.refused_bytes;
      known->failed += call.failed;
      known->unassigned += call.unassigned;
      known->unassigned_bytes += call.unassigned_bytes;
    }
  }
  return sums;
}

std::vector<Uncovered> uncovered_of(const std::vector<ProcessTrace>& processes) {
  std::vector<Uncovered> all;
  auto add = [&](Uncovered one) {
    auto same = [&](const Uncovered& other) { return other.text == one.text; };
    if (std::none_of(all.begin(), all.end(), same)) all.push_back(std::move(one));
  };
  for (const ProcessTrace& process : processes) {
    for (const TracedNote& note : process.notes) add(told(note));
    const bool is_seen =
        process.layer_opened + process.drivers_patched + process.symbols_opened > 0;
    if (process.layer_opened == 0 && is_seen) {
      add({"no_layer", fmt::format("{}: its loader opened no layer (an old or a bundled one); only "
                                   "the driver door holds there",
                                   base_name(process.program))});
    }
    if (process.drivers_patched == 0 && is_seen) {
      add({"no_driver_door",
           fmt::format("{}: no driver was reached through dlsym; only the layer door holds there",
                       base_name(process.program))});
    }
    for (const TracedCall& call : process.calls) {
      if (call.unassigned == 0) continue;
      add({"unassigned", fmt::format("{}: {} on a device where no partition applies: not limited",
                                     base_name(process.program), call.name)});
    }
  }
  return all;
}

Json command_json(const CommandReport& report) {
  const auto& processes = report.traces.processes;
  Json json = json_answer();
  json["command"] = Json::array();
  for (const std::string& word : report.command) json["command"].push_back(escaped(word));
  json["exit_status"] = report.exit_status;
  json["doors"] = doors_json(processes);
  json["calls"] = calls_json(add_up(processes));
  json["largest_process_peak_bytes"] = largest_peak(processes);
  json["imports"] = imports_json(processes);
  json["partitions"] = Json::array();
  for (const PartitionInfo& one : report.partitions) {
    json["partitions"].push_back(partition_json(one));
  }
  json["processes"] = Json::array();
  for (const ProcessTrace& process : processes) json["processes"].push_back(process_json(process));
  json["not_covered"] = Json::array();
  for (const Uncovered& one : all_uncovered(report)) {
    json["not_covered"].push_back(Json{{"kind", one.kind}, {"text", one.text}});
  }
  return json;
}

std::string command_text(const CommandReport& report) {
  const auto& processes = report.traces.processes;
  std::string out = fmt::format("chronos doctor: {} ended with status {}\n",
                                escaped(report.command.empty() ? "" : report.command.front(), 120),
                                report.exit_status);
  if (processes.empty()) {
    out += "  OpenCL: not used, as far as the shim can see\n";
  } else {
    const Json doors = doors_json(processes);
    out += fmt::format("  OpenCL: used by {}\n  doors: the {}; the {}\n",
                       plural(processes.size(), "process", "processes"),
                       door_line("layer door", doors["layer"]),
                       door_line("driver door", doors["driver"]));
    if (doors["symbols"]["processes"] != 0) {
      out += fmt::format("         the {}\n", door_line("symbol door", doors["symbols"]));
    }
    const std::vector<TracedCall> calls = add_up(processes);
    out += calls.empty() ? "  allocations: none\n" : "  allocations, by call:\n";
    for (const TracedCall& call : calls) out += allocation_line(call);
    const Json imports = imports_json(processes);
    if (imports["objects"] != 0) {
      out += fmt::format("  imports, charged to nobody: {}, {}\n",
                         plural(imports["objects"].get<std::uint64_t>(), "object", "objects"),
                         format_bytes(imports["bytes"].get<std::uint64_t>()));
    }
    for (const ProcessTrace& process : processes) {
      if (process.peak_bytes == 0) continue;
      out += fmt::format("  process {} ({}): peak {}, {} at the end\n", process.pid,
                         base_name(process.program), format_bytes(process.peak_bytes),
                         format_bytes(process.live_bytes));
    }
  }
  for (const PartitionInfo& one : report.partitions) {
    out += fmt::format("  partition {}: peak {} of {} since it was made, {}, {} in use now\n",
                       one.id, format_bytes(one.peak_bytes), format_bytes(one.limit_bytes),
                       plural(one.refusals, "refusal", "refusals"), format_bytes(one.used_bytes));
  }
  const std::vector<Uncovered> uncovered = all_uncovered(report);
  if (uncovered.empty()) return out + "  not covered: nothing that was seen\n";
  out += "  not covered:\n";
  for (const Uncovered& one : uncovered) out += "    " + one.text + "\n";
  return out;
}

}  // namespace chronos::doctor
