// Processes of a command that the shim is not in, and why. As far as can be known: a process that
// ends between two looks is not seen.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "cli/process_tree.hpp"

namespace chronos::cli {

// Why the dynamic linker brings no LD_PRELOAD into a program; empty if it does. `path` is that of
// an ELF file or of a script. For a script, its interpreter is what counts.
std::string why_not_preloaded(const std::string& path);

class UncoveredProcesses {
 public:
  // `shim`: the path in LD_PRELOAD.
  explicit UncoveredProcesses(std::string shim);

  // The program that is about to be started, found as execvpe() finds it.
  void judge_command(const std::string& program);
  // All living descendants of this process.
  void look();

  struct Found {
    std::string program, why;
    unsigned processes = 0;  // seen; 0: the command itself, judged by its file
  };
  std::vector<Found> found() const;

 private:
  void judge(const Process& process);
  void add(const std::string& program, const std::string& why, bool seen);

  std::string shim_, self_;
  std::map<std::pair<pid_t, std::uint64_t>, std::string> judged_;  // and the program it was then
  std::vector<Found> found_;
};

}  // namespace chronos::cli
