// `chronosd`: the runner of a user's queue; and what needs SQLite besides: the supervisors that it
// starts, and the commands that `chronos queue` hands on to it.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <initializer_list>

#include "cli/arguments.hpp"
#include "cli/queue/commands.hpp"
#include "cli/queue/runner.hpp"
#include "cli/queue/supervise.hpp"

namespace chronos::queue {
namespace {

constexpr int kPipeFd = 3;

int run_hook_of(JobId id) {
  auto queue = open_queue();
  if (!queue) return cli::kFailed;
  run_hook(queue->store, id);
  return cli::kDone;
}

int supervise_job(JobId id, std::int64_t attempt, const cli::InheritedSignals& signals) {
  ::fcntl(kPipeFd, F_SETFD, FD_CLOEXEC);
  auto place = Place::open();
  if (!place) return kStoreTrouble;
  return supervise(*place, id, attempt, kPipeFd, signals);
}

struct DaemonArguments {
  RunnerOptions options;
  std::string idle;
  JobId job = 0, hook = 0;
  std::int64_t attempt = 0;
  bool version = false;
  CLI::App app{
      "Starts the jobs of your queue (`chronos queue`) when there is room for them. Runs\n"
      "until it is ended; jobs go on without it, and the next one finds them.",
      "chronosd"};

  DaemonArguments() {
    app.add_flag("--version", version, "Print the version");
    app.add_flag("--on-demand", options.on_demand,
                 "End when there has been nothing to do for a while");
    app.add_option("--idle", idle, "With --on-demand: for so long (60s)")->type_name("T");
    app.add_option("--ready-fd", options.ready_fd)->group("");
    app.add_option("--supervise", job)->group("");
    app.add_option("--attempt", attempt)->group("");
    app.add_option("--hook", hook)->group("");
  }
};

cli::Description description() {
  return cli::describe(DaemonArguments().app, "chronosd", "[options]");
}

int daemon(const std::vector<std::string>& words, const cli::InheritedSignals& signals) {
  DaemonArguments given;
  auto& [options, idle, job, hook, attempt, version, app] = given;
  std::vector<std::string> reversed(words.rbegin(), words.rend());
  try {
    app.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    return cli::print(app.help());
  } catch (const CLI::ParseError& error) {
    return cli::report({ErrorCode::kInvalid, error.what(), "see `chronosd --help`"});
  }
  if (version) return cli::print("chronosd " CHRONOS_VERSION "\n");
  if (job > 0) return supervise_job(job, attempt, signals);
  if (hook > 0) return run_hook_of(hook);
  if (!idle.empty()) {
    auto time = cli::parse_wait(idle);
    if (!time) return cli::report(time.error());
    options.idle_ns = *time;
  }
  auto place = Place::open();
  if (!place) return cli::report(place.error());
  auto ended = Runner::run(*place, options, signals);
  return ended ? *ended : cli::report(ended.error());
}

// Where a standard descriptor is closed, a file of ours must not get its number.
void occupy_standard_descriptors() {
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) == -1) ::open("/dev/null", O_RDWR | O_CLOEXEC);
  }
}

}  // namespace
}  // namespace chronos::queue

int main(int argc, char** argv) {
  using namespace chronos;
  queue::occupy_standard_descriptors();
  const cli::InheritedSignals signals = cli::InheritedSignals::take_over();
  std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
  try {
    if (!words.empty() && words[0] == "queue") {
      words.erase(words.begin());
      return queue::queue_command({std::move(words), signals});
    }
    if (!words.empty() && (words[0] == "complete" || words[0] == "manual")) {
      auto* command = words[0] == "complete" ? queue::complete_command : queue::manual_command;
      words.erase(words.begin());
      return command({std::move(words), signals}, queue::description());
    }
    return queue::daemon(words, signals);
  } catch (const std::exception& error) {  // memory ran out; our own code throws nothing
    return cli::report({ErrorCode::kSystem, error.what(), {}});
  }
}
