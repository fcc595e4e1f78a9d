// `chronos queue cancel`, `pause`, `resume`, `retry` and `clear`.
#include <fmt/format.h>

#include <functional>

#include "cli/queue/commands.hpp"
#include "cli/queue/link.hpp"
#include "core/text.hpp"

namespace chronos::queue {
namespace {

using Change = Store::Change;

// What each command says of each job: a line, and whether the job is as was asked.
struct Words {
  std::function<Result<Change>(Store&, JobId)> change;
  std::function<std::string(Change)> say;
  std::function<bool(Change)> is_good;
};

struct Given {
  std::vector<JobId> ids;
  bool json = false;
};

int change_jobs(OpenQueue& queue, const Given& given, const Words& words) {
  Json json = json_answer();
  json["jobs"] = Json::array();
  std::string text;
  bool all_good = true;
  for (JobId id : given.ids) {
    auto change = words.change(queue.store, id);
    if (!change) {
      cli::report(change.error());
      all_good = false;
      continue;
    }
    all_good = all_good && words.is_good(*change);
    if (words.is_good(*change)) {
      text += fmt::format("Job {} {}\n", id, words.say(*change));
    } else {
      cli::print_error_line(fmt::format("job {} {}", id, words.say(*change)));
    }
    auto job = queue.store.find(id);
    if (job) json["jobs"].push_back(job_json(*job));
  }
  // Somebody must end what was cancelled, and start what may start again.
  auto counts = queue.store.counts();
  if (counts && counts->pending + counts->active > 0) {
    auto running = ensure_runner(queue.place);
    if (!running) cli::report(running.error());
  } else {
    (void)tell_runner(queue.place);
  }
  const int printed = given.json ? cli::print(cli::to_text(json)) : cli::print(text);
  return all_good ? printed : cli::kFailed;
}

Result<Given> parse(cli::Arguments& arguments, const std::vector<std::string>& words) {
  auto ids = parse_ids(words);
  if (!ids) return pass_on(ids);
  return Given{std::move(*ids), arguments.json()};
}

std::vector<JobId> ids_of(const std::vector<Job>& jobs) {
  std::vector<JobId> ids;
  for (const Job& job : jobs) ids.push_back(job.id);
  return ids;
}

// pause and resume differ in a word.
int hold_command(const cli::Invocation& invocation, bool held) {
  const std::string verb = held ? "pause" : "resume";
  std::vector<std::string> words;
  cli::Arguments arguments("queue " + verb, "[options] [jobs]",
                           held ? "Start none of these jobs, or (without any) nothing at all. What "
                                  "runs goes on."
                                : "Let these jobs start again, or (without any) the queue.");
  arguments.app().add_option("jobs", words, "Their numbers: 3 5-9");
  arguments.add_json();
  if (auto status = arguments.parse(invocation.arguments)) return *status;
  auto given = parse(arguments, words);
  if (!given) return cli::report(given.error());
  auto queue = open_queue();
  if (!queue) return cli::report(queue.error());
  if (given->ids.empty()) {
    auto changed = queue->store.set_paused(held);
    if (!changed) return cli::report(changed.error());
    Json json = json_answer();
    json["paused"] = held;
    auto counts = queue->store.counts();
    if (!held && counts && counts->pending > 0) {
      auto running = ensure_runner(queue->place);
      if (!running) cli::report(running.error());
    } else {
      (void)tell_runner(queue->place);
    }
    return cli::print(arguments.json() ? cli::to_text(json)
                      : held           ? "The queue is paused\n"
                                       : "The queue goes on\n");
  }
  return change_jobs(
      *queue, *given,
      {[held](Store& store, JobId id) { return store.hold(id, held); },
       [held](Change change) -> std::string {
         if (change == Change::kOver) return "is over";
         if (change == Change::kRunning) return "runs already: only what waits can be paused";
         return held ? "is paused" : "may start";
       },
       [](Change change) { return change == Change::kDone || change == Change::kAlready; }});
}

}  // namespace

int pause_command(const cli::Invocation& invocation) { return hold_command(invocation, true); }

int resume_command(const cli::Invocation& invocation) { return hold_command(invocation, false); }

int cancel_command(const cli::Invocation& invocation) {
  std::vector<std::string> words;
  bool all = false;
  cli::Arguments arguments("queue cancel", "[options] <jobs>",
                           "Take jobs out of the line; what runs is ended (SIGTERM, and SIGKILL "
                           "after 10 s).");
  arguments.app().add_option("jobs", words, "Their numbers: 3 5-9");
  arguments.app().add_flag("--all", all, "All that are not over");
  arguments.add_json();
  if (auto status = arguments.parse(invocation.arguments)) return *status;
  auto given = parse(arguments, words);
  if (!given) return cli::report(given.error());
  if (given->ids.empty() != all) {
    return cli::report({ErrorCode::kInvalid, "name jobs, or --all", cli::help_hint("queue")});
  }
  auto queue = open_queue();
  if (!queue) return cli::report(queue.error());
  if (all) {
    auto jobs = queue->store.list(states_named("open"));
    if (!jobs) return cli::report(jobs.error());
    given->ids = ids_of(*jobs);
  }
  return change_jobs(*queue, *given,
                     {[](Store& store, JobId id) { return store.cancel(id); },
                      [](Change change) -> std::string {
                        if (change == Change::kOver) return "is over already";
                        return change == Change::kDone ? "is cancelled" : "is being ended";
                      },
                      [all](Change change) { return all || change != Change::kOver; }});
}

int retry_command(const cli::Invocation& invocation) {
  std::vector<std::string> words;
  cli::Arguments arguments("queue retry", "[options] <jobs>",
                           "Put jobs that are over back into the line.");
  arguments.app().add_option("jobs", words, "Their numbers: 3 5-9")->required();
  arguments.add_json();
  if (auto status = arguments.parse(invocation.arguments)) return *status;
  auto given = parse(arguments, words);
  if (!given) return cli::report(given.error());
  auto queue = open_queue();
  if (!queue) return cli::report(queue.error());
  return change_jobs(*queue, *given,
                     {[](Store& store, JobId id) { return store.retry(id); },
                      [](Change change) -> std::string {
                        return change == Change::kRunning ? "is not over" : "is in line";
                      },
                      [](Change change) { return change != Change::kRunning; }});
}

int clear_command(const cli::Invocation& invocation) {
  std::vector<std::string> words;
  cli::Arguments arguments("queue clear", "[options] [jobs]",
                           "Forget these jobs, or all that are over. Their logs stay.");
  arguments.app().add_option("jobs", words, "Their numbers: 3 5-9");
  arguments.add_json();
  if (auto status = arguments.parse(invocation.arguments)) return *status;
  auto given = parse(arguments, words);
  if (!given) return cli::report(given.error());
  auto queue = open_queue();
  if (!queue) return cli::report(queue.error());
  auto gone = queue->store.clear(given->ids);
  if (!gone) return cli::report(gone.error());
  if (arguments.json()) {
    Json json = json_answer();
    json["cleared"] = *gone;
    return cli::print(cli::to_text(json));
  }
  return cli::print(fmt::format("Cleared {} job{}\n", *gone, *gone == 1 ? "" : "s"));
}

}  // namespace chronos::queue
