#include <fmt/format.h>

#include "cli/arguments.hpp"
#include "cli/verbs.hpp"
#include "core/report.hpp"
#include "core/units.hpp"

namespace chronos::cli {

int release_verb(const Invocation& invocation) {
  std::string id;
  Arguments arguments("release", "[options] <id>", "End a partition before its time is up.");
  arguments.app().add_option("id", id, "Name or id, as `chronos list` shows it")->required();
  arguments.add_json();
  arguments.add_examples(
      "Running programs keep the memory that they hold and get no more; until they free it, it\n"
      "counts against the device and `chronos list` shows the partition as draining.");
  if (auto status = arguments.parse(invocation.arguments)) return *status;

  Result<Registry> registry = Registry::open();
  if (!registry) return report(registry.error());
  Result<PartitionInfo> partition = registry->release(id);
  if (!partition) return report(partition.error());

  if (arguments.json()) {
    Json json = json_answer();
    json.update(partition_json(*partition));
    json["state"] = partition->used_bytes > 0 ? "draining" : "released";
    return print(to_text(json));
  }
  return print(fmt::format("Partition {} released\n", printable(partition->id)));
}

}  // namespace chronos::cli
