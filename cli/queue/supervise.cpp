#include "cli/queue/supervise.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <utility>

#include "cli/environment.hpp"
#include "cli/output.hpp"
#include "cli/process_tree.hpp"
#include "cli/queue/attempt_file.hpp"
#include "cli/queue/job_log.hpp"
#include "cli/queue/link.hpp"
#include "cli/queue/log_pump.hpp"
#include "cli/queue/prepare.hpp"
#include "cli/run.hpp"
#include "core/grant.hpp"
#include "core/posix.hpp"
#include "core/registry.hpp"
#include "core/state_dir.hpp"
#include "core/text.hpp"

namespace chronos::queue {
namespace {

constexpr std::uint64_t kGrace = 10 * kNanosPerSecond;
constexpr std::uint64_t kLeftoverPatience = 30 * kNanosPerSecond;

// What the runner wrote; none where it died or changed its mind.
std::optional<std::vector<std::string>> read_hand_over(int fd) {
  std::string text;
  char buffer[4096];
  for (;;) {
    const ssize_t got = retry_eintr([&] { return ::read(fd, buffer, sizeof buffer); });
    if (got <= 0) return std::nullopt;
    text.append(buffer, static_cast<std::size_t>(got));
    if (text.ends_with('\n')) break;
  }
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_array()) return std::nullopt;
  return json.get<std::vector<std::string>>();
}

std::string random_token() {
  std::uint64_t words[2] = {};
  if (::getentropy(words, sizeof words) != 0) words[0] = static_cast<std::uint64_t>(::getpid());
  return to_hex(words[0]) + to_hex(words[1]);
}

std::uint64_t boottime_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * kNanosPerSecond +
         static_cast<std::uint64_t>(now.tv_nsec);
}

// One attempt, from the claim to its end.
class Attempted {
 public:
  Attempted(const Place& place, Store& store, Registry& registry, Scope scope, AttemptFile file,
            const cli::InheritedSignals& signals)
      : place_(place),
        store_(store),
        registry_(registry),
        scope_(std::move(scope)),
        file_(std::move(file)),
        signals_(signals) {}

  int run(JobId id, std::int64_t attempt);

 private:
  Result<Outcome> carry_out();
  Result<JobLog> open_log() const;
  Result<cli::ChildCommand> command() const;
  Result<Outcome> run_program(const cli::ChildCommand& command);
  Result<void> write_into_log();
  void finish_log();
  void give_back_memory();
  Json facts() const;
  void write_facts(const Outcome& outcome);
  bool store_outcome(const Outcome& outcome);

  const Place& place_;
  Store& store_;
  Registry& registry_;
  Scope scope_;
  AttemptFile file_;
  const cli::InheritedSignals& signals_;
  Job job_;
  JobSpec spec_;
  std::optional<JobLog> log_;
  std::optional<LogPump> pump_;  // none: the program writes to the log itself
};

std::string name_of(const Job& job) {
  return job.name.empty() ? fmt::format("job_{}", job.id) : job.name;
}

Result<JobLog> Attempted::open_log() const {
  if (!spec_.log_file.empty()) return JobLog::append_to(spec_.log_file);
  return JobLog::make(spec_.log_directory.empty() ? place_.logs() : spec_.log_directory,
                      name_of(job_));
}

// Standard output and error of the program, and what is said of its partition.
Result<void> Attempted::write_into_log() {
  int fd = log_->fd();
  if (log_->is_file() && spec_.log_limits.bytes > 0) {
    auto pump = LogPump::start({log_->path(), UniqueFd(::dup(fd)), spec_.log_limits});
    if (!pump) return pass_on(pump);
    pump_.emplace(std::move(*pump));
    fd = pump_->fd();
  }
  ::dup2(fd, STDOUT_FILENO);
  ::dup2(fd, STDERR_FILENO);
  return {};
}

// Nothing is written to it after this, and whoever is told of the job's end finds all of it.
void Attempted::finish_log() {
  if (!pump_) return;
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  ::dup2(null.get(), STDOUT_FILENO);
  ::dup2(null.get(), STDERR_FILENO);
  pump_->finish();
}

