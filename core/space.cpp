#include "core/space.hpp"

#include <dirent.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <map>

#include "core/text.hpp"
#include "core/units.hpp"
#include "core/users.hpp"

namespace chronos {
namespace {

struct Taken {
  std::uint64_t bytes = 0, largest = 0;
  std::string largest_name;
};

std::map<uid_t, Taken> taken_by_user(const StateDir& state) {
  std::map<uid_t, Taken> taken;
  UniqueFd fd(::openat(state.fd(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  DIR* folder = fd ? ::fdopendir(fd.get()) : nullptr;
  if (folder == nullptr) return taken;
  fd.release();
  while (const dirent* entry = ::readdir(folder)) {
    struct stat st {};
    if (::fstatat(state.fd(), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
        !S_ISREG(st.st_mode)) {
      continue;
    }
    const std::uint64_t bytes = static_cast<std::uint64_t>(st.st_blocks) * 512;
    Taken& one = taken[st.st_uid];
    one.bytes += bytes;
    if (bytes > one.largest) {
      one.largest = bytes;
      one.largest_name = entry->d_name;
    }
  }
  ::closedir(folder);
  return taken;
}

}  // namespace

std::string remedy_for_full(const StateDir& state) {
  const auto taken = taken_by_user(state);
  const auto most = std::max_element(taken.begin(), taken.end(), [](const auto& a, const auto& b) {
    return a.second.bytes < b.second.bytes;
  });
  if (most == taken.end() || most->second.bytes == 0) {
    return "free space there, or let an administrator enlarge it";
  }
  return fmt::format(
      "{} has {} there, the largest file is {}; that user or an administrator can "
      "remove it",
      user_name(most->first), format_bytes(most->second.bytes),
      escaped(most->second.largest_name, 80));
}

}  // namespace chronos
