// Running a program inside of a partition: `chronos run`, and `chronos doctor -- CMD`.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cli/arguments.hpp"
#include "cli/expiry.hpp"
#include "cli/signals.hpp"
#include "core/launch.hpp"

namespace chronos::cli {

struct RunArguments {
  std::string partitions, device, memory, duration, name, wait;
  std::string on_expiry, warn_before, terminate_after, grace;  // not given: the policy's
  bool partitions_given = false, device_given = false, name_given = false, warn_given = false,
       terminate_given = false, grace_given = false, wait_given = false;
  std::vector<std::string> command;

  std::vector<std::string> variables;  // NAME=value, in its environment
  // Killed with this command: for a program that uses what it holds by other ways than OpenCL too,
  // where nothing refuses it what has gone to somebody else.
  bool die_with_us = false;

  std::string trace_directory;    // where the program's processes write down what they do, if set
  std::function<void()> on_look;  // now and then while it runs, and once when it has ended
  std::function<void(Registry&, const Scope&)> on_end;  // before what was made for it is put away
};

// The options of `chronos run`, written to a RunArguments that outlives them.
class RunOptions {
 public:
  RunOptions(CLI::App& app, RunArguments& given);
  void finish() const;  // after the parsing
  bool any() const;     // whether any of them was given

 private:
  RunArguments& given_;
  std::vector<CLI::Option*> all_;
  CLI::Option *partition_, *device_, *name_, *wait_, *warn_, *terminate_, *grace_;
};

// Takes the command off the end of `arguments`: it begins behind "--", or with the first argument
// that is neither an option nor the value of one. `--wait` may stand without one, and is written
// with `forever` then.
std::vector<std::string> take_command(const CLI::App& app, std::vector<std::string>& arguments);

// For an Expiry: `registry` must outlive it.
WatchedPartition watch(Registry& registry, const PartitionInfo& partition);

// The program's exit status, as `chronos run` has it. Errors: nothing has been started.
Result<int> run_command(const RunArguments& given, const InheritedSignals& signals);
// The same in partitions that were made for it, and that are ended with it.
Result<int> run_in(Registry& registry, Scope scope, const RunArguments& given,
                   const InheritedSignals& signals);

}  // namespace chronos::cli
