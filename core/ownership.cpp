#include "core/ownership.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>

#include "core/posix.hpp"
#include "core/users.hpp"

namespace chronos {
namespace {

constexpr std::size_t kLinesEach = 5;

// What the kernel calls owners that a user namespace does not know.
uid_t overflow_uid() {
  std::string text;
  unsigned uid = 65534;
  if (read_small_file("/proc/sys/kernel/overflowuid", text, 64)) {
    (void)std::sscanf(text.c_str(), "%u", &uid);
  }
  return uid;
}

// None: without procfs it cannot be told. Empty: a user namespace that maps nobody.
std::optional<std::string> own_uid_map() {
  std::string text;
  return read_small_file("/proc/self/uid_map", text) ? std::optional(text) : std::nullopt;
}

bool in_user_namespace() {
  const auto map = own_uid_map();
  return map && !is_initial_uid_map(*map);
}

std::optional<struct stat> stat_of(const StateDir& state, const FileName& name) {
  struct stat st {};
  if (::fstatat(state.fd(), name.path().text, &st, AT_SYMLINK_NOFOLLOW) != 0) {
    return std::nullopt;
  }
  return st;
}

// How an administrator takes away all that `uid` has put there.
std::string removal(const StateDir& state, uid_t uid) {
  return fmt::format("`find {} -maxdepth 1 -user {} -name 'chronos.*' -exec rm -r {{}} +`",
                     state.path(), user_name(uid));
}

}  // namespace

std::optional<uid_t> squatter_of(const StateDir& state, const FileName& name) {
  const auto st = stat_of(state, name);
  if (!st || st->st_uid == name.uid || st->st_uid == 0) return std::nullopt;
  // There it may be root's.
  if (st->st_uid == overflow_uid() && in_user_namespace()) return std::nullopt;
  return st->st_uid;
}

bool is_file_of(const StateDir& state, const FileName& name, uid_t uid) {
  const auto st = stat_of(state, name);
  return st && S_ISREG(st->st_mode) && st->st_uid == uid;
}

bool is_initial_uid_map(std::string_view text) {
  unsigned long inside = 1, outside = 1, count = 0;
  return std::sscanf(std::string(text).c_str(), "%lu %lu %lu", &inside, &outside, &count) == 3 &&
         inside == 0 && outside == 0 && count == 4294967295UL;
}

std::optional<uid_t> outer_uid(std::string_view uid_map, uid_t inside) {
  while (!uid_map.empty()) {
    const std::size_t end = std::min(uid_map.find('\n'), uid_map.size());
    const std::string line(uid_map.substr(0, end));
    uid_map.remove_prefix(std::min(end + 1, uid_map.size()));
    unsigned long first = 0, outside = 0, count = 0;
    if (std::sscanf(line.c_str(), "%lu %lu %lu", &first, &outside, &count) != 3) continue;
    if (inside >= first && inside - first < count) {
      return static_cast<uid_t>(outside + (inside - first));
    }
  }
  return std::nullopt;
}

bool owners_are_hidden(const StateDir& state) {
  struct stat st {};
  return ::fstat(state.fd(), &st) == 0 && st.st_uid == overflow_uid() && in_user_namespace();
}

bool may_own_unseen(const std::vector<FileName>& names) {
  const std::optional<uid_t> outer = outer_uid(own_uid_map().value_or(""), ::geteuid());
  return std::any_of(names.begin(), names.end(), [&](const FileName& name) {
    return name.kind == FileKind::kGrant && (!outer || name.uid == *outer);
  });
}

void PassedOver::add(const FileName& name, const Error& error) {
  const uid_t me = ::geteuid();
  if (error.code == ErrorCode::kExpired || (name.uid != me && me != 0)) return;
  if (squatter_of(state_, name)) return;
  Pile& pile = more_[name.uid];
  if (++pile.count > kLinesEach) return;
  lines_.push_back(fmt::format("ignored {}/{}: it {} (remove it if it stays)", state_.path(),
                               name.text(), error.message));
}

void PassedOver::add_squatter(const FileName& name) {
  const auto squatter = squatter_of(state_, name);
  if (!squatter) return;
  Pile& pile = squatters_[*squatter];
  if (++pile.count == 1) pile.example = name.text();
}

std::vector<std::string> PassedOver::lines() const {
  std::vector<std::string> lines = lines_;
  for (const auto& [uid, pile] : more_) {
    if (pile.count <= kLinesEach) continue;
    lines.push_back(
        fmt::format("ignored {} more of {}'s in {} ({} removes all that is theirs there)",
                    pile.count - kLinesEach, user_name(uid), state_.path(), removal(state_, uid)));
  }
  for (const auto& [uid, pile] : squatters_) {
    lines.push_back(fmt::format(
        "ignored {} in {} that {} has put under names of others, such as {} ({} removes "
        "all that is theirs there)",
        pile.count, state_.path(), user_name(uid), pile.example, removal(state_, uid)));
  }
  return lines;
}

}  // namespace chronos
