// The queue: all jobs of one user, on the disk. What stands here is the truth; whoever holds
// something else in memory (the runner) holds a copy.
//
// A job's way: pending -> starting -> running -> done, failed, cancelled or lost; back to pending
// where retries are left. Each step of an attempt names the attempt and the state that it leads out
// of, in one transaction: of two processes that take the same step one is told that it came too
// late. So a job is started by exactly one supervisor, however many runners die in between.
//
// Threads, forks and failure: see database.hpp.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cli/queue/database.hpp"
#include "cli/queue/job.hpp"
#include "cli/queue/place.hpp"
#include "core/result.hpp"

namespace chronos::queue {

// How an attempt ended.
struct Outcome {
  JobState state = JobState::kFailed;  // kDone or kFailed; a cancelled job's becomes kCancelled
  std::optional<int> exit_status;
  std::string reason;
};

// What an attempt is begun with.
struct AttemptClaim {
  JobId job = 0;
  std::int64_t attempt = 0;
  std::string boot_id;
  ProcessIdentity supervisor;
  std::string token;
  std::string devices;
};

struct Counts {
  std::uint64_t pending = 0, held = 0, active = 0, over = 0;
};

class Store {
 public:
  static Result<Store> open(const Place& place);

  // --- what users do ---------------------------------------------------------------------------

  // All or none, in this order. `environment`: NAME=value entries, each ended by a zero byte.
  // Errors: kInvalid (a job that is to be waited for is not there).
  Result<std::vector<JobId>> add(const std::vector<JobSpec>& specs, const std::string& environment);

  // By id; empty `states`: all.
  Result<std::vector<Job>> list(const std::vector<JobState>& states);
  // Errors: kNotFound.
  Result<Job> find(JobId id);
  Result<JobSpec> spec_of(JobId id);
  Result<std::string> environment_of(JobId id);
  Result<std::vector<Attempt>> attempts_of(JobId id);
  struct Need {
    JobId job = 0;
    bool ok = false;
    JobState state = JobState::kPending;
  };
  Result<std::vector<Need>> needs_of(JobId id);

  // What `cancel`, `pause`, `resume` and `retry` found. Errors: kNotFound.
  enum class Change { kDone, kAsked, kAlready, kOver, kRunning };
  Result<Change> cancel(JobId id);
  Result<Change> hold(JobId id, bool held);
  Result<Change> retry(JobId id);
  // Takes away jobs that are over and that nobody waits for, of these or (empty) all; how many.
  // Errors: kNotFound, kInUse (one is not over, or is waited for).
  Result<std::uint64_t> clear(const std::vector<JobId>& ids);

  // The whole queue: nothing starts.
  Result<void> set_paused(bool paused);
  Result<bool> is_paused();
  // Why nothing starts although it could: the runner's word. Empty: all is well.
  Result<void> set_trouble(const std::string& trouble);
  Result<std::string> trouble();

  Result<Counts> counts();

  // --- what the runner and its supervisors do --------------------------------------------------

  struct InLine {
    Job job;
    JobSpec spec;
  };
  // The first jobs in line that wait for no other, best first.
  Result<std::vector<InLine>> line(std::size_t limit);
  // Jobs that a supervisor has, or had.
  Result<std::vector<Job>> active();
  // Cancels what can never start, because a job that it needs was not done. The number.
  Result<std::uint64_t> cancel_hopeless();

  // Each true if this call took the step, false if it came too late.
  Result<bool> claim(const AttemptClaim& claim);  // pending -> starting
  Result<bool> mark_running(JobId id, std::int64_t attempt, const std::string& log);
  Result<bool> give_back(JobId id, std::int64_t attempt);  // starting -> pending
  Result<bool> finish(JobId id, std::int64_t attempt, const Outcome& outcome);
  Result<bool> lose(JobId id, std::int64_t attempt, const std::string& reason);

  // Jobs whose finish hook is to be run; to begin it is to take it.
  Result<std::vector<JobId>> hooks_due();
  Result<bool> take_hook(JobId id);

  // Changes whenever another process has changed anything.
  Result<std::int64_t> version();

 private:
  explicit Store(Database database) : database_(std::move(database)) {}
  Result<std::vector<Job>> select(const std::string& where);
  Result<std::int64_t> environment(const std::string& data);
  Result<void> add_needs(JobId id, const JobSpec& spec);
  Result<bool> end(const Job& job, const Outcome& outcome);

  Database database_;
};

}  // namespace chronos::queue
