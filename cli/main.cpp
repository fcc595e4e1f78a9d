// `chronos`: finds the verb and hands it its arguments.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <exception>
#include <string_view>

#include "cli/arguments.hpp"
#include "cli/completion.hpp"
#include "cli/manual.hpp"
#include "cli/verbs.hpp"
#include "core/text.hpp"

namespace chronos::cli {
namespace {

constexpr std::array kVerbs = {
    Verb{"create", "<device> <memory> <duration> [--user U] [--name ID]",
         "reserve memory of a device for a time", create_verb},
    Verb{"list", "", "show the partitions of all users", list_verb},
    Verb{"release", "<id> | --user U | --all", "end partitions before their time is up",
         release_verb},
    Verb{"extend", "<id> <duration>", "move the end of a partition further away", extend_verb},
    Verb{"resize", "<id> <memory> [--drain]", "change the limit of a partition", resize_verb},
    Verb{"stats", "[--refresh] [--processes]", "show every device and its use", stats_verb},
    Verb{"available", "<device>", "print the percentage that is still free", available_verb},
    Verb{"run", "[--partition ID] -- CMD...", "run a program inside of a partition", run_verb},
    Verb{"acquire", "[--gpus N] -- CMD...", "run a program on whole devices, alone", acquire_verb},
    Verb{"queue", "add|list|show|logs|wait|cancel|...", "run jobs when there is room for them",
         queue_verb},
    Verb{"doctor", "[-- CMD...]", "say what works here and what does not, or what a program does",
         doctor_verb},
    Verb{"cdi", "[--write | --output FILE]", "describe partitions to Docker and Podman", cdi_verb},
    Verb{"policy", "check [file] | show [--user U]", "check the policy, or show what it allows",
         policy_verb},
    Verb{"enforce", "on | off | status", "put the shim into every program of this machine (root)",
         enforce_verb},
    Verb{"setup", "[--undo]", "make the state directory of this machine (root)", setup_verb},
};

std::string overview() {
  std::string out =
      "chronos: time-limited partitions of GPU memory\n\n"
      "Usage: chronos <command> [options]\n\n";
  for (const Verb& verb : kVerbs) {
    std::string_view gap = verb.arguments.empty() ? "" : " ";
    out +=
        fmt::format("  chronos {}{}{}\n      {}\n", verb.name, gap, verb.arguments, verb.summary);
  }
  out +=
      "  chronos help [command]\n      print this help, or that of a command\n"
      "  chronos --version\n\n"
      "Examples:\n"
      "  chronos create 0 0.5 3600              half of device 0 for an hour\n"
      "  chronos create 0 4GiB 8h --name train  four GiB for eight hours, known as `train`\n"
      "  chronos run --partition train -- python3 train.py\n"
      "  chronos run --device 0 --memory 2GiB --duration 30m -- ./simulate\n"
      "  chronos release train\n\n"
      "Printing commands take --json, and --color auto|always|never.\n"
      "Environment: CHRONOS_PARTITION, CHRONOS_STATE_DIR, CHRONOS_CONFIG, CHRONOS_LOG,\n"
      "NO_COLOR.\n"
      "Exit status: 0 done, 1 refused or failed, 2 bad usage, 3 no capacity.\n";
  return out;
}

const Verb* find_verb(std::string_view name) {
  for (const Verb& verb : kVerbs) {
    if (verb.name == name) return &verb;
  }
  return nullptr;
}

int unknown_verb(std::string_view name) {
  bool option = name.substr(0, 1) == "-";
  return report({ErrorCode::kInvalid,
                 fmt::format("unknown {} {}", option ? "option" : "command", chronos::quoted(name)),
                 "see `chronos help`"});
}

int help(const Invocation& invocation) {
  if (invocation.arguments.empty()) return print(overview());
  const std::string& name = invocation.arguments.front();
  const Verb* verb = find_verb(name);
  if (verb != nullptr) return verb->run({{"--help"}, invocation.signals});
  if (name == "help" || name == "-h" || name == "--help") return print(overview());
  return unknown_verb(name);
}

// `--color WHEN` may stand before the verb; it is handed on behind it.
std::vector<std::string> take_leading_color(std::vector<std::string>& arguments) {
  std::size_t count = 0;
  while (count < arguments.size() && arguments[count].rfind("--color", 0) == 0) {
    count += arguments[count] == "--color" ? 2 : 1;
  }
  auto end = arguments.begin() + static_cast<std::ptrdiff_t>(std::min(count, arguments.size()));
  std::vector<std::string> taken(arguments.begin(), end);
  arguments.erase(arguments.begin(), end);
  return taken;
}

int dispatch(std::vector<std::string> arguments, const InheritedSignals& signals) {
  std::vector<std::string> color = take_leading_color(arguments);
  if (arguments.empty()) {
    return report({ErrorCode::kInvalid, "no command given", "see `chronos help`"});
  }
  std::string name = arguments.front();
  arguments.erase(arguments.begin());
  if (name == "--version" || name == "-V" || name == "version") {
    return print("chronos " CHRONOS_VERSION "\n");
  }
  if (name == "help" || name == "-h" || name == "--help") return help({arguments, signals});
  // For shells and for the build; in no help.
  if (name == "complete") return complete_verb({arguments, signals}, kVerbs);
  if (name == "manual") return manual_verb({arguments, signals}, kVerbs);
  const Verb* verb = find_verb(name);
  if (verb == nullptr) return unknown_verb(name);
  arguments.insert(arguments.begin(), color.begin(), color.end());
  return verb->run({arguments, signals});
}

// Where a standard descriptor is closed, a file of ours must not get its number and be written to.
// Opened the wrong way round, so that reading or writing it stays an error.
void occupy_standard_descriptors() {
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) == -1) {
      ::open("/dev/null", (fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) | O_CLOEXEC);
    }
  }
}

}  // namespace
}  // namespace chronos::cli

int main(int argc, char** argv) {
  using namespace chronos::cli;
  occupy_standard_descriptors();
  InheritedSignals signals = InheritedSignals::take_over();
  try {
    return dispatch({argv + std::min(argc, 1), argv + argc}, signals);
  } catch (const std::exception& error) {  // memory ran out; our own code throws nothing
    return report({chronos::ErrorCode::kSystem, error.what(), {}});
  }
}
