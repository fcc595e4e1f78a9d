// spawn shifting|fixed GROUP ROUNDS NAME [VARIABLE=VALUE]... -- COMMAND... [+ NAME ...]: runs the
// commands in turn and says how long each took from its start to its end, and how much time of
// processors it and its children took ("cpu"). Their output goes to /dev/null; a status that is not
// 0 ends the measurement. posix_spawn, so that our own size costs nothing.
#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "tests/bench/minimum.hpp"

namespace {

using namespace chronos::bench;

struct Command {
  std::string name;
  std::vector<std::string> variables;
  std::vector<char*> arguments;    // ends in nullptr
  std::vector<char*> environment;  // ends in nullptr
  std::vector<double> processors;  // their time for each run
};

double nanoseconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_usec) * 1e3;
}

void run(Command& command, const posix_spawn_file_actions_t& actions) {
  pid_t child = 0;
  int status = 0;
  rusage usage{};
  if (::posix_spawnp(&child, command.arguments[0], &actions, nullptr, command.arguments.data(),
                     command.environment.data()) != 0 ||
      ::wait4(child, &status, 0, &usage) != child || status != 0) {
    std::fprintf(stderr, "bench: %s failed (status %d)\n", command.name.c_str(), status);
    std::exit(1);
  }
  command.processors.push_back(nanoseconds(usage.ru_utime) + nanoseconds(usage.ru_stime));
}

std::vector<Command> parse(char** at) {
  std::vector<Command> commands;
  while (*at != nullptr) {
    Command command;
    command.name = *at++;
    for (; *at != nullptr && std::strcmp(*at, "--") != 0; ++at) command.variables.push_back(*at);
    if (*at != nullptr) ++at;
    for (; *at != nullptr && std::strcmp(*at, "+") != 0; ++at) command.arguments.push_back(*at);
    if (*at != nullptr) ++at;
    if (command.arguments.empty()) std::exit(2);
    command.arguments.push_back(nullptr);
    commands.push_back(std::move(command));
  }
  return commands;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 6) {
    std::fprintf(
        stderr,
        "usage: %s shifting|fixed GROUP ROUNDS NAME [VARIABLE=VALUE]... -- COMMAND... [+ ...]\n",
        argv[0]);
    return 2;
  }
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  std::vector<Command> commands = parse(argv + 4);
  std::vector<Way> ways;
  for (Command& command : commands) {
    for (char** entry = environ; *entry != nullptr; ++entry) command.environment.push_back(*entry);
    for (std::string& variable : command.variables) command.environment.push_back(variable.data());
    command.environment.push_back(nullptr);
    ways.push_back({command.name, {}, [&] { run(command, actions); }, {}});
  }
  alternate(ways, std::atoi(argv[3]), 1,
            std::strcmp(argv[1], "fixed") == 0 ? Order::kFixed : Order::kShifting);
  for (std::size_t i = 0; i < ways.size(); ++i) ways[i].processors = commands[i].processors;
  print(argv[2], ways);
  return 0;
}
