// The supervisor of one attempt of one job: a process of its own, in a session of its own, that
// outlives the runner. It claims the attempt, runs the program in the partitions that it holds,
// stores how it ended, and runs the finish hook.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/queue/job.hpp"
#include "cli/queue/place.hpp"
#include "cli/queue/store.hpp"
#include "cli/signals.hpp"

namespace chronos::queue {

// What the exit status of a supervisor says to the runner.
enum SupervisorExit : int {
  kSupervised = 0,     // the database says the rest
  kNotNeeded = 1,      // not handed over, or somebody else has the job
  kStoreTrouble = 75,  // the database or the disk would not have it: try again later
};

// What the runner writes down the pipe, on one line; nothing: the supervisor is not needed.
std::string hand_over_text(const std::vector<std::string>& handles);

int supervise(const Place& place, JobId id, std::int64_t attempt, int pipe_fd,
              const cli::InheritedSignals& signals);

// Runs the finish hook of a job that is over, unless somebody has; for at most ten minutes.
void run_hook(Store& store, JobId id);

// Ends what is left of an attempt whose supervisor died: processes with `token` in their
// environment.
void end_leftovers(const std::string& token);

}  // namespace chronos::queue
