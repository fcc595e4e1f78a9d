#include "cli/run.hpp"

#include <fmt/format.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <memory>

#include "cli/arguments.hpp"
#include "cli/devices.hpp"
#include "cli/environment.hpp"
#include "cli/supervisor.hpp"
#include "cli/verbs.hpp"
#include "cli/waiting.hpp"
#include "core/launch.hpp"
#include "core/policy.hpp"
#include "core/units.hpp"

namespace chronos::cli {
namespace {

// Ends what was made for this command, on every way out of it.
class EphemeralPartitions {
 public:
  EphemeralPartitions(Registry& registry, const std::vector<PartitionInfo>& partitions)
      : registry_(registry) {
    for (const PartitionInfo& one : partitions) handles_.push_back(one.handle());
  }
  ~EphemeralPartitions() {
    for (const std::string& handle : handles_) {
      Result<PartitionInfo> released = registry_.release(handle);
      // Its time may be up, or somebody may have been quicker.
      if (!released && released.error().code != ErrorCode::kNotFound) report(released.error());
    }
  }
  EphemeralPartitions(const EphemeralPartitions&) = delete;
  EphemeralPartitions& operator=(const EphemeralPartitions&) = delete;

 private:
  Registry& registry_;
  std::vector<std::string> handles_;
};

std::uint64_t boottime_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * kNanosPerSecond +
         static_cast<std::uint64_t>(now.tv_nsec);
}

// Options stand above what the policy files say.
Result<ExpiryPolicy> parse_policy(const RunArguments& given) {
  const Policy files = Policy::load();
  const ExpirySettings settings = files.for_caller().expiry;
  auto wait_of = [](bool is_given, const std::string& text, const auto& setting,
                    std::uint64_t otherwise) -> Result<std::uint64_t> {
    if (is_given) return parse_wait(text);
    return setting ? setting->value : otherwise;
  };
  ExpiryPolicy policy;
  std::string action = given.on_expiry;
  if (action.empty() && settings.action) action = to_string(settings.action->value);
  policy.action = action == "kill"        ? OnExpiry::kKill
                  : action == "terminate" ? OnExpiry::kTerminate
                                          : OnExpiry::kRefuse;
  policy.warn_before_ns = {300 * kNanosPerSecond};
  if (settings.warn_before_ns) policy.warn_before_ns = settings.warn_before_ns->value;
  if (given.warn_given) {
    Result<std::vector<std::uint64_t>> warn = parse_waits(given.warn_before);
    if (!warn) return pass_on(warn);
    policy.warn_before_ns = std::move(*warn);
  }
  policy.warn_if_short = given.warn_given;
  Result<std::uint64_t> terminate =
      wait_of(given.terminate_given, given.terminate_after, settings.terminate_after_ns, 0);
  if (!terminate) return pass_on(terminate);
  policy.terminate_after_ns = *terminate;
  if (given.terminate_given && policy.action != OnExpiry::kTerminate) {
    return fail(ErrorCode::kInvalid, "--terminate-after goes with --on-expiry terminate",
                help_hint("run"));
  }
  Result<std::uint64_t> grace =
      wait_of(given.grace_given, given.grace, settings.grace_ns, 10 * kNanosPerSecond);
  if (!grace) return pass_on(grace);
  policy.grace_ns = *grace;
  Result<void> usable = files.usable();
  if (!usable) return pass_on(usable);
  return policy;
}

Result<Scope> partition_for_command(Registry& registry, const RunArguments& given) {
  if (given.device.empty() || given.memory.empty() || given.duration.empty()) {
    return fail(ErrorCode::kInvalid, "--device, --memory and --duration go together",
                help_hint("run"));
  }
  Result<int> number = parse_device(given.device);
  if (!number) return pass_on(number);
  CreateRequest request;
  request.held = true;
  Result<MemoryAmount> memory = parse_memory(given.memory);
  if (!memory) return pass_on(memory);
  request.memory = *memory;
  Result<std::uint64_t> duration = parse_duration(given.duration);
  if (!duration) return pass_on(duration);
  request.duration_ns = *duration;
  if (given.name_given) {
    Result<void> checked = check_name(given.name);
    if (!checked) return pass_on(checked);
    request.name = given.name;
  }
  Patience patience;
  if (given.wait_given) {
    Result<Patience> parsed = parse_patience(given.wait);
    if (!parsed) return pass_on(parsed);
    patience = *parsed;
  }
  Result<Device> device = device_by_number(registry, *number);
  if (!device) return pass_on(device);
  request.device = *device;
  Result<PartitionInfo> partition =
      given.wait_given ? create_in_line(registry, request, patience) : registry.create(request);
  if (!partition) return pass_on(partition);
  Scope scope;
  scope.partitions.push_back(std::move(*partition));
  return scope;
}

Result<Scope> find_scope(Registry& registry, const RunArguments& given) {
  if (given.device_given) return partition_for_command(registry, given);
  if (given.partitions_given) return named_partitions(registry, given.partitions);
  const char* inherited = trusted_env("CHRONOS_PARTITION");
  if (inherited != nullptr && *inherited != '\0') return named_partitions(registry, inherited);
  return own_partitions(registry);
}

ChildCommand child_command(const RunArguments& given, const Scope& scope, const Registry& registry,
                           std::string shim) {
  ShimEnvironment settings;
  settings.trace = given.trace_directory;
  settings.shim = std::move(shim);
  // Named even if nobody named them: a partition that ends before the program first uses OpenCL
  // must not leave it with none.
  settings.partitions = scope.handles();
  const char* state_dir = trusted_env("CHRONOS_STATE_DIR");
  if (state_dir != nullptr && *state_dir != '\0' && *state_dir != '/') {
    // The program may change its directory before it first uses OpenCL.
    char resolved[PATH_MAX];
    if (::realpath(registry.state().path().c_str(), resolved) != nullptr) {
      settings.state_dir = resolved;
    }
  }
  settings.variables = given.variables;
  return {given.command, shim_environment(own_environment(), settings), given.die_with_us};
}

std::function<Standing()> look_at(Registry& registry, const PartitionInfo& partition) {
  return [&registry, partition]() -> Standing {
    Result<Registry::Standing> now = registry.standing(partition);
    if (now && now->active) return {Standing::Kind::kActive, now->remaining_ns};
    const bool gone =
        now || now.error().code == ErrorCode::kNotFound || now.error().code == ErrorCode::kDamaged;
    return {gone ? Standing::Kind::kReleased : Standing::Kind::kUnknown, 0};
  };
}

Result<int> supervise(Registry& registry, const Scope& scope, const RunArguments& given,
                      ExpiryPolicy policy, const InheritedSignals& signals,
                      const std::string& shim) {
  policy.end_with_last = scope.implicit;
  std::vector<WatchedPartition> watched;
  std::vector<std::string> tokens;
  for (const PartitionInfo& partition : scope.partitions) {
    watched.push_back(watch(registry, partition));
    tokens.push_back(partition.token);
  }
  Supervisor supervisor(Expiry(policy, std::move(watched), boottime_ns()), policy, signals,
                        registry.state().path(), std::move(tokens));
  supervisor.set_observer(given.on_look);
  return supervisor.run(child_command(given, scope, registry, shim));
}

}  // namespace

