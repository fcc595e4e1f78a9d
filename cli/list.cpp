#include "cli/list.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "cli/arguments.hpp"
#include "cli/devices.hpp"
#include "cli/table.hpp"
#include "cli/verbs.hpp"
#include "core/report.hpp"
#include "core/units.hpp"
#include "core/users.hpp"

namespace chronos::cli {
namespace {

std::string holders(const PartitionInfo& partition) {
  std::string text;
  for (const ProcessUse& process : partition.processes) {
    if (!text.empty()) text += ", ";
    text += fmt::format("pid {}{} holds {}", process.pid,
                        process.is_here ? "" : " of another pid namespace",
                        format_bytes(process.used_bytes));
  }
  return text.empty() ? format_bytes(partition.used_bytes) + " held" : text;
}

}  // namespace

std::string list_text(const std::vector<PartitionInfo>& partitions, const Screen& screen) {
  if (partitions.empty()) return "No active partitions\n";
  UserNames users;
  std::string out = "Active partitions:\n-----------------\n";
  for (const PartitionInfo& partition : partitions) {
    out += fmt::format(
        "ID: {}\n"
        "  Device: {} ({})\n"
        "  Memory: {}%\n"
        "  Time remaining: {} seconds\n"
        "  Owner: {} (PID: {})\n"
        "  Memory usage: {} MB of {} MB\n",
        styled(screen, Style::kBold, printable(partition.id)), partition.device_index,
        printable(partition.device_name), format_percent(partition.fraction),
        partition.remaining_ns / kNanosPerSecond, printable(users.of(partition.owner)),
        partition.pid, legacy_megabytes(partition.used_bytes),
        legacy_megabytes(partition.limit_bytes));
    if (partition.state == PartitionState::kDraining) {
      out += styled(screen, Style::kYellow,
                    fmt::format("  State: draining ({})", holders(partition))) +
             "\n";
    } else if (partition.draining_bytes > 0) {
      out += styled(screen, Style::kYellow,
                    fmt::format("  State: over its limit by {} MB, no new allocations ({})",
                                legacy_megabytes(partition.draining_bytes), holders(partition))) +
             "\n";
    }
  }
  return out;
}

std::string list_table(const std::vector<PartitionInfo>& partitions, const Screen& screen) {
  if (partitions.empty()) return "No active partitions\n";
  using Align = Table::Align;
  UserNames users;
  Table table({{"PARTITION", Align::kLeft, 12},
               {"DEVICE", Align::kLeft, 8},
               {"SHARE", Align::kRight},
               {"USED", Align::kRight},
               {"LIMIT", Align::kRight},
               {"USE", Align::kLeft},
               {"LEFT", Align::kRight},
               {"OWNER", Align::kLeft, 8},
               {"PROCESSES", Align::kRight}});
  constexpr std::uint64_t kSoon = 300 * kNanosPerSecond;
  for (const PartitionInfo& partition : partitions) {
    bool draining = partition.state == PartitionState::kDraining;
    bool nearly_full = partition.used_bytes > partition.limit_bytes / 10 * 9;
    Style left = draining || partition.remaining_ns < kSoon ? Style::kYellow : Style::kPlain;
    table.add({{printable(partition.id), Style::kBold},
               {fmt::format("{} {}", partition.device_index, printable(partition.device_name))},
               {format_percent(partition.fraction) + "%"},
               {format_bytes(partition.used_bytes)},
               {format_bytes(partition.limit_bytes)},
               {bar(screen, partition.used_bytes, partition.limit_bytes, kBarCells),
                nearly_full ? Style::kRed : Style::kGreen},
               {draining ? "draining" : format_duration(partition.remaining_ns), left},
               {printable(users.of(partition.owner))},
               {fmt::format("{}", partition.processes.size())}});
  }
  if (screen.width < kWideEnoughForBars) table.hide("USE");
  return table.render(screen);
}

int list_verb(const Invocation& invocation) {
  Arguments arguments("list", "[options]", "Show the partitions of all users.");
  arguments.add_json();
  arguments.add_examples(
      "A partition that has ended is shown as draining while its programs still hold memory; one\n"
      "whose limit was lowered below their use is over its limit until they have freed enough.");
  if (auto status = arguments.parse(invocation.arguments)) return *status;

  Result<Registry> registry = Registry::open();
  if (!registry) return report(registry.error());
  Result<std::vector<PartitionInfo>> partitions = registry->list();
  if (!partitions) return report(partitions.error());
  print_warnings(*registry);
  use_current_numbers(*registry, *partitions);
  // Scripts take the first id for one that can be used.
  std::stable_partition(partitions->begin(), partitions->end(), [](const PartitionInfo& one) {
    return one.state == PartitionState::kActive;
  });

  if (arguments.json()) {
    Json json = json_answer();
    json["partitions"] = Json::array();
    UserNames users;
    for (const PartitionInfo& partition : *partitions) {
      json["partitions"].push_back(partition_json(partition, users));
    }
    return print(to_text(json));
  }
  Screen screen = arguments.screen();
  return print(screen.terminal ? list_table(*partitions, screen) : list_text(*partitions, screen));
}

}  // namespace chronos::cli
