#include "core/space.hpp"

#include <dirent.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>

#include "core/text.hpp"
#include "core/units.hpp"
#include "core/users.hpp"

namespace chronos {
namespace {

// Enough to find who fills a file system, and done in well under a second.
constexpr std::size_t kMostEntries = 100'000;
constexpr int kDeepest = 16;

struct Taken {
  std::uint64_t bytes = 0, largest = 0;
  std::size_t files = 0;
  std::string largest_name;
};

class Walk {
 public:
  void look_into(int parent, const char* name, const std::string& shown, int depth);

  std::map<uid_t, Taken> taken;
  std::uint64_t seen_bytes = 0;
  std::string closed;  // a directory that the caller may not look into, and whose it is

 private:
  void count(const struct stat& st, const std::string& shown);
  std::size_t entries_ = 0;
  dev_t device_ = 0;
};

void Walk::count(const struct stat& st, const std::string& shown) {
  const std::uint64_t bytes = static_cast<std::uint64_t>(st.st_blocks) * 512;
  Taken& one = taken[st.st_uid];
  one.bytes += bytes;
  ++one.files;
  seen_bytes += bytes;
  if (bytes > one.largest) {
    one.largest = bytes;
    one.largest_name = shown;
  }
}

void Walk::look_into(int parent, const char* name, const std::string& shown, int depth) {
  UniqueFd fd(::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat own {};
  if (!fd) {
    if (errno == EACCES && ::fstatat(parent, name, &own, AT_SYMLINK_NOFOLLOW) == 0 &&
        closed.empty()) {
      closed = escaped(shown, 80) + " of " + user_name(own.st_uid);
    }
    return;
  }
  // What is mounted further down fills another file system.
  if (::fstat(fd.get(), &own) != 0 || (depth > 0 && own.st_dev != device_)) return;
  device_ = own.st_dev;
  std::unique_ptr<DIR, int (*)(DIR*)> folder(::fdopendir(fd.get()), &::closedir);
  if (!folder) return;
  const int inside = fd.release();
  while (const dirent* entry = ::readdir(folder.get())) {
    const std::string_view text = entry->d_name;
    if (text == "." || text == ".." || entries_ >= kMostEntries) continue;
    ++entries_;
    struct stat st {};
    if (::fstatat(inside, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
    const std::string path = shown.empty() ? std::string(text) : shown + "/" + entry->d_name;
    count(st, path);
    if (S_ISDIR(st.st_mode) && depth < kDeepest) look_into(inside, entry->d_name, path, depth + 1);
  }
}

std::string who_has_most_files(const std::map<uid_t, Taken>& taken) {
  const auto most = std::max_element(taken.begin(), taken.end(), [](const auto& a, const auto& b) {
    return a.second.files < b.second.files;
  });
  if (most == taken.end()) return "remove files there";
  return fmt::format(
      "no more files fit there and {} has {}; that user or an administrator can remove them",
      user_name(most->first), most->second.files);
}

}  // namespace

std::string remedy_for_full(const StateDir& state) {
  Walk walk;
  walk.look_into(state.fd(), ".", "", 0);
  struct statvfs space {};
  const bool known = ::fstatvfs(state.fd(), &space) == 0;
  if (known && space.f_files > 0 && space.f_ffree == 0) return who_has_most_files(walk.taken);

  const std::uint64_t used =
      known ? std::uint64_t{space.f_blocks - space.f_bfree} * space.f_frsize : 0;
  if (walk.seen_bytes < used / 2) {
    return fmt::format(
        "{} of what is used there cannot be seen{}; an administrator finds it with `du -ax {}` and "
        "`lsof +L1 {}`",
        format_bytes(used - walk.seen_bytes),
        walk.closed.empty() ? ": removed files that are still open" : ", perhaps in " + walk.closed,
        state.path(), state.path());
  }
  const auto most = std::max_element(
      walk.taken.begin(), walk.taken.end(),
      [](const auto& a, const auto& b) { return a.second.bytes < b.second.bytes; });
  if (most == walk.taken.end() || most->second.bytes == 0) {
    return "free space there, or let an administrator enlarge it";
  }
  return fmt::format(
      "{} has {} there, the largest file is {}; that user or an administrator can "
      "remove it",
      user_name(most->first), format_bytes(most->second.bytes),
      escaped(most->second.largest_name, 80));
}

}  // namespace chronos
