// Processes that have a slot and some bytes in a partition, and sleep. They end with this one.
//
// Threads: one. They are forked by the constructor, so make them before any library has threads.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "core/attachment.hpp"
#include "core/registry.hpp"

namespace chronos::bench {

class Holders {
 public:
  explicit Holders(int count);
  Holders(const Holders&) = delete;
  Holders& operator=(const Holders&) = delete;
  // Closes a pipe, which ends them, and waits.
  ~Holders();

  // Returns when each has its slot. Ends the program with a message if one cannot have it.
  void enter(const PartitionInfo& partition);

 private:
  std::vector<pid_t> children_;
  int go_ = -1;     // the partition's token for each
  int ready_ = -1;  // a byte from each
  int end_ = -1;    // closed at the end
};

// A partition of `device` for this process, which ends with it. Ends the program with a message.
PartitionInfo make_partition(const Device& device);

// This process's place in a partition of the caller's. Ends the program with a message.
Attachment& enter_partition(const std::string& token);

}  // namespace chronos::bench