Result<cli::ChildCommand> Attempted::command() const {
  auto environment = store_.environment_of(job_.id);
  if (!environment) return pass_on(environment);
  auto made = prepare_command(job_, spec_, split_environment(*environment));
  if (!made) return made;
  auto shim = usable_shim_path();
  if (!shim) return pass_on(shim);
  cli::ShimEnvironment settings;
  settings.shim = std::move(*shim);
  settings.partitions = scope_.handles();
  // The partitions are in this process's state directory, whatever the job's environment names.
  std::erase_if(made->environment,
                [](const std::string& entry) { return entry.starts_with("CHRONOS_STATE_DIR="); });
  if (trusted_env("CHRONOS_STATE_DIR") != nullptr) {
    char resolved[PATH_MAX];
    if (::realpath(registry_.state().path().c_str(), resolved) != nullptr) {
      settings.state_dir = resolved;
    }
  }
  auto seen = device_variables(registry_, scope_.partitions);
  if (!seen) return pass_on(seen);
  for (const auto& [name, value] : *seen) settings.variables.push_back(name + "=" + value);
  made->environment = cli::shim_environment(made->environment, settings);
  return made;
}

Result<Outcome> Attempted::run_program(const cli::ChildCommand& command) {
  // Looked for in the job's PATH, and from its folder.
  ::unsetenv("PATH");
  for (const std::string& entry : command.environment) {
    if (entry.starts_with("PATH=")) ::setenv("PATH", entry.c_str() + 5, 1);
  }
  if (::chdir(spec_.directory.c_str()) != 0) {
    return fail(ErrorCode::kSystem, fmt::format("cannot work in {}: {}", path_text(spec_.directory),
                                                errno_text(errno)));
  }
  cli::ExpiryPolicy policy;
  policy.action = cli::OnExpiry::kTerminate;
  policy.warn_before_ns = {300 * kNanosPerSecond};
  policy.grace_ns = kGrace;
  std::vector<cli::WatchedPartition> watched;
  std::vector<std::string> tokens;
  for (const PartitionInfo& partition : scope_.partitions) {
    watched.push_back(cli::watch(registry_, partition));
    tokens.push_back(partition.token);
  }
  cli::Supervisor supervisor(cli::Expiry(policy, std::move(watched), boottime_ns()), policy,
                             signals_, registry_.state().path(), std::move(tokens));
  supervisor.set_end_signal(SIGTERM);
  // A job that adds jobs may have started the runner; that, and other jobs, are not part of it.
  const auto runner = [this] { return static_cast<pid_t>(runner_pid(place_)); };
  supervisor.set_spared(runner);
  auto status = supervisor.run(command);
  if (!status) return pass_on(status);
  // A job is over when its command is: what that has left behind would hold memory for nobody.
  cli::kill_tree(kLeftoverPatience, 0, runner);
  Outcome outcome;
  outcome.exit_status = *status;
  if (!supervisor.start_error().empty()) {
    outcome.reason = supervisor.start_error();
  } else if (supervisor.was_told_to_end()) {
    outcome.exit_status = supervisor.program_status().value_or(cli::kSignalled + SIGKILL);
    outcome.reason = "its supervisor was told to end it";
  } else if (*status == cli::kPartitionEnded && supervisor.program_status() != *status) {
    outcome.reason = "its time was up";
  } else if (*status > cli::kSignalled) {
    outcome.reason = fmt::format("ended by signal {}", *status - cli::kSignalled);
  }
  outcome.state =
      *outcome.exit_status == 0 && outcome.reason.empty() ? JobState::kDone : JobState::kFailed;
  return outcome;
}

Json Attempted::facts() const {
  Json json = json_answer();
  json.update(job_json(job_));
  json["name"] = name_of(job_);
  json["log"] = log_->path();
  json["cwd"] = spec_.directory;
  json["partitions"] = Json::array();
  for (const PartitionInfo& one : scope_.partitions) json["partitions"].push_back(one.id);
  return json;
}

