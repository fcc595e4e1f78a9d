// The files of partitions: making, marking as ended, and taking away.
#include <fmt/format.h>
#include <sys/stat.h>

#include <memory>

#include "core/crash_point.hpp"
#include "core/partition_files.hpp"
#include "core/slot_judge.hpp"
#include "core/space.hpp"

namespace chronos {
namespace {

// A stranger's counter may push the numbers up, but not to the end of them.
constexpr std::uint64_t kHighestForeignNumber = 1'000'000'000;

struct Counter {
  BootId boot_id;
  std::uint64_t number;
};

template <class T>
std::string_view bytes_of(const T& object) {
  return {reinterpret_cast<const char*>(&object), sizeof object};
}

// Gives the open, unnamed file its name. False with errno set.
bool link_into(const StateDir& state, int fd, const std::string& name) {
  const std::string self = fmt::format("/proc/self/fd/{}", fd);
  if (::linkat(AT_FDCWD, self.c_str(), state.fd(), name.c_str(), AT_SYMLINK_FOLLOW) == 0)
    return true;
  // Without procfs the kernel takes the descriptor itself, from those it trusts.
  return ::linkat(fd, "", state.fd(), name.c_str(), AT_EMPTY_PATH) == 0;
}

bool fill(int fd, std::size_t size, std::string_view head, const FileName& name, uid_t owner) {
  // All of it now: a full tmpfs must be an error here and not a SIGBUS in somebody's program.
  errno = ::posix_fallocate(fd, 0, static_cast<off_t>(size));
  if (errno != 0) return false;
  CHRONOS_POINT(file_sized);
  if (!pwrite_all(fd, head.data(), head.size(), 0) || ::fchmod(fd, 0644) != 0) return false;
  CHRONOS_POINT(file_written);
  if (name.kind == FileKind::kLedger) {
    // Where that fails, everybody who looks at it opens it.
    const timespec times[2] = {kAsMade, kAsMade};
    (void)::futimens(fd, times);
  }
  return owner == ::geteuid() || ::fchown(fd, owner, static_cast<gid_t>(-1)) == 0;
}

}  // namespace

Error file_error(const char* what, const StateDir& state, const FileName& name) {
  int saved = errno;
  ErrorCode code = saved == ENOSPC || saved == EDQUOT ? ErrorCode::kFull : ErrorCode::kSystem;
  std::string hint = code == ErrorCode::kFull ? remedy_for_full(state) : "";
  return {code,
          fmt::format("cannot {} {}/{}: {}", what, state.path(), name.text(), errno_text(saved)),
          hint};
}

// A write changes the time, too, where a sandbox forbids to set it; it is not the first choice
// because under RLIMIT_FSIZE it could end the program with SIGXFSZ. What it writes counts for
// nothing.
bool mark_entered(int ledger_fd) {
  if (::futimens(ledger_fd, nullptr) == 0) return true;
  const std::uint32_t entered = 1;
  return pwrite_all(ledger_fd, &entered, sizeof entered,
                    offsetof(LedgerLayout, header) + offsetof(LedgerHeader, entered));
}

Result<UniqueFd> prepare_file(const StateDir& state, const FileName& name, std::size_t size,
                              std::string_view head, uid_t owner) {
  UniqueFd fd(retry_eintr([&] {
    CHRONOS_FAULT(no_unnamed_files, EOPNOTSUPP, -1);
    return ::openat(state.fd(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0644);
  }));
  if (!fd && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) return UniqueFd();
  if (!fd) return tl::unexpected<Error>(file_error("make", state, name));
  CHRONOS_POINT(file_unnamed);
  if (!fill(fd.get(), size, head, name, owner)) {
    return tl::unexpected<Error>(file_error("make", state, name));
  }
  return fd;
}

namespace {

// Whether the unnamed file has its name now; false where it cannot be had that way.
Result<bool> name_file(const StateDir& state, const FileName& name, const UniqueFd& fd) {
  if (!fd) return false;
  if (link_into(state, fd.get(), name.text())) {
    CHRONOS_POINT(file_named);
    return true;
  }
  if (errno == ENOENT || errno == EPERM || errno == EOPNOTSUPP) return false;
  return tl::unexpected<Error>(file_error("make", state, name));
}

}  // namespace

Result<void> make_file(const StateDir& state, const FileName& name, std::size_t size,
                       std::string_view head, uid_t owner, UniqueFd* locked) {
  const std::string final_name = name.text();
  auto lock = [&](int fd) { return locked == nullptr || try_lock_slot(fd, 0); };
  auto prepared = prepare_file(state, name, size, head, owner);
  if (!prepared) return pass_on(prepared);
  UniqueFd fd = std::move(*prepared);
  if (fd && !lock(fd.get())) return tl::unexpected<Error>(file_error("make", state, name));
  auto named = name_file(state, name, fd);
  if (!named) return pass_on(named);
  if (*named) {
    if (locked != nullptr) *locked = std::move(fd);
    return {};
  }
  // No unnamed files here, or no way to name them: a temporary name, which is swept if we die.
  FileName temporary{::geteuid(), random_token(), FileKind::kTemporary};
  fd.reset(::openat(state.fd(), temporary.text().c_str(),
                    O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR | O_CLOEXEC, 0644));
  if (!fd) return tl::unexpected<Error>(file_error("make", state, name));
  CHRONOS_POINT(temporary_made);
  if (!lock(fd.get()) || !fill(fd.get(), size, head, name, owner) ||
      ::renameat2(state.fd(), temporary.text().c_str(), state.fd(), final_name.c_str(),
                  RENAME_NOREPLACE) != 0) {
    Error error = file_error("make", state, name);
    remove_file(state, temporary);
    return tl::unexpected<Error>(std::move(error));
  }
  CHRONOS_POINT(temporary_renamed);
  if (locked != nullptr) *locked = std::move(fd);
  return {};
}

void remove_file(const StateDir& state, const FileName& name) {
  ::unlinkat(state.fd(), name.text().c_str(), 0);
}

Result<void> make_partition(const StateDir& state, const FileName& grant,
                            const GrantLayout& layout) {
  auto ledger = std::make_unique<LedgerLayout>();
  Ledger::initialise(*ledger, layout.token, layout.boot_id, layout.owner_uid);
  // First, and without a name: the ledger tells which file it is.
  auto prepared = prepare_file(state, grant, kGrantFileSize, bytes_of(layout), ::geteuid());
  if (!prepared) return pass_on(prepared);
  struct stat st {};
  if (*prepared && ::fstat(prepared->get(), &st) == 0) ledger->header.grant_inode = st.st_ino;
  const FileName ledger_name{grant.uid, grant.token, FileKind::kLedger};
  // The slots of a new ledger are all zero, as is the space of a new file.
  auto made = make_file(state, ledger_name, sizeof *ledger, bytes_of(ledger->header), grant.uid);
  if (!made) return made;
  CHRONOS_POINT(ledger_made);
  auto named = name_file(state, grant, *prepared);
  if (!named) {
    made = pass_on(named);
  } else if (!*named) {
    made = make_file(state, grant, kGrantFileSize, bytes_of(layout), ::geteuid());
  }
  CHRONOS_POINT(grant_made);
  if (!made) remove_file(state, ledger_name);
  return made;
}

Result<void> end_grant(const StateDir& state, const FileName& name) {
  // On the very file that is written to: what has another's name or content is left alone.
  auto opened = open_grant(state, name, O_RDWR);
  if (!opened) return pass_on(opened);
  CHRONOS_POINT(grant_ending);
  // Of the eight bytes one changes, so no reader can see half of it.
  const std::uint64_t ended = 1;
  if (!pwrite_all(opened->fd.get(), &ended, sizeof ended, offsetof(GrantLayout, ended))) {
    return tl::unexpected<Error>(file_error("write", state, name));
  }
  return {};
}

Result<void> end_ledger(const StateDir& state, const Grant& grant) {
  const FileName name{grant.owner, grant.token, FileKind::kLedger};
  uid_t owner = 0;
  off_t size = 0;
  auto fd = open_file(state, name, O_RDWR, owner, size);
  if (!fd) return pass_on(fd);
  CHRONOS_POINT(ledger_ending);
  const std::uint64_t ended = 1;
  const bool is_owners = owner == grant.owner || (grant.is_mine && state.users().is_caller(owner));
  if (!is_owners || size != static_cast<off_t>(sizeof(LedgerLayout))) {
    return fail(ErrorCode::kDamaged, "has a damaged ledger");
  }
  if (!pwrite_all(fd->get(), &ended, sizeof ended,
                  offsetof(LedgerLayout, header) + offsetof(LedgerHeader, ended))) {
    return tl::unexpected<Error>(file_error("write", state, name));
  }
  return {};
}

std::uint64_t read_counter(const StateDir& state, const FileName& name) {
  uid_t owner = 0;
  off_t size = 0;
  auto fd = open_file(state, name, O_RDONLY, owner, size);
  Counter counter{};
  // Like everything else that outlived a reboot, a counter of another boot counts for nothing.
  if (!fd || owner != name.uid || !pread_all(fd->get(), &counter, sizeof counter, 0) ||
      counter.boot_id != this_boot()) {
    return 0;
  }
  const bool trusted = owner == 0 || owner == ::geteuid();
  return trusted || counter.number <= kHighestForeignNumber ? counter.number : 0;
}

Result<void> write_counter(const StateDir& state, const std::optional<FileName>& own,
                           std::uint64_t number) {
  const Counter counter{this_boot(), number};
  if (!own) {
    const FileName name{::geteuid(), random_token(), FileKind::kCounter};
    return make_file(state, name, sizeof counter, bytes_of(counter), ::geteuid());
  }
  uid_t owner = 0;
  off_t size = 0;
  auto fd = open_file(state, *own, O_RDWR, owner, size);
  if (!fd) return pass_on(fd);
  CHRONOS_POINT(counter_opened);
  if (owner != ::geteuid() || !pwrite_all(fd->get(), &counter, sizeof counter, 0)) {
    return tl::unexpected<Error>(file_error("write", state, *own));
  }
  return {};
}

}  // namespace chronos
