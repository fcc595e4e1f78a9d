// Helper programs whose output is captured, with a bound on their time and on their output.
//
// Threads: may be called from any thread of a process that has others (no fork in our code, no
// signal handler, no effect on the signal mask); blocks the caller. The children of the caller's
// other parts are left alone. No zombie is left, nor a process of a child's process group.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

namespace chronos {

struct Command {
  std::string program;                   // absolute path
  std::vector<std::string> arguments;    // without the program's own name
  std::vector<std::string> environment;  // "NAME=value"
};

struct Captured {
  int start_error = 0;        // errno if the program could not be started
  std::string output;         // what it wrote to its standard output, also if it failed later
  bool timed_out = false;     // and was killed
  bool too_much = false;      // wrote more than the limit, and was killed
  bool status_known = false;  // false if the process ignores SIGCHLD: then nobody can know
  int status = 0;             // as from waitpid()
};

// Runs all commands at once, each in a process group of its own with nothing but standard input,
// output and error (all but output are /dev/null). Returns when all have ended or were killed.
std::vector<Captured> run_and_capture(const std::vector<Command>& commands,
                                      std::chrono::milliseconds timeout, std::size_t limit);

}  // namespace chronos
