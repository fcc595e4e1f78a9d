#include "core/policy.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "cli/arguments.hpp"
#include "cli/verbs.hpp"
#include "core/report.hpp"
#include "core/units.hpp"
#include "core/users.hpp"

namespace chronos::cli {
namespace {

// The root policy and, for the caller, their own file.
UserPolicy policy_for(const Policy& policy, uid_t user) {
  return user == ::geteuid() ? policy.for_caller() : policy.for_user(user);
}

std::string memory_text(const UserLimits& limits) {
  std::string text;
  for (const auto& one : limits.memory) {
    if (!text.empty()) text += " or ";
    text += one.value.bytes > 0 ? format_bytes(one.value.bytes)
                                : format_percent(one.value.fraction) + "%";
    text += " (" + printable(one.where) + ")";
  }
  return limits.memory.size() > 1 ? text + ", whichever is more" : text;
}

std::string policy_text(const Policy& policy, uid_t user) {
  const UserPolicy rules = policy_for(policy, user);
  std::string out = fmt::format("Policy for {}:\n", printable(user_name(user)));
  auto add = [&](std::string_view what, const std::string& value, const std::string& where) {
    out += fmt::format("  {}: {}{}\n", what, value,
                       where.empty() ? std::string() : " (" + printable(where) + ")");
  };
  for (const UserLimits& limits : rules.limits) {
    if (!limits.memory.empty()) add("Memory of a device", "at most " + memory_text(limits), "");
    if (limits.partitions) {
      add("Partitions", fmt::format("at most {}", limits.partitions->value),
          limits.partitions->where);
    }
    if (limits.duration_ns) {
      add("Duration", "at most " + format_duration(limits.duration_ns->value),
          limits.duration_ns->where);
    }
  }
  if (rules.limits.empty()) out += "  No limits\n";
  for (const Policy::DeviceStanding& device : policy.devices_for(user)) {
    if (device.allowed) continue;
    add("Device " + printable(device.selector), device.closed ? "closed" : "reserved for others",
        device.where);
  }
  add("Devices without a partition",
      rules.unassigned.value == Unassigned::kDeny ? "denied" : "allowed", rules.unassigned.where);
  const ExpirySettings& expiry = rules.expiry;
  if (expiry.action) add("On expiry", to_string(expiry.action->value), expiry.action->where);
  if (expiry.warn_before_ns) {
    std::string times;
    for (std::uint64_t before : expiry.warn_before_ns->value) {
      times += (times.empty() ? "" : ", ") + format_duration(before);
    }
    add("Warning", times.empty() ? "none" : times + " before", expiry.warn_before_ns->where);
  }
  if (expiry.terminate_after_ns) {
    add("SIGTERM", format_duration(expiry.terminate_after_ns->value) + " after the end",
        expiry.terminate_after_ns->where);
  }
  if (expiry.grace_ns) {
    add("Grace", format_duration(expiry.grace_ns->value), expiry.grace_ns->where);
  }
  return out;
}

Json seconds_or_null(const std::optional<Setting<std::uint64_t>>& nanos) {
  return nanos ? Json(nanos->value / kNanosPerSecond) : Json(nullptr);
}

Json policy_json(const Policy& policy, uid_t user) {
  const UserPolicy rules = policy_for(policy, user);
  Json json = json_answer();
  json["user"] = user_name(user);
  json["limits"] = Json::array();
  for (const UserLimits& limits : rules.limits) {
    double fraction = 0;
    std::uint64_t bytes = 0;
    for (const auto& one : limits.memory) {
      bytes = std::max(bytes, one.value.bytes);
      if (one.value.bytes == 0) fraction = std::max(fraction, one.value.fraction);
    }
    Json entry;
    entry["memory_fraction"] = fraction > 0 ? Json(fraction) : Json(nullptr);
    entry["memory_bytes"] = bytes > 0 ? Json(bytes) : Json(nullptr);
    entry["partitions"] = limits.partitions ? Json(limits.partitions->value) : Json(nullptr);
    entry["duration_seconds"] = seconds_or_null(limits.duration_ns);
    json["limits"].push_back(std::move(entry));
  }
  json["devices"] = Json::array();
  for (const Policy::DeviceStanding& device : policy.devices_for(user)) {
    Json entry;
    entry["device"] = device.selector;
    entry["closed"] = device.closed;
    entry["reserved"] = device.reserved;
    entry["allowed"] = device.allowed;
    json["devices"].push_back(std::move(entry));
  }
  json["unassigned"] = to_string(rules.unassigned.value);
  const ExpirySettings& expiry = rules.expiry;
  json["expiry"]["on_expiry"] = expiry.action ? Json(to_string(expiry.action->value)) : Json();
  json["expiry"]["warn_before_seconds"] = nullptr;
  if (expiry.warn_before_ns) {
    json["expiry"]["warn_before_seconds"] = Json::array();
    for (std::uint64_t before : expiry.warn_before_ns->value) {
      json["expiry"]["warn_before_seconds"].push_back(before / kNanosPerSecond);
    }
  }
  json["expiry"]["terminate_after_seconds"] = seconds_or_null(expiry.terminate_after_ns);
  json["expiry"]["grace_seconds"] = seconds_or_null(expiry.grace_ns);
  return json;
}

int check(const std::string& file, bool file_given) {
  const Policy policy = file_given ? try_policy(file) : Policy::load();
  for (const PolicyProblem& problem : policy.problems()) {
    for (const Mistake& mistake : problem.mistakes) {
      // The hint of a mistake with a line is to run this very command.
      const bool whole = mistake.line == 0 && !problem.hint.empty();
      print_error_line(problem.line(mistake) + (whole ? " (" + problem.hint + ")" : ""));
    }
  }
  if (policy.problem() != nullptr) return kFailed;
  print_warning_lines(policy.unknown_names());
  return print(policy_text(policy, ::geteuid()));
}

int show(const std::string& name, bool user_given, bool json) {
  uid_t user = ::geteuid();
  if (user_given) {
    Result<uid_t> found = find_user(name);
    if (!found) return report(found.error());
    user = *found;
  }
  const Policy policy = Policy::load();
  Result<void> usable = policy.usable();
  if (!usable) return report(usable.error());
  return print(json ? to_text(policy_json(policy, user)) : policy_text(policy, user));
}

}  // namespace

int policy_verb(const Invocation& invocation) {
  std::string action, file, user;
  Arguments arguments("policy", "check [file] | show [--user U]",
                      "Check the policy files, or show what they let a user have.");
  CLI::App& app = arguments.app();
  app.add_option("action", action, "check or show")->required()->check(one_of({"check", "show"}));
  CLI::Option* file_option = app.add_option("file", file, "With check: this file only");
  CLI::Option* user_option =
      app.add_option("--user", user, "With show: another user")->type_name("USER");
  arguments.add_json();
  arguments.add_examples(
      "The policy is in /etc/chronos/config.toml; a file of your own can only narrow it\n"
      "(CHRONOS_CONFIG, or chronos/config.toml in $XDG_CONFIG_HOME or ~/.config).\n"
      "\n"
      "Exit status: 0 no mistakes, 1 mistakes (each is printed with its line), 2 bad usage.");
  if (auto status = arguments.parse(invocation.arguments)) return *status;
  const bool checks = action == "check";
  if (checks ? user_option->count() > 0 || arguments.json() : file_option->count() > 0) {
    return report({ErrorCode::kInvalid,
                   checks ? "--user and --json go with show" : "a file goes with check",
                   help_hint("policy")});
  }
  return checks ? check(file, file_option->count() > 0)
                : show(user, user_option->count() > 0, arguments.json());
}

}  // namespace chronos::cli
