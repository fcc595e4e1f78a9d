#include "cli/stats.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "cli/arguments.hpp"
#include "cli/devices.hpp"
#include "cli/table.hpp"
#include "cli/verbs.hpp"
#include "core/facts/health.hpp"
#include "core/facts/holders.hpp"
#include "core/inventory.hpp"
#include "core/report.hpp"
#include "core/units.hpp"

namespace chronos::cli {
namespace {

std::string known(const std::string& text) { return text.empty() ? "unknown" : printable(text); }

std::string holders_text(const Device& device, const GpuFacts& gpu,
                         const std::vector<Holder>& holders) {
  std::string text = fmt::format("\nDevice {}: who holds memory", device.index);
  if (gpu.used_bytes) {
    text += fmt::format(" ({} of {} in use, says {})", format_bytes(*gpu.used_bytes),
                        format_bytes(gpu.total_bytes.value_or(device.total_bytes)), gpu.source);
  }
  text += '\n';
  for (const Holder& holder : holders) {
    text += fmt::format(
        "  PID {} ({}) of {}: {}{}\n", holder.pid, known(holder.command), known(holder.user),
        holder.used_bytes ? format_bytes(*holder.used_bytes) + ", " : std::string(),
        holder.partition_id.empty()
            ? "in no partition"
            : fmt::format("{} in partition {}", format_bytes(holder.charged_bytes.value_or(0)),
                          printable(holder.partition_id)));
  }
  if (holders.empty()) text += "  nobody that is known\n";
  if (!gpu.processes) {
    text += "  Programs outside of partitions are not known: neither NVML nor the kernel says.\n";
  } else if (!gpu.all_processes) {
    text += "  Other users' programs are hidden from you, but for those in partitions.\n";
  }
  return text;
}

}  // namespace

std::string stats_text(const std::vector<DeviceStanding>& devices, const Screen& screen) {
  return chronos::stats_text(
      devices, [&](std::string_view name) { return styled(screen, Style::kBold, printable(name)); },
      printable);
}

std::string stats_table(const std::vector<DeviceStanding>& devices, const Screen& screen) {
  using Align = Table::Align;
  Table table({{"DEVICE", Align::kRight},
               {"NAME", Align::kLeft, 10},
               {"TYPE", Align::kLeft},
               {"TOTAL", Align::kRight},
               {"USED", Align::kRight},
               {"USE", Align::kLeft},
               {"RESERVED", Align::kRight},
               {"DRAINING", Align::kRight},
               {"AVAILABLE", Align::kRight},
               {"PARTITIONS", Align::kRight}});
  for (const auto& [device, use] : devices) {
    bool nearly_full = use.used_bytes > device.total_bytes / 10 * 9;
    table.add({{fmt::format("{}", device.index), Style::kBold},
               {known(device.name), Style::kBold},
               {to_string(device.type)},
               {format_bytes(device.total_bytes)},
               {format_bytes(use.used_bytes)},
               {bar(screen, use.used_bytes, device.total_bytes, kBarCells),
                nearly_full ? Style::kRed : Style::kGreen},
               {format_bytes(use.reserved_bytes)},
               {format_bytes(use.draining_bytes),
                use.draining_bytes > 0 ? Style::kYellow : Style::kPlain},
               {format_bytes(use.available_bytes)},
               {fmt::format("{}", use.active_partitions)}});
  }
  bool any_draining = std::any_of(devices.begin(), devices.end(), [](const DeviceStanding& one) {
    return one.use.draining_bytes > 0;
  });
  if (!any_draining) table.hide("DRAINING");
  if (screen.width < kWideEnoughForBars) table.hide("USE");
  return table.render(screen);
}

int stats_verb(const Invocation& invocation) {
  bool refresh = false, processes = false;
  Arguments arguments("stats", "[options]",
                      "Show every OpenCL device and how much of it is in use.");
  arguments.app().add_flag("--refresh", refresh,
                           "Ask the drivers again instead of using what is remembered");
  arguments.app().add_flag("--processes", processes,
                           "Also what the GPUs say of themselves, and who holds their memory");
  arguments.add_json();
  arguments.add_examples(
      "Used is what programs in partitions hold; Available is what a new partition can get.");
  if (auto status = arguments.parse(invocation.arguments)) return *status;

  Result<Registry> registry = Registry::open();
  if (!registry) return report(registry.error());
  Result<Inventory> inventory =
      load_inventory(registry->state(), refresh ? Look::kAgain : Look::kRemembered);
  if (!inventory) return report(inventory.error());
  Result<std::vector<PartitionInfo>> partitions = registry->list();
  if (!partitions) return report(partitions.error());
  print_warning_lines(inventory->warnings);
  print_warnings(*registry);

  std::vector<DeviceStanding> devices;
  for (const Device& device : inventory->devices) {
    devices.push_back({device, Registry::use_of(device, *partitions)});
  }
  GpuReport gpus;
  if (processes) gpus = look_at_gpus(inventory->devices);
  print_warning_lines(gpus.warnings);
  Json json = json_answer();
  json["devices"] = Json::array();
  std::string holders;
  for (std::size_t i = 0; i < devices.size(); ++i) {
    const Device& device = devices[i].device;
    Json one = device_json(device, devices[i].use);
    if (processes) {
      const GpuFacts& gpu = gpus.of_device[i];
      const std::vector<Holder> all = holders_of(device, gpu, *partitions);
      one["facts"] = facts_json(device, gpu);
      one["processes"] = Json::array();
      for (const Holder& holder : all) one["processes"].push_back(holder_json(holder));
      holders += holders_text(device, gpu, all);
    }
    json["devices"].push_back(std::move(one));
  }
  if (arguments.json()) return print(to_text(json));
  Screen screen = arguments.screen();
  return print((screen.terminal ? stats_table(devices, screen) : stats_text(devices, screen)) +
               holders);
}

}  // namespace chronos::cli
