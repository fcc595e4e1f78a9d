#include "core/slot_judge.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include <cerrno>

namespace chronos {
namespace {

struct flock slot_lock(short type, std::size_t index) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(index);
  lock.l_len = 1;
  return lock;
}

}  // namespace

KernelJudge::KernelJudge(int fd, std::optional<uid_t> only_uid) : fd_(fd), only_uid_(only_uid) {
  struct stat st {};
  if (::fstat(fd, &st) == 0) {
    device_ = st.st_dev;
    inode_ = st.st_ino;
  }
}

// Asks for a read lock: a stranger can take one of those on anybody's file, and must not make a
// slot look alive with it. A question that fails counts as held.
bool KernelJudge::lock_is_held(std::size_t index) {
  struct flock lock = slot_lock(F_RDLCK, index);
  return ::fcntl(fd_, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

bool KernelJudge::pid_is_gone(pid_t pid) { return ::kill(pid, 0) != 0 && errno == ESRCH; }

Liveness KernelJudge::owner_lives(const ProcessIdentity& owner) {
  if (unclaimed_ && *unclaimed_ == owner) return Liveness::kDead;
  Liveness alive = liveness_of(owner);
  if (alive == Liveness::kAlive && only_uid_ && !may_run_as(owner.pid, *only_uid_)) {
    return Liveness::kDead;
  }
  return alive;
}

Liveness KernelJudge::owner_maps_ledger(const ProcessIdentity& owner) {
  return maps_file(owner.pid, device_, inode_);
}

bool try_lock_slot(int fd, std::size_t index) {
  struct flock lock = slot_lock(F_WRLCK, index);
  return ::fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

void unlock_slot(int fd, std::size_t index) {
  struct flock lock = slot_lock(F_UNLCK, index);
  ::fcntl(fd, F_OFD_SETLK, &lock);
}

}  // namespace chronos
