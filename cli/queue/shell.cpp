// What shells and the build ask of chronosd: completion and the manual.
#include <sys/stat.h>

#include "cli/completion.hpp"
#include "cli/manual.hpp"
#include "cli/queue/commands.hpp"

namespace chronos::queue {
namespace {

class KnownWithJobs : public cli::Known {
 public:
  std::vector<cli::Candidate> jobs() const override {
    // Opening a queue makes one where there is none, which to press a key shall not do.
    auto folder = Place::find();
    struct stat status {};
    if (!folder || ::stat(Place{*folder}.database().c_str(), &status) != 0) return {};
    auto queue = open_queue();
    if (!queue) return {};
    auto jobs = queue->store.list({});
    if (!jobs) return {};
    std::vector<cli::Candidate> found;
    for (const Job& job : *jobs) {
      found.push_back({std::to_string(job.id), std::string(to_string(job.state)) + " " +
                                                   (job.name.empty() ? job.command : job.name)});
    }
    return found;
  }
};

cli::Completion complete_queue(const std::vector<std::string>& words, std::size_t offset,
                               const cli::InheritedSignals& signals) {
  if (words.size() == 1) {
    return cli::complete_name(queue_commands(), words[0], {{"--help", "Print an overview"}});
  }
  for (const cli::Verb& command : queue_commands()) {
    if (command.name != words[0]) continue;
    auto description = cli::describe(command, signals);
    if (!description) break;
    return cli::complete(*description, {words.begin() + 1, words.end()}, offset + 1,
                         KnownWithJobs());
  }
  return {};
}

}  // namespace

int complete_command(const cli::Invocation& invocation, const cli::Description& daemon) {
  const std::size_t before = cli::leading_color(invocation.arguments);
  const std::vector<std::string> words(
      invocation.arguments.begin() + static_cast<std::ptrdiff_t>(before),
      invocation.arguments.end());
  if (words.size() > 1 && words[0] == "queue") {
    return cli::print(
        complete_queue({words.begin() + 1, words.end()}, before + 1, invocation.signals).text());
  }
  return cli::print(cli::complete(daemon, words, before, KnownWithJobs()).text());
}

int manual_command(const cli::Invocation& invocation, const cli::Description& daemon) {
  auto request = cli::parse_manual_request(invocation.arguments);
  if (!request) return cli::report(request.error());
  if (request->verb != "queue") {
    return cli::print(cli::manual_page(daemon, "chronosd", "run the jobs of the Chronos queue",
                                       request->settings));
  }
  std::vector<cli::Description> descriptions;
  for (const cli::Verb& command : queue_commands()) {
    if (auto one = cli::describe(command, invocation.signals)) {
      descriptions.push_back(std::move(*one));
    }
  }
  return cli::print(cli::manual_overview("chronos queue", "run jobs when there is room for them",
                                         queue_commands(), descriptions, request->settings));
}

}  // namespace chronos::queue
