// A stand-in for the shared region of HAMi-core, written from its described algorithm as it was
// until February 2026: one process-shared semaphore, waited for with a deadline, whose holder
// leaves its name. An allocation adds up under it what every process's record says for the device
// and compares with the limit; takes it again to find its own record and add to it; a free finds
// and subtracts. No more than that: no log, no list of allocations, so it costs less than the real
// one. Between its two steps others can be let in as well: it does not quite hold what it checks.
//
// Threads and processes: any number, after initialise(). In memory that they share, zeroed.
#pragma once

#include <semaphore.h>
#include <sys/time.h>

#include <atomic>
#include <cstdint>

namespace chronos::bench {

class LockAndScan {
 public:
  void initialise(std::uint64_t limit) {
    ::sem_init(&lock_, 1, 1);
    limit_ = limit;
  }

  // Records are never given back.
  bool enter(std::int32_t pid) {
    const Locked locked(*this, pid);
    if (count_ == kRecords) return false;
    records_[count_++].pid = pid;
    return true;
  }

  bool charge(std::int32_t pid, std::uint64_t size) {
    if (used(pid) + size > limit_) return false;
    const Locked locked(*this, pid);
    each_of(pid, [size](Device& device) {
      device.used += size;
      device.kinds[0] += size;
    });
    return true;
  }

  void credit(std::int32_t pid, std::uint64_t size) {
    const Locked locked(*this, pid);
    each_of(pid, [size](Device& device) {
      device.used -= size;
      device.kinds[0] -= size;
    });
  }

 private:
  static constexpr int kRecords = 1024;
  static constexpr int kDevices = 16;
  static constexpr int kPatienceSeconds = 10;
  struct Device {
    std::uint64_t used = 0;
    std::uint64_t kinds[7] = {};  // of what, and more: a record is as wide as there
  };
  struct Record {
    std::int32_t pid = 0;
    Device devices[kDevices];
  };

  class Locked {
   public:
    Locked(LockAndScan& region, std::int32_t pid) : region_(region) {
      timeval now{};
      ::gettimeofday(&now, nullptr);
      const timespec until{now.tv_sec + kPatienceSeconds, 0};
      while (::sem_timedwait(&region.lock_, &until) != 0) {
      }
      region.holder_.store(pid);
    }
    ~Locked() {
      region_.holder_.store(0);
      ::sem_post(&region_.lock_);
    }

   private:
    LockAndScan& region_;
  };

  std::uint64_t used(std::int32_t pid) {
    const Locked locked(*this, pid);
    std::uint64_t sum = 0;
    for (int i = 0; i < count_; ++i) sum += records_[i].devices[0].used;
    return sum;
  }

  template <class Change>
  void each_of(std::int32_t pid, Change change) {
    for (int i = 0; i < count_; ++i) {
      if (records_[i].pid == pid) change(records_[i].devices[0]);
    }
  }

  sem_t lock_;
  std::atomic<std::int32_t> holder_{0};
  std::uint64_t limit_ = 0;
  int count_ = 0;
  Record records_[kRecords];
};

}  // namespace chronos::bench
