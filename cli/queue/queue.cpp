#include <fmt/format.h>

#include <array>
#include <charconv>
#include <string_view>

#include "cli/queue/commands.hpp"
#include "core/text.hpp"

namespace chronos::queue {
namespace {

using Command = cli::Verb;

constexpr std::array kCommands = {
    Command{"add", "[options] -- CMD... | -", "put a job into the queue, or one for each line read",
            add_command},
    Command{"list", "[--state S]", "show the jobs", list_command},
    Command{"show", "<job>", "show all about a job", show_command},
    Command{"logs", "<job> [--follow]", "print what a job has written", logs_command},
    Command{"wait", "[jobs] [--timeout T]", "wait until jobs are over", wait_command},
    Command{"cancel", "<jobs> | --all", "take jobs out of the line, or end them", cancel_command},
    Command{"pause", "[jobs]", "start nothing, or not these", pause_command},
    Command{"resume", "[jobs]", "the end of a pause", resume_command},
    Command{"retry", "<jobs>", "put jobs that are over back into the line", retry_command},
    Command{"clear", "[jobs]", "forget jobs that are over", clear_command},
};

std::string overview() {
  std::string out =
      "Run jobs when there is room for them, each in partitions of its own.\n\n"
      "Usage: chronos queue <command> [options]\n\n";
  for (const Command& command : kCommands) {
    out += fmt::format("  chronos queue {} {}\n      {}\n", command.name, command.arguments,
                       command.summary);
  }
  out +=
      "\nExamples:\n"
      "  chronos queue add --memory 8GiB --duration 2h -- python3 train.py\n"
      "  chronos queue add --gpus 2 --name big --retries 1 -- ./simulate\n"
      "  chronos queue add --jobs-per-gpu 2 - < jobs.txt   a shell line or JSON object a line\n"
      "  chronos queue wait && chronos queue list\n\n"
      "The runner, chronosd, is started when it is needed, and outlived by the jobs; it may be a\n"
      "service of yours as well (`systemctl --user enable --now chronosd`).\n"
      "`chronos queue COMMAND --help` has the options. Printing commands take --json.\n"
      "Exit status: 0 done, 1 refused or failed, 2 bad usage, 3 no capacity.\n";
  return out;
}

}  // namespace

std::span<const cli::Verb> queue_commands() { return kCommands; }

Result<OpenQueue> open_queue() {
  auto place = Place::open();
  if (!place) return pass_on(place);
  auto store = Store::open(*place);
  if (!store) return pass_on(store);
  return OpenQueue{std::move(*place), std::move(*store)};
}

Result<std::vector<JobId>> parse_ids(const std::vector<std::string>& words) {
  constexpr JobId kMost = 1'000'000;
  std::vector<JobId> ids;
  for (const std::string& word : words) {
    const std::size_t dash = word.find('-', 1);
    auto first = parse_job_id(word.substr(0, dash));
    if (!first) return pass_on(first);
    auto last = dash == word.npos ? first : parse_job_id(word.substr(dash + 1));
    if (!last) return pass_on(last);
    if (*last < *first || *last - *first > kMost) {
      return fail(ErrorCode::kInvalid, "invalid jobs " + chronos::quoted(word));
    }
    for (JobId id = *first; id <= *last; ++id) ids.push_back(id);
  }
  return ids;
}

int queue_command(const cli::Invocation& invocation) {
  std::vector<std::string> arguments = invocation.arguments;
  // `--color WHEN` may stand before the command; it is handed on behind it.
  std::vector<std::string> color;
  while (!arguments.empty() && arguments[0].starts_with("--color")) {
    const std::size_t count = arguments[0] == "--color" && arguments.size() > 1 ? 2 : 1;
    auto end = arguments.begin() + static_cast<std::ptrdiff_t>(count);
    color.insert(color.end(), arguments.begin(), end);
    arguments.erase(arguments.begin(), end);
  }
  if (arguments.empty()) {
    return cli::report({ErrorCode::kInvalid, "no command given", "see `chronos queue --help`"});
  }
  const std::string name = arguments[0];
  if (name == "--help" || name == "-h" || name == "help") return cli::print(overview());
  for (const Command& command : kCommands) {
    if (command.name != name) continue;
    color.insert(color.end(), arguments.begin() + 1, arguments.end());
    return command.run({std::move(color), invocation.signals});
  }
  return cli::report({ErrorCode::kInvalid, "unknown queue command " + chronos::quoted(name),
                      "see `chronos queue --help`"});
}

}  // namespace chronos::queue
