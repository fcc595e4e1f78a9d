// `chronos acquire`: whole devices for one program.
#include "core/acquire.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <utility>

#include "cli/arguments.hpp"
#include "cli/devices.hpp"
#include "cli/ending_signals.hpp"
#include "cli/run.hpp"
#include "cli/verbs.hpp"
#include "cli/waiting.hpp"
#include "core/inventory.hpp"
#include "core/report.hpp"
#include "core/text.hpp"
#include "core/units.hpp"
#include "core/users.hpp"

namespace chronos::cli {
namespace {

struct AcquireArguments {
  std::string gpus = "1", min_free, max_power, max_utilization, wait, only, ban, name;
  std::string duration = "1d", look_every = "10s";
  bool debug = false, wait_given = false;
};

std::vector<std::string> words_of(const std::string& list) {
  std::vector<std::string> words;
  for (std::size_t at = 0; at <= list.size();) {
    const std::size_t end = std::min(list.find(',', at), list.size());
    words.push_back(list.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

// "80W", "1%" or the bare number.
Result<double> parse_amount(const std::string& option, std::string text, char unit, double most) {
  const std::string given = text;
  if (!text.empty() && text.back() == unit) text.pop_back();
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc{} && end == text.data() + text.size() && std::isfinite(value) &&
      value >= 0 && value <= most) {
    return value;
  }
  return fail(ErrorCode::kInvalid,
              fmt::format("invalid {} {}: it is not a number such as 50{}", option,
                          chronos::quoted(given), unit),
              help_hint("acquire"));
}

Result<HealthConditions> parse_conditions(const AcquireArguments& given) {
  HealthConditions conditions;
  if (!given.min_free.empty()) {
    Result<MemoryAmount> free = parse_memory(given.min_free);
    if (free && free->bytes == 0) {
      return fail(ErrorCode::kInvalid,
                  fmt::format("invalid --min-free {}: it is not a size such as 20GiB",
                              chronos::quoted(given.min_free)),
                  help_hint("acquire"));
    }
    if (!free) return pass_on(free);
    conditions.min_free_bytes = free->bytes;
  }
  if (!given.max_power.empty()) {
    Result<double> watts = parse_amount("--max-power", given.max_power, 'W', 1e6);
    if (!watts) return pass_on(watts);
    conditions.max_power_watts = *watts;
  }
  if (!given.max_utilization.empty()) {
    Result<double> percent = parse_amount("--max-utilization", given.max_utilization, '%', 100);
    if (!percent) return pass_on(percent);
    conditions.max_utilization_percent = *percent;
  }
  return given.debug ? HealthConditions() : conditions;
}

// By number or by name, as `--ban` names devices.
bool is_banned(const Device& device, const std::vector<std::string>& banned) {
  return std::any_of(banned.begin(), banned.end(), [&](const std::string& word) {
    return word == device.name || word == fmt::format("{}", device.index);
  });
}

Result<std::vector<Device>> candidates(const Inventory& inventory, const AcquireArguments& given) {
  std::vector<Device> devices;
  if (given.only.empty()) {
    std::copy_if(inventory.devices.begin(), inventory.devices.end(), std::back_inserter(devices),
                 [](const Device& device) { return device.type == DeviceType::kGpu; });
  } else {
    for (const std::string& word : words_of(given.only)) {
      Result<int> number = parse_device(word);
      if (!number) return pass_on(number);
      Result<Device> device = find_device(inventory, *number);
      if (!device) {
        device.error().code = ErrorCode::kInvalid;
        return pass_on(device);
      }
      const bool twice = std::any_of(devices.begin(), devices.end(),
                                     [&](const Device& one) { return one.key == device->key; });
      if (!twice) devices.push_back(std::move(*device));
    }
  }
  if (!given.ban.empty()) {
    const std::vector<std::string> banned = words_of(given.ban);
    std::erase_if(devices, [&](const Device& device) { return is_banned(device, banned); });
  }
  return devices;
}

struct Plan {
  AcquireRequest request;
  std::optional<WaitOptions> wait;
};

// Everything that can be judged without looking at devices is judged first.
Result<Plan> parse(const AcquireArguments& given) {
  Plan plan;
  Result<int> count = parse_device(given.gpus);
  if (!count || *count < 1) {
    return fail(
        ErrorCode::kInvalid,
        fmt::format("invalid --gpus {}: it is not a number such as 2", chronos::quoted(given.gpus)),
        help_hint("acquire"));
  }
  plan.request.count = static_cast<std::size_t>(*count);
  Result<HealthConditions> conditions = parse_conditions(given);
  if (!conditions) return pass_on(conditions);
  plan.request.health = *conditions;
  Result<std::uint64_t> duration = parse_duration(given.duration);
  if (!duration) return pass_on(duration);
  plan.request.duration_ns = *duration;
  Result<std::uint64_t> every = parse_duration(given.look_every);
  if (!every) return pass_on(every);
  plan.request.look_again_ns = std::max<std::uint64_t>(*every, 1'000'000);
  if (!given.name.empty()) {
    Result<void> checked = check_name(given.name);
    if (!checked) return pass_on(checked);
    plan.request.name = given.name;
  }
  plan.request.wait_hint = "--wait waits in line";
  if (given.wait_given) {
    Result<Patience> patience = parse_patience(given.wait);
    if (!patience) return pass_on(patience);
    plan.wait.emplace();
    plan.wait->timeout_ns = *patience;
  }
  return plan;
}

// What is waited for, when that is something else than before: each try begins anew.
class News {
 public:
  void tell(const std::string& line, std::string what) {
    if (what == last_) return;
    last_ = std::move(what);
    print_warning_line(line);
  }

 private:
  std::string last_;
};

// Where nobody waits for room: devices that are free, but not fit.
void say_what_is_not_fit(const std::string& each, News& news) {
  std::string words;  // without the numbers, which are others each time
  std::remove_copy_if(each.begin(), each.end(), std::back_inserter(words),
                      [](char c) { return (c >= '0' && c <= '9') || c == '.'; });
  news.tell(fmt::format("Waiting until devices are fit: {}", printable(each)), words);
}

void say_what_is_waited_for(const AcquireRequest& request, const WaitState& now, News& news) {
  std::string line =
      fmt::format("Waiting for {} of {} device{}", request.count, request.candidates.size(),
                  request.candidates.size() == 1 ? "" : "s");
  if (now.ahead > 0) {
    line += fmt::format(", behind {} other{} in line", now.ahead, now.ahead == 1 ? "" : "s");
  } else if (now.next_to_end) {
    line += fmt::format(
        "; next, {} of {} on device {} ends in {}", printable(now.next_to_end->id),
        printable(user_name(now.next_to_end->owner)), now.next_to_end->device_index,
        format_duration(now.next_to_end->remaining_ns / kNanosPerSecond * kNanosPerSecond));
  }
  news.tell(line, fmt::format("{} {}", now.ahead, now.next_to_end ? now.next_to_end->token : ""));
}

Result<Acquired> acquire_devices(Registry& registry, Plan& plan) {
  if (!plan.wait) return acquire(registry, plan.request, nullptr);
  EndingSignals signals;
  News of_room, of_fitness;
  plan.wait->cancel_fd = signals.fd();
  plan.wait->on_change = [&](const WaitState& now) {
    say_what_is_waited_for(plan.request, now, of_room);
  };
  plan.request.on_unfit = [&](const std::string& each) { say_what_is_not_fit(each, of_fitness); };
  Result<Acquired> acquired = acquire(registry, plan.request, &*plan.wait);
  if (!acquired && acquired.error().code == ErrorCode::kCancelled) signals.deliver();
  return acquired;
}

Json acquired_json(const Acquired& acquired, const std::vector<std::string>& variables) {
  Json json = json_answer();
  json["partitions"] = Json::array();
  for (const PartitionInfo& one : acquired.partitions) {
    json["partitions"].push_back(partition_json(one));
  }
  json["environment"] = Json::object();
  for (const std::string& variable : variables) {
    const std::size_t equals = variable.find('=');
    json["environment"][variable.substr(0, equals)] = variable.substr(equals + 1);
  }
  return json;
}

// The status, or what went wrong before the program was started.
Result<int> run_with(const AcquireArguments& given, RunArguments& run, bool json,
                     const InheritedSignals& signals) {
  if (run.command.empty()) {
    return fail(ErrorCode::kInvalid, "no program to run", help_hint("acquire"));
  }
  Result<Plan> plan = parse(given);
  if (!plan) return pass_on(plan);
  Result<std::string> shim = usable_shim_path();
  if (!shim) return pass_on(shim);
  Result<Registry> registry = Registry::open();
  if (!registry) return pass_on(registry);
  Result<Inventory> inventory = load_inventory(registry->state());
  if (!inventory) return pass_on(inventory);
  Result<std::vector<Device>> devices = candidates(*inventory, given);
  if (!devices) return pass_on(devices);
  if (devices->empty() && given.only.empty() && given.ban.empty()) {
    return fail(ErrorCode::kNoCapacity, "there is no GPU here",
                "`chronos stats` lists the devices there are; --only takes others, too");
  }
  plan->request.candidates = std::move(*devices);
  Result<Acquired> acquired = acquire_devices(*registry, *plan);
  if (!acquired) return pass_on(acquired);
  auto variables = variables_for(*registry, *acquired);
  if (!variables) return pass_on(variables);
  for (const auto& [name, value] : *variables) run.variables.push_back(name + "=" + value);
  run.variables.emplace_back("CHRONOS_DEVICES=partitions");
  run.die_with_us = true;
  if (json) {
    Result<void> written = write_stdout(to_text(acquired_json(*acquired, run.variables)));
    if (!written) return pass_on(written);
  }
  Scope scope;
  scope.partitions = std::move(acquired->partitions);
  Result<int> status = run_in(*registry, std::move(scope), run, signals);
  if (status) return status;
  report(status.error());
  return kRunFailed;
}

}  // namespace

int acquire_verb(const Invocation& invocation) {
  AcquireArguments given;
  RunArguments run;
  Arguments arguments("acquire", "[options] [--] program [arguments]",
                      "Run a program on whole devices that nobody else gets meanwhile.");
  CLI::App& app = arguments.app();
  app.add_option("--gpus", given.gpus, "How many (1)")->type_name("N");
  app.add_option("--only", given.only, "Of these, by number: 0,2,3 (all GPUs)")->type_name("LIST");
  app.add_option("--ban", given.ban, "Not these, by number or name, separated by commas")
      ->type_name("LIST");
  app.add_option("--min-free", given.min_free, "Only with so much memory free (20GiB)")
      ->type_name("M");
  app.add_option("--max-power", given.max_power, "Only if it draws no more (80W)")->type_name("W");
  app.add_option("--max-utilization", given.max_utilization, "Only if it is no busier (1%)")
      ->type_name("P");
  app.add_flag("--debug", given.debug, "Hold them without these checks");
  const CLI::Option* wait =
      app.add_option("--wait", given.wait, "Wait in line, at most so long")->type_name("[T]");
  app.add_option("--look-every", given.look_every,
                 "When to look again at devices that did not pass (10s)")
      ->type_name("T");
  app.add_option("--duration", given.duration, "Hold them for at most so long (1d)")
      ->type_name("T");
  app.add_option("--name", given.name, "The partitions' name")->type_name("ID");
  app.add_option("--on-expiry", run.on_expiry,
                 "When the time is up: refuse new allocations (the default),\n"
                 "terminate, or kill the program and all that it has started")
      ->type_name("ACTION")
      ->check(one_of({"refuse", "terminate", "kill"}));
  arguments.add_json();
  arguments.add_examples(
      "The devices are held first and looked at then; those that do not pass are given back and\n"
      "others tried. What nobody says of a device (`chronos stats --processes --json`) does not\n"
      "pass. The program sees no other OpenCL devices, and CUDA_VISIBLE_DEVICES,\n"
      "ROCR_VISIBLE_DEVICES and ZE_AFFINITY_MASK name those that it has. If this command is "
      "killed,\n"
      "so is the program.\n"
      "\n"
      "Examples:\n"
      "  chronos acquire -- python3 train.py\n"
      "  chronos acquire --gpus 2 --min-free 20GiB --max-utilization 1% --wait 1h -- ./train\n"
      "\n"
      "Exit status: the program's own, as with `chronos run`; 1 refused or failed, 2 bad usage,\n"
      "3 not enough devices are free.");
  std::vector<std::string> options = invocation.arguments;
  run.command = take_command(app, options);
  if (auto status = arguments.parse(options)) return *status;
  given.wait_given = wait->count() > 0;
  for (const CLI::Option* option : app.get_options()) {
    // An unset variable in a script is not the same as no condition.
    const bool blank = option->count() > 0 && option->results().front().empty();
    if (!blank || option->get_items_expected_max() == 0) continue;
    return report({ErrorCode::kInvalid, option->get_name() + " is empty", help_hint("acquire")});
  }
  Result<int> status = run_with(given, run, arguments.json(), invocation.signals);
  return status ? *status : report(status.error());
}

}  // namespace chronos::cli