WatchedPartition watch(Registry& registry, const PartitionInfo& partition) {
  return {partition.id, partition.duration_ns, partition.remaining_ns,
          look_at(registry, partition)};
}

Result<int> run_command(const RunArguments& given, const InheritedSignals& signals) {
  if (given.command.empty()) {
    return fail(ErrorCode::kInvalid, "no program to run", help_hint("run"));
  }
  Result<ExpiryPolicy> policy = parse_policy(given);
  if (!policy) return pass_on(policy);
  Result<std::string> shim = usable_shim_path();
  if (!shim) return pass_on(shim);
  Result<Registry> registry = Registry::open();
  if (!registry) return pass_on(registry);
  Result<Scope> scope = find_scope(*registry, given);
  if (!scope) return pass_on(scope);
  EphemeralPartitions ephemeral(
      *registry, given.device_given ? scope->partitions : std::vector<PartitionInfo>());
  Result<int> status = supervise(*registry, *scope, given, *policy, signals, *shim);
  if (given.on_end) given.on_end(*registry, *scope);
  return status;
}

Result<int> run_in(Registry& registry, Scope scope, const RunArguments& given,
                   const InheritedSignals& signals) {
  EphemeralPartitions ephemeral(registry, scope.partitions);
  Result<ExpiryPolicy> policy = parse_policy(given);
  if (!policy) return pass_on(policy);
  Result<std::string> shim = usable_shim_path();
  if (!shim) return pass_on(shim);
  return supervise(registry, scope, given, *policy, signals, *shim);
}

namespace {

// Whether what stands behind `--wait`, at `next`, is its time, and not the command's beginning.
bool is_time_of_wait(const std::vector<std::string>& arguments, std::size_t next) {
  if (next >= arguments.size() || arguments[next].starts_with('-')) return false;
  const auto rest = arguments.begin() + static_cast<std::ptrdiff_t>(next);
  return parse_patience(arguments[next]) ||
         std::find(rest, arguments.end(), "--") != arguments.end();
}

}  // namespace

