#include "core/attachment.hpp"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <initializer_list>
#include <new>

#include "core/clock.hpp"
#include "core/crash_point.hpp"
#include "core/mapped_file.hpp"
#include "core/partition_files.hpp"
#include "core/slot_judge.hpp"
#include "core/units.hpp"

namespace chronos {
namespace {

namespace ipc = boost::interprocess;

tl::unexpected<Error> about(const StateDir& state, const FileName& name, Error error) {
  if (error.code != ErrorCode::kSystem && error.code != ErrorCode::kPermission) {
    error.message = fmt::format("{}/{} {}", state.path(), name.text(), error.message);
  }
  return tl::unexpected<Error>(std::move(error));
}

}  // namespace

Attachment::Attachment(const Grant& grant, std::string directory, std::string ledger_name)
    : grant_(grant), directory_(std::move(directory)), ledger_name_(std::move(ledger_name)) {}

Attachment::~Attachment() = default;

Result<std::unique_ptr<Attachment>> Attachment::attach(const StateDir& state, const Grant& grant) {
  const FileName grant_name{grant.owner, grant.token, FileKind::kGrant};
  const FileName ledger_name{grant.owner, grant.token, FileKind::kLedger};
  uid_t owner = 0;
  off_t size = 0;
  auto grant_fd = open_file(state, grant_name, O_RDONLY, owner, size);
  if (!grant_fd) return about(state, grant_name, std::move(grant_fd.error()));
  struct stat st {};
  const bool is_same =
      owner == grant.shown_creator &&
      (grant.inode == 0 || (::fstat(grant_fd->get(), &st) == 0 && st.st_ino == grant.inode));
  if (!is_same || size != static_cast<off_t>(kGrantFileSize)) {
    return about(state, grant_name, {ErrorCode::kDamaged, "was changed", ""});
  }
  auto ledger_fd = open_file(state, ledger_name, O_RDWR, owner, size);
  if (!ledger_fd) return about(state, ledger_name, std::move(ledger_fd.error()));
  if (size != static_cast<off_t>(sizeof(LedgerLayout))) {
    return about(state, ledger_name, {ErrorCode::kDamaged, "is truncated", ""});
  }
  CHRONOS_POINT(attach_opened);
  auto checked = read_ledger(state, grant);
  if (!checked) return about(state, ledger_name, std::move(checked.error()));

  std::unique_ptr<Attachment> self(new Attachment(grant, state.path(), ledger_name.text()));
  ::fstat(ledger_fd->get(), &st);
  self->ledger_device_ = st.st_dev;
  self->ledger_inode_ = st.st_ino;
  // Another copy of this library may be at work in the process, in a namespace of its own
  // (dlmopen): what is under our name in the ledger is then its, and no leftover of an exec, which
  // unmaps all.
  KernelJudge judge(ledger_fd->get());
  self->has_siblings_ = judge.owner_maps_ledger(this_process()) != Liveness::kDead;
  auto grant_region = map_file(grant_fd->get(), ipc::read_only, kGrantFileSize);
  if (!grant_region) return about(state, grant_name, std::move(grant_region.error()));
  auto ledger_region = map_file(ledger_fd->get(), ipc::read_write, sizeof(LedgerLayout));
  if (!ledger_region) return about(state, ledger_name, std::move(ledger_region.error()));
  CHRONOS_POINT(attach_mapped);
  self->grant_region_ = std::move(*grant_region);
  self->ledger_region_ = std::move(*ledger_region);
  auto* layout = static_cast<GrantLayout*>(self->grant_region_->get_address());
  self->terms_ = {&layout->limit_bytes, &layout->ended, &layout->deadline_ns, grant.most_bytes,
                  grant.latest_deadline_ns};
  self->ledger_ = Ledger(static_cast<LedgerLayout*>(self->ledger_region_->get_address()));
  // What this process held before an exec is gone, but from now on it maps the ledger again and so
  // looks to others as if it held it still.
  if (!self->has_siblings_) judge.before_first_claim_of(this_process());
  self->ledger_.reclaim(judge);
  CHRONOS_POINT(attach_reclaimed);
  return self;
}

// A program may have closed descriptors that are not its own and opened others under their
// numbers: look before using one.
bool Attachment::is_ledger(int fd) const {
  struct stat st {};
  return fd >= 0 && ::fstat(fd, &st) == 0 && st.st_dev == ledger_device_ &&
         st.st_ino == ledger_inode_;
}

UniqueFd Attachment::open_ledger(int flags) const {
  const std::string path = directory_ + "/" + ledger_name_;
  UniqueFd fd(retry_eintr([&] { return ::open(path.c_str(), flags | O_NOFOLLOW | O_CLOEXEC); }));
  return is_ledger(fd.get()) ? std::move(fd) : UniqueFd();
}

// Takes a slot for this process. nullptr when there is one, else why there is none.
const char* Attachment::claim() {
  std::lock_guard guard(claiming_);  // the slots' locks do not exclude threads of one process
  if (slot_.load() != 0) return nullptr;
  UniqueFd fd = open_ledger(O_RDWR);
  if (!fd) {
    return errno == EMFILE || errno == ENFILE ? "no file descriptor is left"
                                              : "its ledger can no longer be opened";
  }
  if (ledger_.layout().header.slots_high.load() == 0 && !mark_entered(fd.get())) {
    return "its ledger cannot be written";
  }
  const ProcessIdentity self = this_process();
  KernelJudge judge(fd.get());
  if (!has_siblings_) judge.before_first_claim_of(self);
  ledger_.reclaim(judge);
  for (std::size_t i = 0; i < kLedgerSlots; ++i) {
    const auto owner = OwnerWord::unpack(ledger_.layout().slots[i].owner.load());
    if (owner.state != SlotState::kFree) continue;
    // Whoever may read the file may read-lock it, and must not keep its owner out with that.
    const bool locked = try_lock_slot(fd.get(), i);
    if (!locked && judge.lock_is_held(i)) continue;
    CHRONOS_POINT(claim_locked);
    SlotRef slot;
    if (ledger_.claim_slot(i, self, slot, locked)) {
      lock_fd_ = fd.release();
      CHRONOS_POINT(claim_lock_kept);
      slot_.store(pack(slot));
      CHRONOS_POINT(claim_done);
      return nullptr;
    }
    unlock_slot(fd.get(), i);
  }
  return "too many processes share it";
}

bool Attachment::reclaim() {
  std::lock_guard guard(claiming_);
  UniqueFd fresh;
  if (!is_ledger(lock_fd_)) fresh = open_ledger(O_RDONLY);
  const int fd = fresh ? fresh.get() : lock_fd_;
  if (!is_ledger(fd)) return false;
  KernelJudge judge(fd);
  const std::uint64_t slot = slot_.load();
  return ledger_.reclaim(judge, slot != 0 ? unpack(slot).index : kLedgerSlots);
}

// The first charge of this process, or the first after a refusal.
Attachment::Outcome Attachment::charge_with_care(std::uint64_t size) {
  if (slot_.load() == 0) {
    if (const char* why = claim()) return {Verdict::kSlotLost, why};
  }
  const SlotRef slot = unpack(slot_.load());
  const bool was_refused = refused_.load(std::memory_order_relaxed);
  const Verdict verdict = ledger_.charge(slot, size, terms_, was_refused);
  if (verdict != Verdict::kAdmitted) return after_refusal(slot, size, verdict);
  if (was_refused) refused_.store(false, std::memory_order_relaxed);
  return {};
}

Attachment::Outcome Attachment::after_refusal(SlotRef slot, std::uint64_t size, Verdict verdict) {
  if (verdict == Verdict::kOverLimit && size <= limit() && reclaim()) {
    CHRONOS_POINT(refusal_reclaimed);
    verdict = ledger_.charge(slot, size, terms_, true);
  }
  const bool refused = verdict != Verdict::kAdmitted;
  if (refused != refused_.load(std::memory_order_relaxed)) {
    refused_.store(refused, std::memory_order_relaxed);
  }
  if (verdict == Verdict::kSlotLost) return {verdict, "this process lost its place in it"};
  return {verdict, nullptr};
}

// Stores through a mapping make no event, but somebody in line may be waiting for these bytes.
void Attachment::tell_who_waits() const {
  const int saved = errno;
  const std::string path = directory_ + "/" + ledger_name_;
  CHRONOS_POINT(waiters_untold);
  ::utimensat(AT_FDCWD, path.c_str(), nullptr, AT_SYMLINK_NOFOLLOW);
  CHRONOS_POINT(waiters_told);
  errno = saved;
}

unsigned Attachment::sharers() const {
  unsigned count = 0;
  for (const LedgerSlot& slot : ledger_.layout().slots) {
    count += OwnerWord::unpack(slot.owner.load()).state == SlotState::kLive ? 1 : 0;
  }
  return count;
}

bool Attachment::is_over() const {
  if (terms_.ended->load() != 0 || ledger_.ended()) return true;
  // Well past it, so that the coarse clock of a charge agrees. Nothing extends what has ended.
  const std::uint64_t deadline = std::min(terms_.deadline->load(), terms_.latest_deadline);
  return deadline < UINT64_MAX - kNanosPerSecond && boot_now() > deadline + kNanosPerSecond;
}

// Of a slot that was taken from us it cannot be told.
bool Attachment::holds_nothing() const {
  const std::uint64_t slot = slot_.load();
  if (slot == 0) return true;
  const SlotRef own = unpack(slot);
  const auto word = BytesWord::unpack(ledger_.layout().slots[own.index].bytes.load());
  return word.generation == own.generation && word.bytes == 0;
}

bool Attachment::retire_if_over() {
  std::lock_guard guard(claiming_);
  // In this order: what is announced after the look at `ended` is refused.
  if (!is_over() || !holds_nothing()) return false;
  if (is_ledger(lock_fd_)) ::close(lock_fd_);
  lock_fd_ = -1;
  // Zeros in the place of the files: a limit of nothing and a deadline long past.
  for (auto* region : {grant_region_.get(), ledger_region_.get()}) {
    ::mmap(region->get_address(), region->get_size(), PROT_READ | PROT_WRITE,
           MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  }
  return true;
}

void Attachment::after_fork() {
  // Only closed, never unlocked: the lock is the parent's too.
  CHRONOS_POINT(fork_noticed);
  if (is_ledger(lock_fd_)) ::close(lock_fd_);
  CHRONOS_POINT(fork_lock_closed);
  lock_fd_ = -1;
  slot_.store(0);
  refused_.store(false);
  new (&claiming_) std::mutex;  // a thread that does not exist here may have held it
}

}  // namespace chronos
