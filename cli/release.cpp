#include <fmt/format.h>
#include <unistd.h>

#include "cli/arguments.hpp"
#include "cli/holders.hpp"
#include "cli/verbs.hpp"
#include "core/report.hpp"
#include "core/units.hpp"
#include "core/users.hpp"

namespace chronos::cli {
namespace {

struct ReleaseArguments {
  std::string id, user, grace = "10s";
  bool id_given = false, user_given = false, all = false, force = false;
};

struct Released {
  PartitionInfo partition;
  std::vector<ProcessUse> left;  // with --force: who holds memory still
};

bool may_end(const PartitionInfo& partition) {
  return partition.is_mine || partition.may_write;
}

// What --user and --all mean. Draining partitions are only of interest to --force.
Result<std::vector<PartitionInfo>> choose(Registry& registry, const ReleaseArguments& given) {
  std::optional<uid_t> owner;
  if (given.user_given) {
    Result<uid_t> user = find_user(given.user);
    if (!user) return pass_on(user);
    if (*user != ::geteuid() && ::geteuid() != 0) {
      return fail(
          ErrorCode::kPermission,
          "Permission denied: only administrators can release the partitions of other users",
          "use sudo");
    }
    owner = *user;
  }
  Result<std::vector<PartitionInfo>> partitions = registry.list();
  if (!partitions) return pass_on(partitions);
  std::erase_if(*partitions, [&](const PartitionInfo& partition) {
    return (owner && partition.owner != *owner) || !may_end(partition) ||
           (partition.state == PartitionState::kDraining && !given.force);
  });
  return partitions;
}

// By its id, name or handle. With --force also one that has ended and is held by programs.
Result<PartitionInfo> release_one(Registry& registry, const std::string& id, bool force) {
  Result<PartitionInfo> released = registry.release(id);
  if (released || !force || released.error().code != ErrorCode::kNotFound) return released;
  Result<PartitionInfo> draining = registry.find(id);
  if (!draining) return released;
  if (!may_end(*draining)) {
    return fail(ErrorCode::kPermission,
                "Permission denied: partition owned by " + user_name(draining->owner));
  }
  return draining;
}

Result<Released> end_one(Registry& registry, const std::string& id, const ReleaseArguments& given,
                         std::uint64_t grace_ns) {
  Result<PartitionInfo> partition = release_one(registry, id, given.force);
  if (!partition) return pass_on(partition);
  Released released{std::move(*partition), {}};
  if (given.force && released.partition.used_bytes > 0) {
    auto left = end_holders(registry, released.partition.handle(), grace_ns);
    if (!left) return pass_on(left);
    released.left = std::move(*left);
    released.partition.used_bytes = 0;
    for (const ProcessUse& process : released.left) {
      released.partition.used_bytes += process.used_bytes;
    }
    released.partition.processes = released.left;
  }
  return released;
}

void report_those_left(const Released& released) {
  for (const ProcessUse& process : released.left) {
    print_error_line(fmt::format("Process {} still holds {} of partition {} ({})", process.pid,
                                 format_bytes(process.used_bytes), printable(released.partition.id),
                                 process.is_here ? "it could not be ended"
                                                 : "it is in another pid namespace: end it there"));
  }
}

std::string answer(const std::vector<Released>& ended, const ReleaseArguments& given, bool json) {
  if (json) {
    Json out = json_answer();
    Json all = Json::array();
    for (const Released& released : ended) {
      Json one = partition_json(released.partition);
      one["state"] = released.partition.used_bytes > 0 ? "draining" : "released";
      all.push_back(std::move(one));
    }
    if (given.id_given) {
      out.update(all.front());
    } else {
      out["released"] = std::move(all);
    }
    return to_text(out);
  }
  if (ended.empty()) return "No active partitions\n";
  std::string text;
  for (const Released& released : ended) {
    text += fmt::format("Partition {} released\n", printable(released.partition.id));
  }
  return text;
}

int release(const ReleaseArguments& given, bool json) {
  Result<std::uint64_t> grace = parse_wait(given.grace);
  if (!grace) return report(grace.error());
  Result<Registry> registry = Registry::open();
  if (!registry) return report(registry.error());
  std::vector<std::string> ids = {given.id};
  if (!given.id_given) {
    Result<std::vector<PartitionInfo>> chosen = choose(*registry, given);
    if (!chosen) return report(chosen.error());
    ids.clear();
    for (const PartitionInfo& partition : *chosen) ids.push_back(partition.handle());
  }

  int status = kDone;
  std::vector<Released> ended;
  for (const std::string& id : ids) {
    Result<Released> released = end_one(*registry, id, given, *grace);
    if (released) {
      report_those_left(*released);
      if (!released->left.empty()) status = kFailed;
      ended.push_back(std::move(*released));
    } else if (given.id_given || released.error().code != ErrorCode::kNotFound) {
      status = report(released.error());  // of many, one that is gone has ended by itself
    }
  }
  if (given.id_given && ended.empty()) return status;
  int printed = print(answer(ended, given, json));
  return printed != kDone ? printed : status;
}

}  // namespace

int release_verb(const Invocation& invocation) {
  ReleaseArguments given;
  Arguments arguments("release", "[options] <id> | --user U | --all",
                      "End partitions before their time is up.");
  CLI::App& app = arguments.app();
  CLI::Option* id = app.add_option("id", given.id, "Name or id, as `chronos list` shows it");
  CLI::Option* user =
      app.add_option("--user", given.user, "All partitions of this user")->type_name("U");
  CLI::Option* all =
      app.add_flag("--all", given.all, "All of your own partitions; as root, everybody's");
  CLI::Option* force = app.add_flag(
      "--force", given.force,
      "End the programs that hold memory, too: SIGTERM,\nand SIGKILL after the grace time");
  app.add_option("--grace", given.grace, "Time between SIGTERM and SIGKILL (10s)")
      ->type_name("T")
      ->needs(force);
  id->excludes(user)->excludes(all);
  user->excludes(all);
  arguments.add_json();
  arguments.add_examples(
      "Running programs keep the memory that they hold and get no more; until they free it, it\n"
      "counts against the device and `chronos list` shows the partition as draining.");
  if (auto status = arguments.parse(invocation.arguments)) return *status;
  given.id_given = id->count() > 0;
  given.user_given = user->count() > 0;
  if (!given.id_given && !given.user_given && !given.all) {
    return report({ErrorCode::kInvalid, "which partition? Name one, or say --user or --all",
                   help_hint("release")});
  }
  return release(given, arguments.json());
}

}  // namespace chronos::cli