Result<Outcome> Attempted::carry_out() {
  auto log = open_log();
  if (!log) return pass_on(log);
  log_.emplace(std::move(*log));
  // A full disk is noticed here, before the program has done anything.
  Json begun = facts();
  begun["state"] = to_string(JobState::kRunning);
  auto written = log_->write_facts(begun);
  if (!written) return pass_on(written);
  auto writing = write_into_log();
  if (!writing) return pass_on(writing);
  auto made = command();
  if (!made) return pass_on(made);
  auto marked = store_.mark_running(job_.id, job_.attempt, log_->path());
  if (!marked) return pass_on(marked);
  if (!*marked) return fail(ErrorCode::kCancelled, "cancelled");
  return run_program(*made);
}

void Attempted::give_back_memory() {
  for (const PartitionInfo& one : scope_.partitions) (void)registry_.release(one.handle());
}

void Attempted::write_facts(const Outcome& outcome) {
  if (!log_) return;
  auto now = store_.find(job_.id);
  if (now && now->attempt == job_.attempt) job_ = *now;
  Json over = facts();
  over["state"] = to_string(outcome.state);
  over["exit_status"] = outcome.exit_status ? Json(*outcome.exit_status) : Json(nullptr);
  over["reason"] = outcome.reason.empty() ? Json(nullptr) : Json(outcome.reason);
  over["ended_at"] = static_cast<double>(wall_ms()) / 1000;
  if (pump_) {
    over["log_bytes"] = pump_->finish().written_bytes();
    over["log_lost_bytes"] = pump_->finish().lost_bytes();
  }
  (void)log_->write_facts(over);
}

// Where the database will not have it now, the attempt's file keeps it for the runner.
bool Attempted::store_outcome(const Outcome& outcome) {
  auto stored = store_.finish(job_.id, job_.attempt, outcome);
  if (stored) return true;
  file_.leave(outcome);
  return false;
}

int Attempted::run(JobId id, std::int64_t attempt) {
  AttemptClaim claim;
  claim.job = id;
  claim.attempt = attempt;
  claim.boot_id = boot_text();
  claim.supervisor = this_process();
  claim.token = random_token();
  claim.devices = device_list(scope_.partitions);
  auto claimed = store_.claim(claim);
  if (!claimed) return kStoreTrouble;
  if (!*claimed) return kNotNeeded;
  auto job = store_.find(id);
  auto spec = store_.spec_of(id);
  Outcome outcome;
  if (job && spec) {
    job_ = std::move(*job);
    spec_ = std::move(*spec);
    auto ended = carry_out();
    if (ended) {
      outcome = std::move(*ended);
    } else {
      outcome.exit_status = cli::kRunFailed;
      outcome.reason = ended.error().message;
      if (log_) cli::print_error_line("chronos: " + outcome.reason);
    }
  } else {
    job_.id = id;
    job_.attempt = attempt;
    outcome.reason = job ? spec.error().message : job.error().message;
  }
  finish_log();
  give_back_memory();
  write_facts(outcome);
  if (!store_outcome(outcome)) return kStoreTrouble;
  file_.remove();
  if (!spec_.on_finish.empty()) {
    (void)tell_runner(place_);
    run_hook(store_, id);
  }
  return kSupervised;
}

}  // namespace

std::string hand_over_text(const std::vector<std::string>& handles) {
  return json_text(Json(handles)) + "\n";
}

int supervise(const Place& place, JobId id, std::int64_t attempt, int pipe_fd,
              const cli::InheritedSignals& signals) {
  auto handles = read_hand_over(pipe_fd);
  ::close(pipe_fd);
  if (!handles) return kNotNeeded;
  auto file = AttemptFile::take(place.attempt_file(id, attempt));
  if (!file) return file.error().code == ErrorCode::kInUse ? kNotNeeded : kStoreTrouble;
  auto store = Store::open(place);
  if (!store) return kStoreTrouble;
  auto registry = Registry::open();
  if (!registry) return kStoreTrouble;
  auto scope = named_partitions(*registry, fmt::format("{}", fmt::join(*handles, ",")));
  if (!scope) return kNotNeeded;  // ended before it began: back into the line
  return Attempted(place, *store, *registry, std::move(*scope), std::move(*file), signals)
      .run(id, attempt);
}

}  // namespace chronos::queue
