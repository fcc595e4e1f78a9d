// A job: what somebody asked for, and what has become of it. Values only; any thread.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/process.hpp"
#include "core/report.hpp"
#include "core/result.hpp"
#include "core/units.hpp"

namespace chronos::queue {

using JobId = std::int64_t;

// In the environment of an attempt's processes: what is left of it is known by that.
inline constexpr char kTokenVariable[] = "CHRONOS_JOB_TOKEN";

// The numbers are in the database.
enum class JobState {
  kPending = 0,   // in line
  kStarting = 1,  // a supervisor has it; its program has not been started
  kRunning = 2,   // its program may have been started
  kDone = 3,      // exit status 0
  kFailed = 4,
  kCancelled = 5,
  kLost = 6,  // its supervisor is gone without a word: nobody knows how it ended
};
const char* to_string(JobState state);
bool is_over(JobState state);
// The states that a word stands for ("pending", ..., "over"); empty: none.
std::vector<JobState> states_named(std::string_view word);

// How much of what a job prints is kept: FILE and the older FILE.1 to FILE.<keep>.
struct LogLimits {
  std::uint64_t bytes = std::uint64_t{64} << 20;  // of each; 0: one file without a limit
  unsigned keep = 4;
};

// What was asked for. Never changes.
struct JobSpec {
  std::string name;                        // of its log; empty: "job_<id>"
  std::vector<std::string> command;        // program and arguments, unless:
  std::string shell;                       // a line for the shell
  std::map<std::string, std::string> env;  // above the environment of `queue add`
  std::string directory;                   // where it runs; absolute
  std::string venv;                        // virtual environment; absolute, empty: none
  std::string log_directory;               // absolute; empty: the queue's
  std::string log_file;                    // this file and no other, appended to; absolute
  LogLimits log_limits;
  MemoryAmount memory{1, 0};      // on each of its devices
  unsigned jobs_per_gpu = 0;      // 0: as many as have room
  unsigned gpus = 1;              // how many devices, each of them another one
  std::vector<int> devices;       // of these; empty: of all
  std::uint64_t duration_ns = 0;  // 0: no end but the policy's
  std::int64_t priority = 0;      // higher first
  std::vector<JobId> after;       // starts once these are over
  std::vector<JobId> after_ok;    // starts once these are done, cancelled if one is not
  unsigned retries = 0;
  std::string on_finish;  // a line for the shell, run when it is over

  // What `queue list` shows.
  std::string command_text() const;
  std::string memory_text() const;
};

// As it is stored and shown. from_json() takes what `queue add -` takes, too: `base` is what holds
// where a line says nothing. Errors: kInvalid, naming the key.
Json spec_json(const JobSpec& spec);
Result<JobSpec> spec_from_json(const Json& json, const JobSpec& base = {});
// One line of `queue add -`: a JSON object if it begins with "{", else a line for the shell.
Result<JobSpec> spec_from_line(std::string_view line, const JobSpec& base);
// Whether it can be run at all, as far as that can be said without looking at devices or files.
Result<void> check_spec(const JobSpec& spec);

// Splits "0,2,3"; "any" and "" are all. Errors: kInvalid.
Result<std::vector<int>> parse_devices(std::string_view text);
Result<std::vector<JobId>> parse_job_ids(std::string_view text);
Result<JobId> parse_job_id(std::string_view text);

// What has become of it.
struct Job {
  JobId id = 0;
  JobState state = JobState::kPending;
  bool held = false;    // paused: does not start
  bool cancel = false;  // somebody wants it to end
  std::int64_t priority = 0;
  std::string name, command, memory;
  unsigned gpus = 1;
  std::int64_t attempt = 0;  // of the last that was begun; 0: none
  std::int64_t retries_left = 0;
  std::string devices;  // that it has or had: "0,1"
  std::string log;      // of its last attempt
  std::optional<int> exit_status;
  std::string reason;  // why it is in that state; empty where the state says all
  std::int64_t submitted_ms = 0, started_ms = 0, ended_ms = 0;  // since the epoch; 0: not yet

  // Who supervises it, while it is starting or running.
  std::string boot_id;
  ProcessIdentity supervisor;
  std::string token;  // in the environment of its program, to know what is left of it
};

// One attempt, once it is over.
struct Attempt {
  std::int64_t attempt = 0;
  JobState state = JobState::kFailed;
  std::optional<int> exit_status;
  std::string reason, devices, log;
  std::int64_t started_ms = 0, ended_ms = 0;
};

Json job_json(const Job& job);

// This boot of this machine: after another nothing of what ran before does.
std::string boot_text();

// The wall clock, in milliseconds since the epoch.
std::int64_t wall_ms();

}  // namespace chronos::queue
