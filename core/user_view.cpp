#include "core/user_view.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "core/posix.hpp"

namespace chronos {
namespace {

uid_t overflow_uid() {
  std::string text;
  unsigned uid = 65534;
  if (read_small_file("/proc/sys/kernel/overflowuid", text, 64)) {
    (void)std::sscanf(text.c_str(), "%u", &uid);
  }
  return uid;
}

constexpr char kInitialMap[] = "0 0 4294967295";

}  // namespace

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

UserView UserView::of_caller(uid_t directory_owner) {
  std::string map;
  // Without procfs it cannot be told.
  if (!read_small_file("/proc/self/uid_map", map)) map = kInitialMap;
  const bool plain = is_initial_uid_map(map);
  return UserView(std::move(map), plain ? kUnknownUid : overflow_uid(), directory_owner);
}

UserView::UserView(std::string uid_map, uid_t overflow, uid_t directory_owner)
    : map_(std::move(uid_map)),
      overflow_(overflow),
      plain_(is_initial_uid_map(map_)),
      hides_(!plain_ && !knows(directory_owner)) {}

// A namespace that has the number of the unknown itself does not say which of the two it shows.
bool UserView::knows(uid_t shown) const {
  return plain_ || (shown != overflow_ && outer_uid(map_, shown).has_value());
}

bool UserView::is_caller(uid_t shown) const { return shown == ::geteuid() && knows(shown); }

uid_t UserView::me() const {
  const uid_t shown = ::geteuid();
  if (plain_) return shown;
  if (!knows(shown)) return kUnknownUid;
  return hides_ ? outer_uid(map_, shown).value_or(kUnknownUid) : shown;
}

bool UserView::i_am_root() const { return !hides_ && me() == 0; }

uid_t UserView::owner_of(uid_t name_uid, uid_t shown) const {
  if (plain_) return shown;
  if (!knows(shown)) return kUnknownUid;
  const uid_t owner = hides_ ? outer_uid(map_, shown).value_or(kUnknownUid) : shown;
  // In a namespace within a namespace the map tells what the outer one calls the caller. Its files
  // are the caller's all the same; but what is named as root's is not.
  if (owner != name_uid && is_caller(shown) && name_uid != 0) return name_uid;
  // Root is not in a namespace that does not know the owner of the directory.
  return hides_ && owner == 0 ? kUnknownUid : owner;
}

}  // namespace chronos
