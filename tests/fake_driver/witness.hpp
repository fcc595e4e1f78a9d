// Counts what the driver really holds, per process and in total per device, in a place of its own.
//
// The auditor's promise: `over_limit` and `high_water` count what living processes hold, and no
// interleaving of living processes hides an excess, since totals come from one atomic word. An
// allocation counts as over the limit only if there was an instant, after it had begun, at which it
// and what processes alive then held were together above the limit in force then. `high_water` is
// as exact but for a process that dies while another's allocation is under way: it may be in it.
//
// Threads: all members may be called from any thread. Nothing waits for another process once
// the file exists; its creation is under flock. A forked child starts with nothing and registers
// itself at its first allocation.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "core/posix.hpp"
#include "tests/fake_driver/config.hpp"
#include "tests/fake_driver/liveness.hpp"
#include "tests/fake_driver/witness_layout.hpp"

namespace chronos::fake {

class Witness {
 public:
  // `config` must outlive this.
  explicit Witness(const Config& config) : config_(config) {}

  // Maps the file, creating it at need, and registers this process. False after a line on stderr.
  bool attach();

  // Records `bytes` more on `device`; false (and nothing recorded) if the total would pass `cap`.
  bool add(std::uint32_t device, std::uint64_t bytes, std::uint64_t cap);
  // Takes back what add() recorded in this process.
  void remove(std::uint32_t device, std::uint64_t bytes);
  // Total of all processes on `device`, those that died unnoticed included.
  std::uint64_t total(std::uint32_t device);

  // Changes at fork: what was recorded under another generation belongs to the parent.
  std::uint32_t generation() {
    notice_fork();
    return generation_.load(std::memory_order_acquire);
  }
  void forget_in_child();

 private:
  struct Head {
    std::uint64_t total = 0;
    std::uint32_t slot = 0;
    std::uint32_t sequence = 0;
    std::int64_t amount = 0;
    bool over = false;  // this operation went over the limit
  };

  static Word128 pack(const Head& head);
  static Head unpack(Word128 word);

  // A child made without fork handlers (_Fork, a raw clone) finds a page that the kernel wiped.
  void notice_fork() {
    if (unforked_ != nullptr && unforked_->load() == 0) forget_in_child();
  }
  bool attach_locked();
  bool open_file();
  bool map_file();
  bool check_header();
  bool initialise();
  bool open_lock_file();
  bool register_process();
  bool lock_slot(short type);  // of this process
  void carry(std::uint32_t device, Word128 announced);
  bool announce(std::uint32_t device, Word128 before, std::uint32_t slot, std::int64_t amount,
                bool over = false);
  void reap_dead();
  void reap(std::uint32_t slot, std::uint64_t identity);
  bool is_dead(std::uint32_t slot, std::uint64_t identity);

  const Config& config_;
  std::mutex attaching_;
  std::atomic<WitnessFile*> file_{nullptr};
  std::atomic<std::uint32_t> generation_{1};
  std::uint32_t slot_ = 0;
  std::uint64_t namespace_ = 0;
  std::string mapping_key_;
  UniqueFd lock_;  // holds a record lock on byte `slot_`: not inherited by fork, dropped by exec
  WitnessFile* mapped_ = nullptr;
  std::atomic<std::uint32_t>* unforked_ = nullptr;
};

}  // namespace chronos::fake
