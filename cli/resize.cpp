#include <fmt/format.h>

#include "cli/arguments.hpp"
#include "cli/devices.hpp"
#include "cli/verbs.hpp"
#include "core/report.hpp"
#include "core/units.hpp"

namespace chronos::cli {
namespace {

struct ResizeArguments {
  std::string id, memory;
  bool drain = false;
};

Result<PartitionInfo> resize(const ResizeArguments& given) {
  Result<MemoryAmount> memory = parse_memory(given.memory);
  if (!memory) return pass_on(memory);
  Result<Registry> registry = Registry::open();
  if (!registry) return pass_on(registry);
  Result<PartitionInfo> partition = registry->resize(given.id, *memory, given.drain);
  if (!partition) return partition;
  std::vector<PartitionInfo> shown{std::move(*partition)};
  use_current_numbers(*registry, shown);
  return std::move(shown.front());
}

std::string resized_text(const PartitionInfo& partition) {
  std::string text = fmt::format("Partition {} resized\nto {} MB on device {} ({})\n",
                                 printable(partition.id), legacy_megabytes(partition.limit_bytes),
                                 partition.device_index, printable(partition.device_name));
  if (partition.draining_bytes > 0) {
    text += fmt::format("Its programs hold {} MB: no new allocations until they hold less\n",
                        legacy_megabytes(partition.used_bytes));
  }
  return text;
}

}  // namespace

int resize_verb(const Invocation& invocation) {
  ResizeArguments given;
  Arguments arguments("resize", "[options] <id> <memory>", "Change the limit of a partition.");
  CLI::App& app = arguments.app();
  app.add_option("id", given.id, "Name or id, as `chronos list` shows it")->required();
  app.add_option("memory", given.memory, "Share (0.5, 50%) or size (4GiB, 512M, 2GB)")->required();
  app.add_flag("--drain", given.drain,
               "Also below what its programs hold: they get no more until they\n"
               "hold less, and what they hold counts against the device");
  arguments.add_json();
  arguments.add_examples(
      "Examples:\n"
      "  chronos resize train 2GiB          refused if its programs hold more than that\n"
      "  chronos resize train 10% --drain   nothing new until they are below\n"
      "\n"
      "Running programs see the new limit at their next allocation. Only who created a partition,\n"
      "or root, can resize it.\n"
      "\n"
      "Exit status: 0 resized, 1 failed, 2 bad usage, 3 not enough memory is free.");
  if (auto status = arguments.parse(invocation.arguments)) return *status;

  Result<PartitionInfo> partition = resize(given);
  if (!partition) return report(partition.error());
  if (arguments.json()) {
    Json json = json_answer();
    json.update(partition_json(*partition));
    return print(to_text(json));
  }
  return print(resized_text(*partition));
}

}  // namespace chronos::cli
