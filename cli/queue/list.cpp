// `chronos queue list` and `show`.
#include <fmt/format.h>
#include <time.h>

#include "cli/queue/commands.hpp"
#include "cli/queue/link.hpp"
#include "cli/table.hpp"
#include "core/text.hpp"

namespace chronos::queue {
namespace {

using cli::Style;
using cli::Table;

Style style_of(const Job& job) {
  switch (job.state) {
    case JobState::kDone:
      return Style::kGreen;
    case JobState::kFailed:
    case JobState::kLost:
      return Style::kRed;
    case JobState::kStarting:
    case JobState::kRunning:
      return Style::kCyan;
    default:
      return Style::kPlain;
  }
}

std::string state_text(const Job& job) {
  if (job.state == JobState::kPending && job.held) return "paused";
  if (job.cancel && !is_over(job.state)) return "ending";
  if (job.state == JobState::kFailed && job.exit_status) {
    return fmt::format("failed ({})", *job.exit_status);
  }
  return to_string(job.state);
}

// How long it has run, or ran.
std::string time_text(const Job& job, std::int64_t now_ms) {
  if (job.started_ms == 0) return "";
  const std::int64_t until = job.ended_ms > 0 ? job.ended_ms : now_ms;
  if (until < job.started_ms) return "";
  return format_duration(static_cast<std::uint64_t>(until - job.started_ms) * 1'000'000);
}

std::string list_table(const std::vector<Job>& jobs, const cli::Screen& screen) {
  using Align = Table::Align;
  Table table({{"JOB", Align::kRight},
               {"STATE"},
               {"NAME", Align::kLeft, 8},
               {"GPUS", Align::kRight},
               {"MEMORY", Align::kRight},
               {"DEVICES"},
               {"TIME", Align::kRight},
               {"COMMAND", Align::kLeft, 16}});
  const std::int64_t now = wall_ms();
  for (const Job& job : jobs) {
    table.add({{fmt::format("{}", job.id), Style::kBold},
               {state_text(job), style_of(job)},
               {cli::printable(job.name)},
               {fmt::format("{}", job.gpus)},
               {job.memory},
               {job.devices},
               {time_text(job, now)},
               {cli::printable(job.command)}});
  }
  return table.render(screen);
}

std::string date_text(std::int64_t ms) {
  const time_t seconds = ms / 1000;
  struct tm parts {};
  ::localtime_r(&seconds, &parts);
  char text[32];
  ::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
  return text;
}

std::string show_text(const Job& job, const JobSpec& spec, const std::vector<Store::Need>& needs,
                      const std::vector<Attempt>& attempts) {
  std::string out = fmt::format("Job {}{}{}: {}\n", job.id, job.name.empty() ? "" : " ",
                                cli::printable(job.name), state_text(job));
  auto line = [&](const char* what, const std::string& value) {
    if (!value.empty()) out += fmt::format("  {}: {}\n", what, cli::printable(value));
  };
  line("Command", job.command);
  line("Folder", spec.directory);
  line("Virtual environment", spec.venv);
  for (const auto& [name, value] : spec.env) line("Variable", name + "=" + value);
  line("Memory", job.memory + (job.gpus > 1 ? fmt::format(" on {} devices each", job.gpus) : ""));
  line("Of devices", fmt::format("{}", fmt::join(spec.devices, ",")));
  line("Jobs per GPU", spec.jobs_per_gpu == 0 ? "" : fmt::format("{}", spec.jobs_per_gpu));
  line("Duration", spec.duration_ns == 0 ? "" : format_duration(spec.duration_ns));
  line("Priority", job.priority == 0 ? "" : fmt::format("{}", job.priority));
  for (const Store::Need& need : needs) {
    line("Waits for", fmt::format("job {}{} ({})", need.job, need.ok ? " to be done" : "",
                                  to_string(need.state)));
  }
  line("When it is over", spec.on_finish);
  line("Retries left", spec.retries == 0 ? "" : fmt::format("{}", job.retries_left));
  line("Queued", date_text(job.submitted_ms));
  line("Devices", job.devices);
  if (job.started_ms > 0) line("Started", date_text(job.started_ms));
  if (job.ended_ms > 0) line("Ended", date_text(job.ended_ms));
  if (job.exit_status) line("Exit status", fmt::format("{}", *job.exit_status));
  line("Reason", job.reason);
  line("Log", job.log);
  if (attempts.size() > 1 || (attempts.size() == 1 && !is_over(job.state))) {
    for (const Attempt& one : attempts) {
      line("Attempt", fmt::format("{}: {}{}{}{}", one.attempt, to_string(one.state),
                                  one.exit_status ? fmt::format(" ({})", *one.exit_status) : "",
                                  one.reason.empty() ? "" : ": ", one.reason));
    }
  }
  return out;
}

Json show_json(const Job& job, const JobSpec& spec, const std::vector<Store::Need>& needs,
               const std::vector<Attempt>& attempts) {
  Json json = json_answer();
  json.update(job_json(job));
  json["spec"] = spec_json(spec);
  json["needs"] = Json::array();
  for (const Store::Need& need : needs) {
    json["needs"].push_back({{"job", need.job}, {"ok", need.ok}, {"state", to_string(need.state)}});
  }
  json["attempts"] = Json::array();
  for (const Attempt& one : attempts) {
    json["attempts"].push_back(
        {{"attempt", one.attempt},
         {"state", to_string(one.state)},
         {"exit_status", one.exit_status ? Json(*one.exit_status) : Json(nullptr)},
         {"reason", one.reason.empty() ? Json(nullptr) : Json(one.reason)},
         {"devices", one.devices.empty() ? Json(nullptr) : Json(one.devices)},
         {"log", one.log.empty() ? Json(nullptr) : Json(one.log)},
         {"started_at",
          one.started_ms == 0 ? Json(nullptr) : Json(static_cast<double>(one.started_ms) / 1000)},
         {"ended_at", static_cast<double>(one.ended_ms) / 1000}});
  }
  return json;
}

int show(JobId id, bool as_json) {
  auto queue = open_queue();
  if (!queue) return cli::report(queue.error());
  auto job = queue->store.find(id);
  if (!job) return cli::report(job.error());
  auto spec = queue->store.spec_of(id);
  if (!spec) return cli::report(spec.error());
  auto needs = queue->store.needs_of(id);
  if (!needs) return cli::report(needs.error());
  auto attempts = queue->store.attempts_of(id);
  if (!attempts) return cli::report(attempts.error());
  return cli::print(as_json ? cli::to_text(show_json(*job, *spec, *needs, *attempts))
                            : show_text(*job, *spec, *needs, *attempts));
}

}  // namespace

int list_command(const cli::Invocation& invocation) {
  std::string state;
  cli::Arguments arguments("queue list", "[options]", "Show the jobs of your queue.");
  arguments.app()
      .add_option("--state", state,
                  "Only these: pending, starting, running, done, failed, cancelled,\n"
                  "lost; or open, over")
      ->type_name("S")
      ->check(cli::offered({"pending", "starting", "running", "done", "failed", "cancelled", "lost",
                            "open", "over"}));
  arguments.add_json();
  if (auto status = arguments.parse(invocation.arguments)) return *status;
  std::vector<JobState> states;
  if (!state.empty()) {
    states = states_named(state);
    if (states.empty()) {
      return cli::report({ErrorCode::kInvalid, "unknown state " + chronos::quoted(state),
                          cli::help_hint("queue list")});
    }
  }
  auto queue = open_queue();
  if (!queue) return cli::report(queue.error());
  auto jobs = queue->store.list(states);
  if (!jobs) return cli::report(jobs.error());
  auto paused = queue->store.is_paused();
  if (!paused) return cli::report(paused.error());
  auto trouble = queue->store.trouble();
  if (!trouble) return cli::report(trouble.error());
  if (arguments.json()) {
    Json json = json_answer();
    json["paused"] = *paused;
    json["trouble"] = trouble->empty() ? Json(nullptr) : Json(*trouble);
    const int runner = runner_pid(queue->place);
    json["runner_pid"] = runner == 0 ? Json(nullptr) : Json(runner);
    json["jobs"] = Json::array();
    for (const Job& job : *jobs) json["jobs"].push_back(job_json(job));
    return cli::print(cli::to_text(json));
  }
  if (*paused) cli::print_warning_line("the queue is paused: `chronos queue resume` goes on");
  if (!trouble->empty()) cli::print_warning_line("nothing may start: " + *trouble);
  if (jobs->empty()) return cli::print("No jobs\n");
  cli::Screen screen = arguments.screen();
  if (!screen.terminal) screen.width = 1'000'000;  // a script wants all of a command
  return cli::print(list_table(*jobs, screen));
}

int show_command(const cli::Invocation& invocation) {
  std::string word;
  cli::Arguments arguments("queue show", "[options] <job>", "Show all about a job.");
  arguments.app().add_option("job", word, "Its number")->required();
  arguments.add_json();
  if (auto status = arguments.parse(invocation.arguments)) return *status;
  auto id = parse_job_id(word);
  if (!id) return cli::report(id.error());
  return show(*id, arguments.json());
}

}  // namespace chronos::queue
