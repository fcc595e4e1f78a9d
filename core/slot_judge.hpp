// Asks the kernel about the slots of one ledger file: locks, processes, mappings.
#pragma once

#include <sys/types.h>

#include <optional>

#include "core/ledger.hpp"

namespace chronos {

class KernelJudge final : public SlotJudge {
 public:
  // `fd` is an open descriptor of the ledger, for reading at least, and must outlive the judge.
  // With `only_uid`, processes that do not run as that user count as dead: the owner of a foreign
  // ledger may have written anybody's pid there.
  explicit KernelJudge(int fd, std::optional<uid_t> only_uid = std::nullopt);

  // From here on, slots of `self` are leftovers of the program that ran in this process before
  // exec(): this one has claimed none yet. No lock is asked for, because a forked child may have
  // kept the old one, and the file is mapped again.
  void before_first_claim_of(const ProcessIdentity& self) { unclaimed_ = self; }

  bool lock_is_held(std::size_t index) override;
  bool pid_is_gone(pid_t pid) override;
  Liveness owner_lives(const ProcessIdentity& owner) override;
  Liveness owner_maps_ledger(const ProcessIdentity& owner) override;

 private:
  int fd_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
  std::optional<uid_t> only_uid_;
  std::optional<ProcessIdentity> unclaimed_;
};

// Takes the kernel's lock on slot `index` through `fd`, without waiting. The lock is the open file
// description's: never map through the same one, and close it in a forked child.
bool try_lock_slot(int fd, std::size_t index);
void unlock_slot(int fd, std::size_t index);

}  // namespace chronos
