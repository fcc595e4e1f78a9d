#include "core/ownership.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

#include "core/users.hpp"

namespace chronos {
namespace {

constexpr std::size_t kLinesEach = 5;

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
  if (!st) return std::nullopt;
  const uid_t owner = state.users().owner_of(name.uid, st->st_uid);
  // Of whom it cannot be told it may be root.
  if (owner == kUnknownUid || owner == name.uid || owner == 0) return std::nullopt;
  return st->st_uid;
}

bool is_file_of(const StateDir& state, const FileName& name, uid_t uid) {
  const auto st = stat_of(state, name);
  return st && S_ISREG(st->st_mode) && st->st_uid == uid;
}

bool owners_are_hidden(const StateDir& state) { return state.users().hides_strangers(); }

tl::unexpected<Error> strangers_are_hidden(const StateDir& state, std::string otherwise) {
  return fail(ErrorCode::kPermission,
              fmt::format("Permission denied: in this user namespace nobody can tell whose the "
                          "partitions in {} are",
                          state.path()),
              std::move(otherwise));
}

bool may_be_mine(const StateDir& state, const FileName& grant) {
  const UserView& users = state.users();
  if (users.me() == kUnknownUid) return true;
  const auto ledger = stat_of(state, {grant.uid, grant.token, FileKind::kLedger});
  if (!ledger) return grant.uid == users.me();
  return users.knows(ledger->st_uid);
}

void PassedOver::add(const FileName& name, const Error& error) {
  const UserView& users = state_.users();
  if (error.code == ErrorCode::kExpired || (name.uid != users.me() && !users.i_am_root())) return;
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
