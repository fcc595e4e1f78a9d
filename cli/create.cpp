#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "cli/arguments.hpp"
#include "cli/devices.hpp"
#include "cli/verbs.hpp"
#include "cli/waiting.hpp"
#include "core/doctor/facts.hpp"
#include "core/report.hpp"
#include "core/units.hpp"
#include "core/users.hpp"

namespace chronos::cli {
namespace {

struct CreateArguments {
  std::string device, memory, duration, user, name, timeout;
  bool user_given = false, name_given = false, wait = false;
};

// `--wait` may stand alone or be followed by a time: without this, in `create --wait 0 0.5 1h` the
// device would be taken for one.
std::vector<std::string> settle_wait(std::vector<std::string> arguments) {
  auto wait = std::find(arguments.begin(), arguments.end(), "--wait");
  if (wait == arguments.end()) return arguments;
  std::size_t words = 0;
  for (std::size_t at = 0; at < arguments.size(); ++at) {
    const std::string& word = arguments[at];
    if (word == "--user" || word == "--name" || word == "--color") ++at;
    if (word.empty() || word[0] != '-') ++words;
  }
  auto next = wait + 1;
  const bool timed = words > 3 && next != arguments.end() && (next->empty() || (*next)[0] != '-');
  *wait += "=" + (timed ? *next : std::string("forever"));
  if (timed) arguments.erase(next);
  return arguments;
}

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

  Patience patience;
  if (given.wait) {
    Result<Patience> parsed = parse_patience(given.timeout);
    if (!parsed) return pass_on(parsed);
    patience = *parsed;
  }

  Result<Registry> registry = Registry::open();
  if (!registry) return pass_on(registry);
  Result<Device> device = device_by_number(*registry, *number);
  if (!device) return pass_on(device);
  request.device = *device;
  auto made = given.wait ? create_in_line(*registry, request, patience) : registry->create(request);
  if (made && registry->made_users_first() && doctor::files_go_at_logout(registry->state())) {
    print_warning_line(
        "logind removes your files in /dev/shm, and so your partitions, when you log out (`sudo "
        "chronos setup` mends that)");
  }
  return made;
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
  CLI::Option* wait =
      app.add_option("--wait", given.timeout, "Wait in line for the memory, at most so long")
          ->type_name("[T]");
  arguments.add_json();
  arguments.add_examples(
      "Examples:\n"
      "  chronos create 0 0.5 3600              half of device 0 for an hour\n"
      "  chronos create 0 4GiB 8h --name train  four GiB for eight hours, known as `train`\n"
      "  chronos create 0 0.5 1h --wait 30m     wait in line, first come first served\n"
      "  sudo chronos create 0 0.3 8h --user alice\n"
      "\n"
      "Exit status: 0 created, 1 failed, 2 bad usage, 3 not enough memory is free.");
  if (auto status = arguments.parse(settle_wait(invocation.arguments))) return *status;
  given.user_given = user->count() > 0;
  given.name_given = name->count() > 0;
  given.wait = wait->count() > 0;

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
