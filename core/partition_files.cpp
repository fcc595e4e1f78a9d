#include "core/partition_files.hpp"

#include <dirent.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <memory>

#include "core/crash_point.hpp"
#include "core/slot_judge.hpp"
#include "core/space.hpp"

namespace chronos {
namespace {

constexpr std::string_view kPrefix = "chronos.";
constexpr std::array<std::string_view, 6> kKinds = {"grant", "ledger", "counter",
                                                    "tmp",   "ticket", "devices"};
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

Error cannot(const char* what, const StateDir& state, const FileName& name) {
  int saved = errno;
  ErrorCode code = saved == ENOSPC || saved == EDQUOT ? ErrorCode::kFull : ErrorCode::kSystem;
  std::string hint = code == ErrorCode::kFull ? remedy_for_full(state) : "";
  return {code,
          fmt::format("cannot {} {}/{}: {}", what, state.path(), name.text(), errno_text(saved)),
          hint};
}

// Gives the open, unnamed file its name. False with errno set.
bool link_into(const StateDir& state, int fd, const std::string& name) {
  const std::string self = fmt::format("/proc/self/fd/{}", fd);
  if (::linkat(AT_FDCWD, self.c_str(), state.fd(), name.c_str(), AT_SYMLINK_FOLLOW) == 0)
    return true;
  // Without procfs the kernel takes the descriptor itself, from those it trusts.
  return ::linkat(fd, "", state.fd(), name.c_str(), AT_EMPTY_PATH) == 0;
}

// The time of a ledger that is as it was made. Whoever enters or ends it writes to it, and so the
// kernel sets another.
constexpr timespec kAsMade{0, 0};

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

GrantWords words_of(const GrantLayout& layout) {
  return {layout.limit_bytes.load(), layout.deadline_ns.load(), layout.draining_bytes.load()};
}

// The kernel may copy a word bytewise while somebody stores to it: what two readings agree on is
// whole. Who changes the words all the time has only himself to blame for what is made of them.
bool read_layout(int fd, GrantLayout& layout) {
  if (!pread_all(fd, &layout, sizeof layout, 0)) return false;
  constexpr std::size_t kAt = offsetof(GrantLayout, limit_bytes);
  char* words = reinterpret_cast<char*>(&layout) + kAt;
  char again[sizeof layout - kAt];
  for (int attempt = 0; attempt < 8; ++attempt) {
    if (!pread_all(fd, again, sizeof again, kAt)) return false;
    if (std::memcmp(words, again, sizeof again) == 0) break;
    std::memcpy(words, again, sizeof again);
  }
  return true;
}

}  // namespace

std::string FileName::text() const { return path().text; }

FileName::Path FileName::path() const {
  constexpr char kDigits[] = "0123456789abcdef";
  Path path;
  static_assert(sizeof path.text > kPrefix.size() + 10 + 1 + 2 * sizeof token + 1 + 7);
  char* to = std::copy(kPrefix.begin(), kPrefix.end(), path.text);
  to = std::to_chars(to, to + 10, uid).ptr;
  *to++ = '.';
  for (const std::uint8_t byte : token) {
    *to++ = kDigits[byte >> 4];
    *to++ = kDigits[byte & 15];
  }
  *to++ = '.';
  const std::string_view suffix = kKinds[static_cast<std::size_t>(kind)];
  *std::copy(suffix.begin(), suffix.end(), to) = '\0';
  return path;
}

std::optional<FileName> FileName::parse(std::string_view text) {
  if (!text.starts_with(kPrefix)) return std::nullopt;
  text.remove_prefix(kPrefix.size());
  std::size_t dot = text.find('.');
  if (dot == std::string_view::npos || text.size() < dot + 2 + 2 * Token{}.size())
    return std::nullopt;
  FileName name;
  auto [end, error] = std::from_chars(text.data(), text.data() + dot, name.uid);
  if (error != std::errc{} || end != text.data() + dot) return std::nullopt;
  // With zeros in front, anybody could give a second name to a file of somebody else's, which would
  // count twice.
  if (dot > 1 && text.front() == '0') return std::nullopt;
  text.remove_prefix(dot + 1);
  if (!parse_token(text.substr(0, 2 * name.token.size()), name.token)) return std::nullopt;
  text.remove_prefix(2 * name.token.size());
  if (text.empty() || text.front() != '.') return std::nullopt;
  const auto* kind = std::find(kKinds.begin(), kKinds.end(), text.substr(1));
  if (kind == kKinds.end()) return std::nullopt;
  name.kind = static_cast<FileKind>(kind - kKinds.begin());
  return name;
}

Token random_token() {
  Token token{};
  std::size_t have = 0;
  while (have < token.size()) {
    ssize_t got = ::getrandom(token.data() + have, token.size() - have, 0);
    if (got > 0) have += static_cast<std::size_t>(got);
  }
  return token;
}

Token grant_token(const TokenTags& tags) {
  Token token = random_token();
  tags.put_into(token);
  return token;
}

Result<std::vector<FileName>> scan(const StateDir& state) {
  UniqueFd fd(::openat(state.fd(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  DIR* folder = fd ? ::fdopendir(fd.get()) : nullptr;
  if (folder == nullptr) {
    return fail(ErrorCode::kSystem, "cannot read " + state.path() + ": " + errno_text(errno));
  }
  fd.release();
  std::vector<FileName> names;
  while (const dirent* entry = ::readdir(folder)) {
    if (auto name = FileName::parse(entry->d_name)) names.push_back(*name);
  }
  ::closedir(folder);
  // Shared memory lists the newest first: what is wanted is the oldest first, and then there is
  // nothing left to sort.
  std::reverse(names.begin(), names.end());
  return names;
}

Result<UniqueFd> open_file(const StateDir& state, const FileName& name, int flags, uid_t& owner,
                           off_t& size) {
  UniqueFd fd(retry_eintr([&] {
    return ::openat(state.fd(), name.path().text,
                    flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  }));
  if (!fd) {
    if (errno == ENOENT) return fail(ErrorCode::kNotFound, "is gone");
    if (errno == ELOOP || errno == ENXIO) return fail(ErrorCode::kDamaged, "is not a regular file");
    const bool denied = errno == EACCES || errno == EPERM;
    Error error = cannot("open", state, name);
    if (denied) error.code = ErrorCode::kPermission;
    return tl::unexpected<Error>(std::move(error));
  }
  struct stat st {};
  if (::fstat(fd.get(), &st) != 0) return tl::unexpected<Error>(cannot("stat", state, name));
  if (!S_ISREG(st.st_mode)) return fail(ErrorCode::kDamaged, "is not a regular file");
  owner = st.st_uid;
  size = st.st_size;
  return fd;
}

Result<Grant> read_grant(const StateDir& state, const FileName& name) {
  auto opened = open_grant(state, name, O_RDONLY);
  if (!opened) return pass_on(opened);
  return std::move(opened->grant);
}

Result<OpenedGrant> open_grant(const StateDir& state, const FileName& name, int flags) {
  uid_t creator = 0;
  off_t size = 0;
  auto fd = open_file(state, name, flags, creator, size);
  if (!fd) return pass_on(fd);
  GrantLayout layout{};
  if (size != static_cast<off_t>(kGrantFileSize) || !read_layout(fd->get(), layout)) {
    return fail(ErrorCode::kDamaged, "is truncated");
  }
  auto grant = validate(layout, name.token, name.uid, creator);
  if (!grant) return pass_on(grant);
  return OpenedGrant{std::move(*fd), std::move(*grant), words_of(layout)};
}

Result<LedgerUse> read_ledger(const StateDir& state, const Grant& grant) {
  uid_t owner = 0;
  off_t size = 0;
  auto fd = open_file(state, {grant.owner, grant.token, FileKind::kLedger}, O_RDONLY, owner, size);
  if (!fd) return pass_on(fd);
  LedgerHeader header{};
  if (size != static_cast<off_t>(sizeof(LedgerLayout)) ||
      !pread_all(fd->get(), &header, sizeof header, 0)) {
    return fail(ErrorCode::kDamaged, "is truncated");
  }
  if (owner != grant.owner) return fail(ErrorCode::kDamaged, "is not the partition owner's");
  if (header.magic != LedgerLayout::kMagic || header.version != LedgerLayout::kVersion ||
      header.slot_count != kLedgerSlots || header.token != grant.token) {
    return fail(ErrorCode::kDamaged, "is garbled");
  }
  LedgerUse use;
  use.ended = header.ended.load() != 0;
  // The peak may be of a time when the limit was higher.
  const std::uint64_t most = grant.most_held_bytes();
  use.peak_bytes = std::min(header.peak.load(), std::max(most, grant.device_total_bytes));
  use.refusals = header.refusals.load();
  const auto high = std::min<std::uint64_t>(header.slots_high.load(), kLedgerSlots);
  if (high == 0) return use;  // nobody was ever in it
  auto layout = std::make_unique<LedgerLayout>();
  if (!pread_all(fd->get(), layout->slots, high * sizeof(LedgerSlot),
                 offsetof(LedgerLayout, slots))) {
    return fail(ErrorCode::kDamaged, "is truncated");
  }
  const uid_t reader = ::geteuid();
  const std::uint64_t here = this_process().pid_namespace;
  const bool hostile = grant.owner != reader && grant.owner != 0;
  KernelJudge judge(fd->get(), hostile ? std::optional(grant.owner) : std::nullopt);
  Ledger ledger(layout.get());
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < high; ++i) {
    const auto slot_owner = OwnerWord::unpack(layout->slots[i].owner.load());
    if (slot_owner.state == SlotState::kFree || ledger.is_dead(i, slot_owner, judge)) continue;
    use.any_live = true;
    const auto bytes = std::min(BytesWord::unpack(layout->slots[i].bytes.load()).bytes, most);
    if (bytes == 0) continue;
    sum += bytes;
    use.processes.push_back(
        {static_cast<pid_t>(slot_owner.pid), bytes,
         static_cast<std::uint32_t>(layout->slots[i].pid_namespace.load()) == here});
  }
  use.used_bytes = std::min(sum, most);
  return use;
}

Result<LedgerUse> look_at_ledger(const StateDir& state, const Grant& grant) {
  const FileName name{grant.owner, grant.token, FileKind::kLedger};
  struct stat st {};
  const bool as_made = ::fstatat(state.fd(), name.path().text, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                       S_ISREG(st.st_mode) && st.st_uid == grant.owner &&
                       st.st_size == static_cast<off_t>(sizeof(LedgerLayout)) &&
                       st.st_mtim.tv_sec == kAsMade.tv_sec && st.st_mtim.tv_nsec == kAsMade.tv_nsec;
  return as_made ? LedgerUse{} : read_ledger(state, grant);
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

Result<void> make_file(const StateDir& state, const FileName& name, std::size_t size,
                       std::string_view head, uid_t owner, UniqueFd* locked) {
  const std::string final_name = name.text();
  auto lock = [&](int fd) { return locked == nullptr || try_lock_slot(fd, 0); };
  UniqueFd fd(retry_eintr([&] {
    CHRONOS_FAULT(no_unnamed_files, EOPNOTSUPP, -1);
    return ::openat(state.fd(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0644);
  }));
  if (fd) {
    CHRONOS_POINT(file_unnamed);
    if (fill(fd.get(), size, head, name, owner) && lock(fd.get()) &&
        link_into(state, fd.get(), final_name)) {
      CHRONOS_POINT(file_named);
      if (locked != nullptr) *locked = std::move(fd);
      return {};
    }
    if (errno != ENOENT && errno != EPERM && errno != EOPNOTSUPP) {
      return tl::unexpected<Error>(cannot("make", state, name));
    }
  } else if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL) {
    return tl::unexpected<Error>(cannot("make", state, name));
  }
  // No unnamed files here, or no way to name them: a temporary name, which is swept if we die.
  FileName temporary{::geteuid(), random_token(), FileKind::kTemporary};
  fd.reset(::openat(state.fd(), temporary.text().c_str(),
                    O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR | O_CLOEXEC, 0644));
  if (!fd) return tl::unexpected<Error>(cannot("make", state, name));
  CHRONOS_POINT(temporary_made);
  if (!lock(fd.get()) || !fill(fd.get(), size, head, name, owner) ||
      ::renameat2(state.fd(), temporary.text().c_str(), state.fd(), final_name.c_str(),
                  RENAME_NOREPLACE) != 0) {
    Error error = cannot("make", state, name);
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
  const FileName ledger_name{grant.uid, grant.token, FileKind::kLedger};
  // The slots of a new ledger are all zero, as is the space of a new file.
  auto made = make_file(state, ledger_name, sizeof *ledger, bytes_of(ledger->header), grant.uid);
  if (!made) return made;
  CHRONOS_POINT(ledger_made);
  made = make_file(state, grant, kGrantFileSize, bytes_of(layout), ::geteuid());
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
    return tl::unexpected<Error>(cannot("write", state, name));
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
  if (owner != grant.owner || size != static_cast<off_t>(sizeof(LedgerLayout))) {
    return fail(ErrorCode::kDamaged, "has a damaged ledger");
  }
  if (!pwrite_all(fd->get(), &ended, sizeof ended,
                  offsetof(LedgerLayout, header) + offsetof(LedgerHeader, ended))) {
    return tl::unexpected<Error>(cannot("write", state, name));
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
    return tl::unexpected<Error>(cannot("write", state, *own));
  }
  return {};
}

}  // namespace chronos
