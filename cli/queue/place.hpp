// Where a user's queue is: `chronos` in $XDG_STATE_HOME (without it ~/.local/state). Only its user
// may look into it, because environments of jobs hold secrets.
//
//   queue.db          the jobs (with queue.db-wal, queue.db-shm: SQLite's own)
//   runner            locked by the one chronosd of this user; says where its socket is
//   runner.log        what chronosd did
//   attempts/J.A      attempt A of job J: locked by its supervisor as long as that lives
//   logs/             the output of jobs that did not name another folder
#pragma once

#include <cstdint>
#include <string>

#include "core/result.hpp"

namespace chronos::queue {

struct Place {
  std::string folder;

  std::string database() const { return folder + "/queue.db"; }
  std::string runner_file() const { return folder + "/runner"; }
  std::string runner_log() const { return folder + "/runner.log"; }
  std::string attempts() const { return folder + "/attempts"; }
  std::string attempt_file(std::int64_t job, std::int64_t attempt) const;
  std::string logs() const { return folder + "/logs"; }

  // The folder, whether it is there or not. Errors: kSystem (no home).
  static Result<std::string> find();
  // Finds it and makes what is missing of it. Errors: kSystem (no home, not writable),
  // kPermission (the folder is somebody else's).
  static Result<Place> open();
  // The same in a folder of the caller's choice.
  static Result<Place> open_at(const std::string& folder);
};

// A path in a message: whole, because its end says most.
std::string path_text(const std::string& path);

}  // namespace chronos::queue
