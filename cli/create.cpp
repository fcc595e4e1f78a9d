#include <fmt/format.h>

#include "cli/arguments.hpp"
#include "cli/devices.hpp"
#include "cli/verbs.hpp"
#include "core/report.hpp"
#include "core/units.hpp"
#include "core/users.hpp"

namespace chronos::cli {
namespace {

struct CreateArguments {
  std::string device, memory, duration, user, name;
  bool user_given = false, name_given = false;
};

// Everything that can be judged without looking at devices is judged first.
Result<PartitionInfo> create(const CreateArguments& given) {
  Result<int> number = parse_device(given.device);
  if (!number) return pass_on(number);
  Result<MemoryAmount> memory = parse_memory(given.memory);
  if (!memory) return pass_on(memory);
  Result<std::uint64_t> duration = parse_duration(given.duration);
  if (!duration) return pass_on(duration);

  CreateRequest request;
  request.memory = *memory;
  request.duration_ns = *duration;
  if (given.name_given) {
    Result<void> checked = check_name(given.name);
    if (!checked) return pass_on(checked);
    request.name = given.name;
  }
  if (given.user_given) {
    Result<uid_t> owner = find_user(given.user);
    if (!owner) return pass_on(owner);
    request.owner = *owner;
  }

  Result<Registry> registry = Registry::open();
  if (!registry) return pass_on(registry);
  Result<Device> device = device_by_number(*registry, *number);
  if (!device) return pass_on(device);
  request.device = *device;
  return registry->create(request);
}

std::string created_text(const PartitionInfo& partition) {
  return fmt::format(
      "Created partition {} on device {} ({})\n"
      "with {} MB for {} seconds\n"
      "Assigned to user: {} (Created by: {}, PID: {})\n",
      printable(partition.id), partition.device_index, printable(partition.device_name),
      legacy_megabytes(partition.limit_bytes), legacy_seconds(partition.duration_ns),
      printable(user_name(partition.owner)), printable(user_name(partition.creator)),
      partition.pid);
}

}  // namespace

int create_verb(const Invocation& invocation) {
  CreateArguments given;
  Arguments arguments("create", "[options] <device> <memory> <duration>",
                      "Reserve memory of a device for a time.");
  CLI::App& app = arguments.app();
  app.add_option("device", given.device, "Number of the device (see `chronos stats`)")->required();
  app.add_option("memory", given.memory, "Share (0.5, 50%) or size (4GiB, 512M, 2GB)")->required();
  app.add_option("duration", given.duration, "Seconds (3600), or 90s, 1h30m, 8h, 2d")->required();
  CLI::Option* user =
      app.add_option("--user", given.user, "Whose partition it is; only root can name another")
          ->type_name("USER");
  CLI::Option* name =
      app.add_option("--name", given.name, "A name instead of partition_N")->type_name("ID");
  arguments.add_json();
  arguments.add_examples(
      "Examples:\n"
      "  chronos create 0 0.5 3600              half of device 0 for an hour\n"
      "  chronos create 0 4GiB 8h --name train  four GiB for eight hours, known as `train`\n"
      "  sudo chronos create 0 0.3 8h --user alice\n"
      "\n"
      "Exit status: 0 created, 1 failed, 2 bad usage, 3 not enough memory is free.");
  if (auto status = arguments.parse(invocation.arguments)) return *status;
  given.user_given = user->count() > 0;
  given.name_given = name->count() > 0;

  Result<PartitionInfo> partition = create(given);
  if (!partition) return report(partition.error());

  std::string text;
  if (arguments.json()) {
    Json json = json_answer();
    json.update(partition_json(*partition));
    text = to_text(json);
  } else {
    text = created_text(*partition);
  }
  Result<void> written = write_stdout(text);
  if (written) return kDone;
  written.error().hint = "partition " + partition->id + " has been created all the same";
  return report(written.error());
}

}  // namespace chronos::cli
