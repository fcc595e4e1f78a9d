// Wakes when one of some processes ends, whoever they belong to: of a partition that lasts while a
// process lives no file tells when it is over.
//
// Threads: one at a time. Costs a descriptor for each process. Needs pidfds (Linux 5.3).
#pragma once

#include <utility>
#include <vector>

#include "core/posix.hpp"
#include "core/process.hpp"

namespace chronos {

class ProcessWatch {
 public:
  // Watches these and no others. False if one of them cannot be watched: it is gone, or cannot be
  // seen (another pid namespace, hidepid), or the system has nothing for it. The others are.
  bool set(const std::vector<ProcessIdentity>& processes);

  // Can be read once one has ended, until set() leaves it out or finds it ended. The same from the
  // first call on; -1: there can be none.
  int fd();

 private:
  struct Watched {
    ProcessIdentity process;
    UniqueFd ended;
  };
  bool add(const ProcessIdentity& process);

  UniqueFd epoll_;
  std::vector<Watched> watched_;
};

}  // namespace chronos
