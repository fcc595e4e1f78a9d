// Between the commands and the runner: "the queue has changed". Nothing else is said, because the
// database is the truth.
//
// The runner's file is locked by the one runner of a user and says where its socket is. Both ends
// look at the other's user (SO_PEERCRED).
#pragma once

#include <string>

#include "cli/queue/place.hpp"
#include "core/posix.hpp"
#include "core/result.hpp"

namespace chronos::queue {

// Tells a runner that the queue has changed; false where none lives.
Result<bool> tell_runner(const Place& place);
// The same over a connection that stays, to notice the runner's end: readable then. None: no
// runner.
UniqueFd call_runner(const Place& place, const char* word);

// Tells the runner, and starts one first where none lives; returns once it has heard. Errors:
// kSystem (chronosd is missing or fails).
Result<void> ensure_runner(const Place& place);

// The pid of the runner; 0: none.
int runner_pid(const Place& place);

// --- the runner's end ---------------------------------------------------------------------------

class RunnerLink {
 public:
  // Becomes the runner of this place. One that was started on demand is asked to leave; for
  // whoever is not to wait: `patience_ms` 0. Errors: kInUse (another one is there), kSystem.
  static Result<RunnerLink> take(const Place& place, bool on_demand, int patience_ms);

  int fd() const { return listener_.get(); }
  // A connection of this user's, or none.
  UniqueFd accept() const;
  // Nobody reaches us any more; what they wrote until now is in the database.
  void stop_listening();
  Result<void> listen();

 private:
  RunnerLink(Place place, bool on_demand, UniqueFd lock)
      : place_(std::move(place)), on_demand_(on_demand), lock_(std::move(lock)) {}
  Place place_;
  bool on_demand_;
  UniqueFd lock_, listener_;
  std::string socket_;
};

}  // namespace chronos::queue
