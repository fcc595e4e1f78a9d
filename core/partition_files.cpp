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
    Error error = file_error("open", state, name);
    if (denied) error.code = ErrorCode::kPermission;
    return tl::unexpected<Error>(std::move(error));
  }
  struct stat st {};
  if (::fstat(fd.get(), &st) != 0) return tl::unexpected<Error>(file_error("stat", state, name));
  if (!S_ISREG(st.st_mode)) return fail(ErrorCode::kDamaged, "is not a regular file");
  owner = st.st_uid;
  size = st.st_size;
  return fd;
}

namespace {

// Whether the caller's own ledger names the grant of that inode: only root makes files that belong
// to somebody else, and the two are made together. So a stranger's file is not taken for root's.
bool own_ledger_names(const StateDir& state, const FileName& grant, std::uint64_t inode) {
  uid_t owner = 0;
  off_t size = 0;
  auto fd = open_file(state, {grant.uid, grant.token, FileKind::kLedger}, O_RDONLY, owner, size);
  LedgerHeader header{};
  return fd && state.users().is_caller(owner) && size == static_cast<off_t>(sizeof(LedgerLayout)) &&
         pread_all(fd->get(), &header, sizeof header, 0) && header.magic == LedgerLayout::kMagic &&
         header.version == LedgerLayout::kVersion && header.token == grant.token &&
         header.owner_uid == grant.uid && inode != 0 && header.grant_inode == inode;
}

// What the kernel says of a grant's file, for a caller in a user namespace.
struct Provenance {
  uid_t creator = kUnknownUid;
  bool granted_to_me = false;  // by root, whom the namespace does not show
  std::uint64_t inode = 0;
};

Provenance provenance_of(const StateDir& state, const FileName& name, int fd, uid_t shown) {
  Provenance from;
  struct stat st {};
  if (::fstat(fd, &st) == 0) from.inode = st.st_ino;
  from.creator = state.users().owner_of(name.uid, shown);
  if (from.creator == kUnknownUid && own_ledger_names(state, name, from.inode)) {
    from.creator = 0;
    from.granted_to_me = true;
  }
  return from;
}

}  // namespace

void judge_caller(Grant& grant, uid_t me) {
  grant.is_mine = grant.owner == me;
  grant.may_write = grant.creator == me || me == 0;
}

namespace {

Result<OpenedGrant> open_unjudged(const StateDir& state, const FileName& name, int flags) {
  uid_t shown = 0;
  off_t size = 0;
  auto fd = open_file(state, name, flags, shown, size);
  if (!fd) return pass_on(fd);
  const UserView& users = state.users();
  Provenance from{shown, false, 0};
  if (!users.is_plain()) from = provenance_of(state, name, fd->get(), shown);
  if (from.creator == kUnknownUid) {
    return fail(ErrorCode::kPermission, "is of somebody whom this user namespace does not show");
  }
  GrantLayout layout{};
  if (size != static_cast<off_t>(kGrantFileSize) || !read_layout(fd->get(), layout)) {
    return fail(ErrorCode::kDamaged, "is truncated");
  }
  auto grant = validate(layout, name.token, name.uid, from.creator);
  if (!grant) return pass_on(grant);
  if (!users.is_plain()) {
    const bool made_by_me = users.is_caller(shown);
    const uid_t me = users.me();
    grant->is_mine = from.granted_to_me || (made_by_me && grant->owner == from.creator) ||
                     (me != kUnknownUid && grant->owner == me);
    grant->may_write = made_by_me || users.i_am_root();
  }
  grant->shown_creator = shown;
  grant->inode = from.inode;
  return OpenedGrant{std::move(*fd), std::move(*grant), words_of(layout)};
}

}  // namespace

Result<OpenedGrant> open_grant(const StateDir& state, const FileName& name, int flags) {
  auto opened = open_unjudged(state, name, flags);
  if (opened && state.users().is_plain()) judge_caller(opened->grant, ::geteuid());
  return opened;
}

Result<Grant> read_grant(const StateDir& state, const FileName& name) {
  auto opened = open_grant(state, name, O_RDONLY);
  if (!opened) return pass_on(opened);
  return std::move(opened->grant);
}

Result<Grant> read_one_of_many(const StateDir& state, const FileName& name) {
  auto opened = open_unjudged(state, name, O_RDONLY);
  if (!opened) return pass_on(opened);
  return std::move(opened->grant);
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
  const UserView& users = state.users();
  const bool is_owners = users.is_plain() ? owner == grant.owner
                         : grant.is_mine  ? users.is_caller(owner)
                                          : users.owner_of(grant.owner, owner) == grant.owner;
  if (!is_owners) return fail(ErrorCode::kDamaged, "is not the partition owner's");
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
  const bool is_mine = users.is_plain() ? grant.owner == ::geteuid() : grant.is_mine;
  const bool hostile = !is_mine && grant.owner != 0;
  KernelJudge judge(fd->get(), hostile ? std::optional(owner) : std::nullopt);
  const std::uint32_t here = this_process().pid_namespace;
  Ledger ledger(layout.get());
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < high; ++i) {
    const auto slot_owner = OwnerWord::unpack(layout->slots[i].owner.load());
    if (slot_owner.state == SlotState::kFree || ledger.is_dead(i, slot_owner, judge)) continue;
    use.any_live = true;
    const auto bytes = std::min(BytesWord::unpack(layout->slots[i].bytes.load()).bytes, most);
    if (bytes == 0) continue;
    sum += bytes;
    const auto space = static_cast<std::uint32_t>(layout->slots[i].pid_namespace.load());
    const auto pid = static_cast<pid_t>(slot_owner.pid);
    // A process that could not tell its namespace (no /proc of its own) may be in any.
    use.processes.push_back({pid,
                             bytes,
                             space != 0 && space == here,
                             {pid, space, layout->slots[i].start_ticks.load()}});
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

}  // namespace chronos
