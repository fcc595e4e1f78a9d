// The runner: starts jobs when there is room for them. One process for each user, one thread, which
// sleeps until something happens: a command says that the queue has changed, a supervisor ends,
// memory comes back, a deadline passes.
//
// Everything that it knows is in the database, so it may be killed at any instruction: the next one
// adopts what runs. A supervisor is forked first and given its partitions second; if the runner
// dies in between, the supervisor reads the end of its pipe and goes, and the partitions with it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cli/queue/link.hpp"
#include "cli/queue/notify.hpp"
#include "cli/queue/place.hpp"
#include "cli/queue/runner_log.hpp"
#include "cli/queue/schedule.hpp"
#include "cli/queue/store.hpp"
#include "cli/signals.hpp"
#include "core/inventory.hpp"
#include "core/posix.hpp"
#include "core/process_watch.hpp"
#include "core/registry.hpp"
#include "core/reservation.hpp"

namespace chronos::queue {

struct RunnerOptions {
  bool on_demand = false;  // ends when there has been nothing to do for a while
  std::uint64_t idle_ns = 60'000'000'000;
  int ready_fd = -1;  // closed once the runner can be reached
};

class Runner {
 public:
  // Errors: those of its parts; nothing has been started.
  static Result<int> run(const Place& place, const RunnerOptions& options,
                         const cli::InheritedSignals& signals);

 private:
  // A supervisor: ours (a child that we reap) or one that an earlier runner has left.
  struct Child {
    std::int64_t attempt = 0;
    pid_t pid = 0;
    ProcessIdentity identity;
    UniqueFd ended;      // pidfd
    UniqueFd hand_over;  // while it waits for its partitions
    bool is_ours = true;
    bool told_to_end = false;
    unsigned jobs_per_gpu = 0;
  };

  Runner(const Place& place, const RunnerOptions& options, Store store, Registry registry,
         RunnerLink link, const cli::InheritedSignals& signals);

  // --- runner.cpp: what happens ---------------------------------------------------------------
  Result<int> loop();
  void sleep_and_react();
  void react_to_signals();
  void accept_clients();
  void serve(std::size_t place);
  bool read_watch();
  std::optional<std::uint64_t> next_wake_ns() const;
  bool may_leave();

  // --- runner_plan.cpp: what is to be started -------------------------------------------------
  void pass();
  bool has_devices();
  std::vector<DeviceLoad> loads(const std::vector<PartitionInfo>& partitions,
                                const std::map<JobId, unsigned>& jobs_per_gpu);
  Candidate candidate_of(const Store::InLine& one) const;
  ReserveRequest request_for(const Store::InLine& one, const std::vector<int>& devices,
                             const Child& child) const;
  bool start(const Store::InLine& one, const std::vector<int>& devices);
  void stand_in_line(const Store::InLine& head);
  void leave_line();
  void look_at_line();
  void watch_memory(bool wanted);
  bool others_are_in_the_way(const std::vector<PartitionInfo>& partitions,
                             const Store::InLine& head) const;
  void wake_when_there_is_room(const std::vector<PartitionInfo>& partitions, std::uint64_t now);

  // --- runner_children.cpp: supervisors -------------------------------------------------------
  Result<void> recover();
  void adopt(const Job& job);
  void settle(const Job& seen);
  void child_ended(JobId id);
  Result<Child*> fork_supervisor(const Store::InLine& one);
  Result<pid_t> fork_self(const std::vector<std::string>& arguments, int keep_fd,
                          ProcessIdentity* identity);
  void hand_over(JobId id, const std::vector<PartitionInfo>& partitions);
  void dismiss(JobId id);
  void end_cancelled(const std::vector<Job>& active);
  void start_hooks();
  void hold_back(const std::string& why);

  Place place_;
  RunnerOptions options_;
  Store store_;
  Registry registry_;
  RunnerLink link_;
  const cli::InheritedSignals& inherited_;
  RunnerLog log_;
  Notifier notifier_;

  std::vector<Device> devices_;
  std::map<JobId, Child> children_;
  struct Hook {
    pid_t pid = 0;
    UniqueFd ended;
  };
  std::map<JobId, Hook> hooks_;
  std::vector<UniqueFd> clients_;
  UniqueFd signals_, watch_;
  ProcessWatch holders_;  // whose end frees memory, while somebody waits for some

  // The head's place in the line of all users, while others have memory that it could use.
  struct InLineFor {
    JobId job = 0;
    Reservation reservation;
  };
  std::optional<InLineFor> in_line_;

  bool look_again_ = true;  // the queue or the memory may have changed
  bool leaving_ = false;
  bool work_left_ = false;  // jobs that are not over and not paused
  std::uint64_t idle_since_ = 0;
  std::optional<std::uint64_t> wake_at_;  // a deadline of somebody's partition
  std::uint64_t soon_ns_ = 0;             // until the next look after an event, doubling
  std::uint64_t held_back_until_ = 0;     // after starts that failed for a reason of this machine
  std::uint64_t hold_back_ns_ = 0;
  std::string trouble_;  // what this pass found wrong
};

}  // namespace chronos::queue
