// All processes that descend from one, from /proc, and how to end them.
//
// A subreaper's descendants stay below it whatever they do: a child whose parent dies becomes the
// subreaper's, so neither setsid() nor a double fork leads out. One thread only.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace chronos::cli {

struct Process {
  pid_t pid = 0, parent = 0;
  char state = '?';           // as in /proc/PID/stat
  long threads = 1;           // a first thread that has ended is a zombie though others run
  std::uint64_t started = 0;  // clock ticks after boot: tells a reused pid apart

  bool is_dead() const { return (state == 'Z' && threads <= 1) || state == 'X'; }
};

// Every process that can be seen. Empty if /proc is not there, or is of another pid namespace: then
// its numbers mean others here, and nobody may be signalled by them.
std::vector<Process> all_processes();

// The living descendants of `ancestor` among `processes`, zombies left out (their children kept).
std::vector<Process> descendants_of(pid_t ancestor, const std::vector<Process>& processes);

// Sends `signal` if `process` is still the one that was seen. False if it is gone or not ours.
bool signal_process(const Process& process, int signal);

// A descendant that is left alone, with all below it; asked for at each look. 0, or no function:
// nobody.
using Spared = std::function<pid_t()>;

// Sends `signal` to each living descendant of the caller, also those that are born meanwhile, and
// wakes those that are stopped so that they can act on it. `told` has got the signal already.
void signal_tree(int signal, pid_t told = 0, const Spared& spared = {});

// Kills every descendant of the caller, which must be a subreaper with SIGCHLD blocked, and waits
// until the last is gone. Returns those that were still there after `patience_ns` without any
// change: only what is stuck in the kernel, or belongs to a user whom the caller may not signal.
// Where /proc cannot be used, only `child` is killed, a child that has not been collected.
std::vector<Process> kill_tree(std::uint64_t patience_ns, pid_t child = 0,
                               const Spared& spared = {});

}  // namespace chronos::cli
