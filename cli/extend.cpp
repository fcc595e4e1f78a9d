#include <fmt/format.h>

#include "cli/arguments.hpp"
#include "cli/verbs.hpp"
#include "core/report.hpp"
#include "core/units.hpp"

namespace chronos::cli {
namespace {

Result<PartitionInfo> extend(const std::string& id, const std::string& duration) {
  Result<std::uint64_t> nanos = parse_duration(duration);
  if (!nanos) return pass_on(nanos);
  Result<Registry> registry = Registry::open();
  if (!registry) return pass_on(registry);
  return registry->extend(id, *nanos);
}

}  // namespace

int extend_verb(const Invocation& invocation) {
  std::string id, duration;
  Arguments arguments("extend", "[options] <id> <duration>",
                      "Move the end of a partition further away.");
  CLI::App& app = arguments.app();
  app.add_option("id", id, "Name or id, as `chronos list` shows it")->required();
  app.add_option("duration", duration, "How much longer: seconds (3600), or 90s, 1h30m, 8h, 2d")
      ->required();
  arguments.add_json();
  arguments.add_examples(
      "Programs that run in it go on, those under `chronos run` too. Only who created a "
      "partition,\n"
      "or root, can extend it; what has ended cannot be extended.\n"
      "\n"
      "Exit status: 0 extended, 1 failed, 2 bad usage.");
  if (auto status = arguments.parse(invocation.arguments)) return *status;

  Result<PartitionInfo> partition = extend(id, duration);
  if (!partition) return report(partition.error());
  if (arguments.json()) {
    Json json = json_answer();
    json.update(partition_json(*partition));
    return print(to_text(json));
  }
  return print(fmt::format("Partition {} extended\nto {} seconds, {} seconds remaining\n",
                           printable(partition->id), legacy_seconds(partition->duration_ns),
                           partition->remaining_ns / kNanosPerSecond));
}

}  // namespace chronos::cli
