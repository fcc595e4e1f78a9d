// A stand-in for the shared region of HAMi-core, written from its described algorithm: one
// process-shared semaphore for all, under which an allocation adds up what every process's record
// says for the device, compares with the limit and adds to its own, and a free takes it away again.
// No more than that: no log, no list of allocations, no second lock for it, so it costs less than
// the real one. It enforces, and it is not safe: a process that is killed in between keeps the
// lock.
//
// Threads and processes: any number, after place(). In memory that they share, zeroed.
#pragma once

#include <semaphore.h>

#include <cstdint>

namespace chronos::bench {

class LockAndScan {
 public:
  void initialise(std::uint64_t limit) {
    ::sem_init(&lock_, 1, 1);
    limit_ = limit;
  }

  // The caller's record. Records are never given back.
  int enter(std::int32_t pid) {
    ::sem_wait(&lock_);
    const int record = count_ < kRecords ? count_++ : -1;
    if (record >= 0) records_[record].pid = pid;
    ::sem_post(&lock_);
    return record;
  }

  bool charge(int record, std::uint64_t size) {
    ::sem_wait(&lock_);
    std::uint64_t used = 0;
    for (int i = 0; i < count_; ++i) used += records_[i].devices[0].used;
    const bool fits = used + size <= limit_;
    if (fits) records_[record].devices[0].used += size;
    ::sem_post(&lock_);
    return fits;
  }

  void credit(int record, std::uint64_t size) {
    ::sem_wait(&lock_);
    records_[record].devices[0].used -= size;
    ::sem_post(&lock_);
  }

 private:
  static constexpr int kRecords = 1024;
  static constexpr int kDevices = 16;
  struct Device {
    std::uint64_t used = 0;
    std::uint64_t kinds[7] = {};  // of what, and more: a record is as wide as there
  };
  struct Record {
    std::int32_t pid = 0;
    Device devices[kDevices];
  };

  sem_t lock_;
  std::uint64_t limit_ = 0;
  int count_ = 0;
  Record records_[kRecords];
};

}  // namespace chronos::bench