std::vector<std::string> take_command(const CLI::App& app, std::vector<std::string>& arguments) {
  std::size_t at = 0;
  while (at < arguments.size()) {
    std::string& argument = arguments[at];
    if (argument == "--wait" && app.get_option_no_throw("--wait") != nullptr) {
      const bool timed = is_time_of_wait(arguments, at + 1);
      argument += "=" + (timed ? arguments[at + 1] : std::string("forever"));
      if (timed) arguments.erase(arguments.begin() + static_cast<std::ptrdiff_t>(at) + 1);
    }
    if (argument == "--" || argument.size() < 2 || argument[0] != '-') break;
    const CLI::Option* option = app.get_option_no_throw(argument);
    at += option != nullptr && option->get_items_expected_max() > 0 ? 2 : 1;
  }
  at = std::min(at, arguments.size());
  auto begin = arguments.begin() + static_cast<std::ptrdiff_t>(at);
  bool marked = begin != arguments.end() && *begin == "--";
  std::vector<std::string> command(begin + (marked ? 1 : 0), arguments.end());
  arguments.erase(begin, arguments.end());
  return command;
}

RunOptions::RunOptions(CLI::App& app, RunArguments& given) : given_(given) {
  partition_ = app.add_option("--partition", given.partitions,
                              "Ids or names, separated by commas; without it CHRONOS_PARTITION,\n"
                              "and without that your own partitions")
                   ->type_name("ID");
  device_ =
      app.add_option("--device", given.device, "Make a partition for this program on this device")
          ->type_name("D");
  CLI::Option* memory =
      app.add_option("--memory", given.memory, "Its share or size")->type_name("M");
  CLI::Option* duration =
      app.add_option("--duration", given.duration, "Its duration")->type_name("T");
  name_ = app.add_option("--name", given.name, "Its name")->type_name("ID");
  wait_ = app.add_option("--wait", given.wait, "Wait in line for its memory, at most so long")
              ->type_name("[T]");
  CLI::Option* on_expiry =
      app.add_option("--on-expiry", given.on_expiry,
                     "When the time is up: refuse new allocations (the default),\n"
                     "terminate, or kill the program and all that it has started")
          ->type_name("ACTION")
          ->check(one_of({"refuse", "terminate", "kill"}));
  warn_ = app.add_option("--warn-before", given.warn_before,
                         "Say on stderr that the end is near; 0 for never (5m). Several times,\n"
                         "separated by commas: 30m,5m,1m")
              ->type_name("T");
  terminate_ = app.add_option("--terminate-after", given.terminate_after,
                              "With terminate: time between the end and SIGTERM (0)")
                   ->type_name("T");
  grace_ = app.add_option("--grace", given.grace, "Time between SIGTERM and SIGKILL (10s)")
               ->type_name("T");
  for (CLI::Option* option : {memory, duration, name_, wait_}) option->needs(device_);
  all_ = {partition_, device_,   memory, duration,   name_,
          wait_,      on_expiry, warn_,  terminate_, grace_};
  partition_->excludes(device_);
}

bool RunOptions::any() const {
  return std::any_of(all_.begin(), all_.end(),
                     [](const CLI::Option* option) { return option->count() > 0; });
}

void RunOptions::finish() const {
  given_.partitions_given = partition_->count() > 0;
  given_.device_given = device_->count() > 0;
  given_.name_given = name_->count() > 0;
  given_.wait_given = wait_->count() > 0;
  given_.warn_given = warn_->count() > 0;
  given_.terminate_given = terminate_->count() > 0;
  given_.grace_given = grace_->count() > 0;
}

int run_verb(const Invocation& invocation) {
  RunArguments given;
  Arguments arguments("run", "[options] [--] program [arguments]",
                      "Run a program inside of a partition.");
  RunOptions run_options(arguments.app(), given);
  arguments.add_examples(
      "Examples:\n"
      "  chronos run --partition train -- python3 train.py\n"
      "  chronos run --device 0 --memory 2GiB --duration 30m --on-expiry terminate -- ./simulate\n"
      "  chronos run --device 0 --memory 50% --duration 1h --wait 30m -- ./train\n"
      "\n"
      "Exit status: the program's own, 128 + n if signal n ended it; 124 if the time was up and\n"
      "the program was ended, 125 if Chronos failed, 126 if the program cannot be executed, 127\n"
      "if it was not found.");
  std::vector<std::string> options = invocation.arguments;
  given.command = take_command(arguments.app(), options);
  if (auto status = arguments.parse(options)) return *status == kDone ? kDone : kRunFailed;
  run_options.finish();

  Result<int> status = run_command(given, invocation.signals);
  if (status) return *status;
  report(status.error());
  return kRunFailed;
}

}  // namespace chronos::cli
