// `chronos queue wait` and `logs`: both wait for something in the queue without asking again and
// again: whoever has committed to the database touches its folder, which inotify tells.
#include <fmt/format.h>
#include <poll.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "cli/queue/commands.hpp"
#include "cli/queue/link.hpp"
#include "cli/queue/rotated_log.hpp"
#include "core/text.hpp"

namespace chronos::queue {
namespace {

std::uint64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * kNanosPerSecond +
         static_cast<std::uint64_t>(now.tv_nsec);
}

// Wakes when anybody has changed the queue, or the file `also`.
class Changes {
 public:
  explicit Changes(const Place& place) : watch_(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) {
    ::inotify_add_watch(watch_.get(), place.folder.c_str(),
                        IN_ATTRIB | IN_MODIFY | IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_ONLYDIR);
  }
  // A log that is rotated loses its name, which changes the number of its names. False where there
  // is none of that name, which a file system without links does for a moment.
  bool also(const std::string& file) const {
    return ::inotify_add_watch(watch_.get(), file.c_str(), IN_MODIFY | IN_ATTRIB | IN_MOVE_SELF) >=
           0;
  }
  // False when the time is up. `other` wakes, too, and is -1 for none.
  bool sleep(std::optional<std::uint64_t> until_ns, int other) const {
    int timeout = -1;
    if (until_ns) {
      const std::uint64_t now = now_ns();
      if (now >= *until_ns) return false;
      timeout = static_cast<int>(
          std::min<std::uint64_t>((*until_ns - now) / 1'000'000 + 1, 1'000'000'000));
    }
    std::array<pollfd, 2> waits = {pollfd{watch_.get(), POLLIN, 0}, pollfd{other, POLLIN, 0}};
    ::poll(waits.data(), waits.size(), timeout);
    char buffer[4096];
    while (::read(watch_.get(), buffer, sizeof buffer) > 0) {
    }
    return true;
  }

 private:
  UniqueFd watch_;
};

// A runner lives as long as there is something to run.
class KeptRunner {
 public:
  explicit KeptRunner(const Place& place) : place_(place) {}
  int fd() const { return line_.get(); }
  Result<void> keep() {
    if (line_) {
      pollfd ended{line_.get(), POLLIN, 0};
      if (::poll(&ended, 1, 0) != 1) return {};
    }
    // It may die between two calls.
    for (int tries = 0; tries < 10; ++tries) {
      line_ = call_runner(place_, "changed");
      if (line_) return {};
      auto running = ensure_runner(place_);
      if (!running) return running;
    }
    return {};
  }

 private:
  const Place& place_;
  UniqueFd line_;
};

Result<bool> wait_for(OpenQueue& queue, const std::vector<JobId>& ids,
                      std::optional<std::uint64_t> until_ns) {
  const Changes changes(queue.place);
  KeptRunner runner(queue.place);
  std::size_t first = 0;  // all before it are over
  for (;;) {
    for (; first < ids.size(); ++first) {
      auto job = queue.store.find(ids[first]);
      if (!job) return pass_on(job);
      if (!is_over(job->state)) break;
    }
    if (first == ids.size()) return true;
    auto kept = runner.keep();
    if (!kept) return pass_on(kept);
    if (!changes.sleep(until_ns, runner.fd())) return false;
  }
}

Result<std::vector<JobId>> open_jobs(Store& store) {
  auto jobs = store.list(states_named("open"));
  if (!jobs) return pass_on(jobs);
  std::vector<JobId> ids;
  for (const Job& job : *jobs) {
    if (!job.held) ids.push_back(job.id);
  }
  return ids;
}

int report_waited(OpenQueue& queue, const std::vector<JobId>& ids, bool as_json) {
  bool all_done = true;
  Json json = json_answer();
  json["jobs"] = Json::array();
  for (JobId id : ids) {
    auto job = queue.store.find(id);
    if (!job) return cli::report(job.error());
    all_done = all_done && job->state == JobState::kDone;
    if (as_json) {
      json["jobs"].push_back(job_json(*job));
    } else if (job->state != JobState::kDone) {
      cli::print_error_line(fmt::format("job {} {}{}{}", id, to_string(job->state),
                                        job->reason.empty() ? "" : ": ", job->reason));
    }
  }
  if (as_json && cli::print(cli::to_text(json)) != cli::kDone) return cli::kFailed;
  return all_done ? cli::kDone : cli::kFailed;
}

Result<std::string> log_of(Store& store, const Job& job, std::int64_t attempt) {
  if (attempt == 0 || (attempt == job.attempt && !job.log.empty())) return job.log;
  auto attempts = store.attempts_of(job.id);
  if (!attempts) return pass_on(attempts);
  for (const Attempt& one : *attempts) {
    if (one.attempt == attempt) return one.log;
  }
  return fail(ErrorCode::kNotFound, fmt::format("job {} had no attempt {}", job.id, attempt));
}

Result<void> print_log(JobId id, std::int64_t attempt, bool follow) {
  auto queue = open_queue();
  if (!queue) return pass_on(queue);
  auto spec = queue->store.spec_of(id);
  if (!spec) return pass_on(spec);
  const Changes changes(queue->place);
  KeptRunner runner(queue->place);
  std::optional<LogReader> log;
  std::string opened;
  for (;;) {
    std::optional<std::uint64_t> wake;
    auto job = queue->store.find(id);
    if (!job) return pass_on(job);
    auto path = log_of(queue->store, *job, attempt);
    if (!path) return pass_on(path);
    if (*path != opened && !path->empty()) {
      log.emplace(*path, spec->log_limits.keep);
      opened = *path;
    }
    if (log) {
      // Each time, because a rotation makes it another file.
      if (!changes.also(opened)) wake = now_ns() + kNanosPerSecond / 10;
      auto printed = log->print_news(!follow);
      if (!printed) return printed;
    }
    if (!follow || is_over(job->state)) {
      if (!log && !follow) {
        return fail(ErrorCode::kNotFound,
                    fmt::format("job {} has no log: it is {}", id, to_string(job->state)));
      }
      return {};
    }
    auto kept = runner.keep();
    if (!kept) return pass_on(kept);
    changes.sleep(wake, runner.fd());
  }
}

}  // namespace

int wait_command(const cli::Invocation& invocation) {
  std::vector<std::string> words;
  std::string timeout;
  cli::Arguments arguments("queue wait", "[options] [jobs]",
                           "Wait until these jobs are over, or all that are not paused.");
  arguments.app().add_option("jobs", words, "Their numbers: 3 5-9");
  arguments.app().add_option("--timeout", timeout, "At most so long")->type_name("T");
  arguments.add_json();
  arguments.add_examples("Exit status: 0 if all are done, 1 if one is not, or the time is up.");
  if (auto status = arguments.parse(invocation.arguments)) return *status;
  std::optional<std::uint64_t> until;
  if (!timeout.empty()) {
    auto time = cli::parse_wait(timeout);
    if (!time) return cli::report(time.error());
    until = now_ns() + *time;
  }
  auto ids = parse_ids(words);
  if (!ids) return cli::report(ids.error());
  auto queue = open_queue();
  if (!queue) return cli::report(queue.error());
  if (ids->empty()) {
    ids = open_jobs(queue->store);
    if (!ids) return cli::report(ids.error());
  }
  auto over = wait_for(*queue, *ids, until);
  if (!over) return cli::report(over.error());
  if (!*over) {
    return cli::report({ErrorCode::kCancelled, "the time is up, and jobs are not over",
                        "`chronos queue list --state open` shows them"});
  }
  return report_waited(*queue, *ids, arguments.json());
}

int logs_command(const cli::Invocation& invocation) {
  std::string word;
  bool follow = false;
  std::int64_t attempt = 0;
  cli::Arguments arguments("queue logs", "[options] <job>", "Print what a job has written.");
  arguments.app().add_option("job", word, "Its number")->required();
  arguments.app().add_flag("-f,--follow", follow, "Go on until it is over");
  arguments.app()
      .add_option("--attempt", attempt, "Of this attempt (the last)")
      ->type_name("N")
      ->check(CLI::PositiveNumber);
  if (auto status = arguments.parse(invocation.arguments)) return *status;
  auto id = parse_job_id(word);
  if (!id) return cli::report(id.error());
  auto printed = print_log(*id, attempt, follow);
  return printed ? cli::kDone : cli::report(printed.error());
}

}  // namespace chronos::queue
