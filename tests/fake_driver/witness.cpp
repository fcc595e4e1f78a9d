#include "tests/fake_driver/witness.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <new>

namespace chronos::fake {
namespace {

constexpr int kTotalBits = 44;
constexpr int kSlotBits = 9;
constexpr int kSequenceBits = 29;
// How often a request that is over the limit looks for the dead before that counts. Each time
// something has changed meanwhile, so only where the limit does not hold does it come to this.
constexpr int kPasses = 1000;
constexpr std::uint32_t kSequenceMask = (std::uint32_t{1} << kSequenceBits) - 1;
constexpr int kPidBits = 22;
constexpr int kStartBits = 18;
constexpr int kPlaceBits = 16;
constexpr int kNamespaceBits = 64 - kPidBits - kStartBits - kPlaceBits;

template <int kBits>
constexpr std::uint64_t low(Word128 word) {
  return static_cast<std::uint64_t>(word) & ((std::uint64_t{1} << kBits) - 1);
}

// GCC has no lock-free std::atomic of 16 bytes that works between processes; the builtin is
// one instruction (and also the only way to load 16 bytes at once). ThreadSanitizer would put a
// lock of its own process in its place, which other processes do not see: it must stay out.
[[gnu::noinline]] __attribute__((no_sanitize("thread"))) Word128 swap_if(Word128* word,
                                                                         Word128 expected,
                                                                         Word128 desired) {
  return __sync_val_compare_and_swap(word, expected, desired);
}
Word128 load(Word128* word) { return swap_if(word, 0, 0); }

Word128 cell_of(std::uint64_t bytes, std::uint32_t sequence) {
  return (static_cast<Word128>(sequence) << 64) | bytes;
}
std::uint64_t cell_bytes(Word128 cell) { return static_cast<std::uint64_t>(cell); }
std::uint32_t cell_sequence(Word128 cell) { return static_cast<std::uint32_t>(cell >> 64); }

void raise_to(std::atomic<std::uint64_t>& mark, std::uint64_t value) {
  std::uint64_t seen = mark.load(std::memory_order_relaxed);
  while (seen < value && !mark.compare_exchange_weak(seen, value)) {
  }
}

pid_t identity_pid(std::uint64_t identity) { return static_cast<pid_t>(low<kPidBits>(identity)); }
std::uint64_t identity_namespace(std::uint64_t identity) {
  return identity >> (64 - kNamespaceBits);
}
std::uint64_t identity_place(std::uint64_t identity) {
  return identity >> (kPidBits + kStartBits) & ((1u << kPlaceBits) - 1);
}
std::uint64_t identity_start(std::uint64_t identity) {
  return identity >> kPidBits & ((1u << kStartBits) - 1);
}

bool complain(const std::string& path, const char* what) {
  std::fprintf(stderr, "fake driver: witness %s: %s: %s\n", path.c_str(), what,
               errno != 0 ? std::strerror(errno) : "not as expected");
  return false;
}

// Several users may share a witness: the mode is set past the umask, and an existing file is never
// opened with O_CREAT (fs.protected_regular forbids that in sticky directories).
UniqueFd open_shared(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd && errno == ENOENT) {
    fd.reset(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (fd) {
      fchmod(fd.get(), 0666);
    } else if (errno == EEXIST) {
      fd.reset(open(path.c_str(), O_RDWR | O_CLOEXEC));
    }
  }
  return fd;
}

}  // namespace

Word128 Witness::pack(const Head& head) {
  Word128 word = static_cast<Word128>(head.amount) << (kTotalBits + kSlotBits + kSequenceBits + 1);
  word |= static_cast<Word128>(head.over) << (kTotalBits + kSlotBits + kSequenceBits);
  word |= static_cast<Word128>(head.sequence) << (kTotalBits + kSlotBits);
  word |= static_cast<Word128>(head.slot) << kTotalBits;
  return word | head.total;
}

Witness::Head Witness::unpack(Word128 word) {
  Head head;
  head.total = low<kTotalBits>(word);
  head.slot = static_cast<std::uint32_t>(low<kSlotBits>(word >> kTotalBits));
  head.sequence = static_cast<std::uint32_t>(low<kSequenceBits>(word >> (kTotalBits + kSlotBits)));
  head.over = (word >> (kTotalBits + kSlotBits + kSequenceBits) & 1) != 0;
  head.amount = static_cast<std::int64_t>(static_cast<__int128_t>(word) >>
                                          (kTotalBits + kSlotBits + kSequenceBits + 1));
  return head;
}

bool Witness::attach() {
  notice_fork();
  if (file_.load(std::memory_order_acquire) != nullptr) return true;
  const std::lock_guard<std::mutex> guard(attaching_);
  return file_.load(std::memory_order_acquire) != nullptr || attach_locked();
}

bool Witness::attach_locked() {
  namespace_ = pid_namespace() & ((1u << kNamespaceBits) - 1);
  if (config_.witness.empty()) {
    void* memory = mmap(nullptr, sizeof(WitnessFile), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return complain("(private)", "cannot be mapped");
    mapped_ = static_cast<WitnessFile*>(memory);
    initialise();
  } else if (!open_file() || !open_lock_file()) {
    return false;
  }
  // A child must not look as if it held what its parent holds.
  madvise(mapped_, sizeof(WitnessFile), MADV_DONTFORK);
  if (unforked_ == nullptr) {
    constexpr std::size_t kPage = 4096;
    void* page = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return complain("(fork marker)", "cannot be mapped");
    if (madvise(page, kPage, MADV_WIPEONFORK) == 0) {
      unforked_ = new (page) std::atomic<std::uint32_t>(1);
    } else {
      munmap(page, kPage);
    }
  }
  if (!register_process()) return false;
  file_.store(mapped_, std::memory_order_release);
  return true;
}

bool Witness::open_file() {
  errno = 0;
  const UniqueFd fd = open_shared(config_.witness);
  if (!fd) return complain(config_.witness, "cannot be opened");
  // Only who finds it unfinished takes the lock: somebody may be stopped or killed in it.
  struct stat info {};
  if (fstat(fd.get(), &info) != 0) return complain(config_.witness, "cannot be examined");
  if (static_cast<std::size_t>(info.st_size) >= sizeof(WitnessFile)) {
    if (!map_file()) return false;
    if (std::atomic_ref(mapped_->header.magic).load() != 0) return check_header();
    munmap(mapped_, sizeof(WitnessFile));
  }
  if (retry_eintr([&] { return flock(fd.get(), LOCK_EX); }) != 0) {
    return complain(config_.witness, "cannot be locked");
  }
  if (fstat(fd.get(), &info) != 0) return complain(config_.witness, "cannot be examined");
  if (static_cast<std::size_t>(info.st_size) < sizeof(WitnessFile) &&
      ftruncate(fd.get(), sizeof(WitnessFile)) != 0) {
    return complain(config_.witness, "cannot be extended");
  }
  return map_file() && initialise();
}

// Through a descriptor of its own: a mapping keeps the open file, and with it its lock, alive.
bool Witness::map_file() {
  const UniqueFd fd(open(config_.witness.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd) return complain(config_.witness, "cannot be opened again");
  void* memory =
      mmap(nullptr, sizeof(WitnessFile), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (memory == MAP_FAILED) return complain(config_.witness, "cannot be mapped");
  mapped_ = static_cast<WitnessFile*>(memory);
  mapping_key_ = mapping_key(mapped_);
  if (mapping_key_.empty()) return complain(config_.witness, "is not in /proc/self/maps");
  return true;
}

// Under flock, or on private memory. The magic number is written last: a creator killed half-way
// leaves a file that the next one fills in again.
bool Witness::initialise() {
  WitnessHeader& header = mapped_->header;
  std::atomic_ref<std::uint64_t> magic(header.magic);
  const auto devices = static_cast<std::uint32_t>(config_.devices.size());
  if (magic.load(std::memory_order_acquire) == 0) {
    header.version = kWitnessVersion;
    header.device_count = devices;
    for (std::uint32_t i = 0; i < devices; ++i) {
      WitnessDevice& device = mapped_->devices[i];
      device.limit.store(config_.devices[i].witness_limit_bytes);
      std::snprintf(device.name, sizeof device.name, "%s", config_.devices[i].name.c_str());
    }
    magic.store(kWitnessMagic, std::memory_order_release);
  }
  return check_header();
}

bool Witness::check_header() {
  const WitnessHeader& header = mapped_->header;
  const auto devices = static_cast<std::uint32_t>(config_.devices.size());
  errno = 0;
  if (header.magic != kWitnessMagic || header.version != kWitnessVersion) {
    return complain(config_.witness, "is not a witness file of this version");
  }
  if (header.device_count != devices) {
    return complain(config_.witness, "was made for another number of devices");
  }
  return true;
}

// In a file of its own, since closing any descriptor of a file drops the process's record locks on
// it, and a test may well read the witness from inside the process that it watches.
bool Witness::open_lock_file() {
  lock_ = open_shared(config_.witness + ".lock");
  return lock_ ? true : complain(config_.witness + ".lock", "cannot be opened");
}

bool Witness::register_process() {
  const auto pid = static_cast<std::uint64_t>(getpid());
  const std::uint64_t identity = pid | start_of(getpid()) << kPidBits |
                                 place_of(mapped_) << (kPidBits + kStartBits) |
                                 namespace_ << (64 - kNamespaceBits);
  reap_dead();
  for (int attempt = 0; attempt < 2; ++attempt) {
    for (slot_ = 0; slot_ < kWitnessSlots; ++slot_) {
      // The lock first: whoever may not look at our mappings has only that to go by.
      if (mapped_->slots[slot_].identity.load() != 0) continue;
      if (lock_ && !lock_slot(F_WRLCK)) {
        if (errno != EAGAIN && errno != EACCES) return complain(config_.witness, "cannot lock");
        continue;
      }
      std::uint64_t free = 0;
      if (mapped_->slots[slot_].identity.compare_exchange_strong(free, identity)) return true;
      if (lock_) lock_slot(F_UNLCK);
    }
    reap_dead();
  }
  errno = ENOSPC;
  return complain(config_.witness, "has no free slot");
}

bool Witness::lock_slot(short type) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = slot_;
  lock.l_len = 1;
  errno = 0;
  return fcntl(lock_.get(), F_SETLK, &lock) == 0;
}

// Carries the announced operation into its slot's cell, unless that is done or it is history.
void Witness::carry(std::uint32_t device, Word128 announced) {
  WitnessDevice& shared = mapped_->devices[device];
  const Head head = unpack(announced);
  if (head.sequence == 0) return;
  raise_to(shared.high_water, head.total);
  Word128* cell = &mapped_->cells[head.slot][device].word;
  const Word128 before = load(cell);
  if (cell_sequence(before) == head.sequence || load(&shared.head) != announced) return;
  if (head.over) {
    const std::uint64_t limit = shared.limit.load();  // may have been raised since
    raise_to(shared.worst_excess, head.total > limit ? head.total - limit : 1);
  }
  // `announced` was the last operation while `before` was read, so `before` lacks it; if another
  // process carries it in now, this swap fails.
  const std::uint64_t bytes = cell_bytes(before) + static_cast<std::uint64_t>(head.amount);
  swap_if(cell, before, cell_of(bytes, head.sequence));
}

bool Witness::announce(std::uint32_t device, Word128 before, std::uint32_t slot,
                       std::int64_t amount, bool over) {
  Head head = unpack(before);
  head.over = over;
  head.total += static_cast<std::uint64_t>(amount);
  head.slot = slot;
  head.amount = amount;
  head.sequence = head.sequence == kSequenceMask ? 1 : head.sequence + 1;
  const Word128 after = pack(head);
  if (swap_if(&mapped_->devices[device].head, before, after) != before) return false;
  carry(device, after);
  return true;
}

bool Witness::add(std::uint32_t device, std::uint64_t bytes, std::uint64_t cap) {
  if (!attach()) return false;
  WitnessDevice& shared = mapped_->devices[device];
  cap = std::min(cap, (std::uint64_t{1} << kTotalBits) - 1);
  // The limit is read first and the dead are looked for after: what was in force then, and who was
  // alive then, is what the request is judged by. While another operation comes in between, or one
  // of the dead is taken out, this says nothing yet.
  int passes = 0;
  bool looked = false;
  for (;;) {
    const std::uint64_t limit = shared.limit.load();
    Word128 before = load(&shared.head);
    carry(device, before);
    const std::uint64_t total = unpack(before).total + bytes;
    const bool over = limit != 0 && total > limit;
    if (over && total <= cap && passes < kPasses) {
      reap_dead();
      ++passes;
      if (load(&shared.head) != before) continue;
    } else if (!looked && (total > cap || total > shared.high_water.load())) {
      reap_dead();
      looked = true;
      continue;
    }
    if (total > cap) return false;
    if (!announce(device, before, slot_, static_cast<std::int64_t>(bytes), over)) continue;
    if (over) shared.over_limit.fetch_add(1);
    shared.allocations.fetch_add(1, std::memory_order_relaxed);
    return true;
  }
}

void Witness::remove(std::uint32_t device, std::uint64_t bytes) {
  WitnessDevice& shared = mapped_->devices[device];
  Word128 before;
  do {
    before = load(&shared.head);
    carry(device, before);
  } while (!announce(device, before, slot_, -static_cast<std::int64_t>(bytes)));
  shared.frees.fetch_add(1, std::memory_order_relaxed);
}

std::uint64_t Witness::total(std::uint32_t device) {
  return attach() ? unpack(load(&mapped_->devices[device].head)).total : 0;
}

void Witness::reap_dead() {
  for (std::uint32_t slot = 0; slot < kWitnessSlots; ++slot) {
    const std::uint64_t identity = mapped_->slots[slot].identity.load();
    if (identity != 0 && is_dead(slot, identity)) reap(slot, identity);
  }
}

// Any number of processes may reap one slot at once: each withdrawal is an operation on the head,
// so it happens once, and never to a new owner of the slot, whose first operation moves the head.
void Witness::reap(std::uint32_t slot, std::uint64_t identity) {
  WitnessSlot& owner = mapped_->slots[slot];
  for (std::uint32_t device = 0; device < mapped_->header.device_count; ++device) {
    for (;;) {
      const Word128 before = load(&mapped_->devices[device].head);
      carry(device, before);
      if (owner.identity.load() != identity) return;
      const std::uint64_t bytes = cell_bytes(load(&mapped_->cells[slot][device].word));
      if (bytes == 0 && load(&mapped_->devices[device].head) == before) break;
      if (bytes != 0 && announce(device, before, slot, -static_cast<std::int64_t>(bytes))) break;
    }
  }
  owner.identity.compare_exchange_strong(identity, 0);
}

bool Witness::is_dead(std::uint32_t slot, std::uint64_t identity) {
  const pid_t pid = identity_pid(identity);
  const bool is_visible = identity_namespace(identity) == namespace_;
  if (is_visible) {
    // Before this process is registered, a slot with its pid is left from a namesake or from what
    // this process was before exec.
    if (pid == getpid()) return file_.load(std::memory_order_acquire) == nullptr;
    switch (
        process_liveness(pid, mapping_key_, {identity_start(identity), identity_place(identity)})) {
      case Liveness::kAlive:
        return false;
      case Liveness::kDead:
        return true;
      case Liveness::kUnknown:
        break;
    }
  }
  if (!lock_) return false;
  struct flock probe {};
  probe.l_type = F_WRLCK;
  probe.l_whence = SEEK_SET;
  probe.l_start = slot;
  probe.l_len = 1;
  if (fcntl(lock_.get(), F_GETLK, &probe) != 0) return false;
  // It may be held for a moment by one who wants the slot.
  return probe.l_type == F_UNLCK || (is_visible && probe.l_pid != pid);
}

void Witness::forget_in_child() {
  new (&attaching_) std::mutex;  // a thread that exists no more may have held it
  file_.store(nullptr, std::memory_order_release);
  mapped_ = nullptr;  // gone: MADV_DONTFORK
  // Not closed: the program may have done so, and opened a file of its own under the number.
  static_cast<void>(lock_.release());
  generation_.fetch_add(1, std::memory_order_acq_rel);
  if (unforked_ != nullptr) unforked_->store(1);
}

}  // namespace chronos::fake
