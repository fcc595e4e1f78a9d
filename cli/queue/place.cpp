#include "cli/queue/place.hpp"

#include <fmt/format.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <initializer_list>

#include "core/posix.hpp"
#include "core/state_dir.hpp"
#include "core/text.hpp"
#include "core/users.hpp"

namespace chronos::queue {
namespace {

Result<std::string> state_home() {
  const char* given = trusted_env("XDG_STATE_HOME");
  // The specification: what is not absolute is to be ignored.
  if (given != nullptr && given[0] == '/') return std::string(given);
  const char* home = trusted_env("HOME");
  if (home != nullptr && home[0] == '/') return std::string(home) + "/.local/state";
  const passwd* user = ::getpwuid(::geteuid());
  if (user != nullptr && user->pw_dir != nullptr && user->pw_dir[0] == '/') {
    return std::string(user->pw_dir) + "/.local/state";
  }
  return fail(ErrorCode::kSystem, "no place for the queue: neither XDG_STATE_HOME nor HOME is set",
              "set one of them to a folder of yours");
}

Result<void> make_folder(const std::string& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) == 0 || errno == EEXIST) return {};
  if (errno == ENOENT) {
    const std::size_t slash = path.rfind('/');
    if (slash != std::string::npos && slash > 0) {
      auto made = make_folder(path.substr(0, slash), 0755);
      if (!made) return made;
      if (::mkdir(path.c_str(), mode) == 0 || errno == EEXIST) return {};
    }
  }
  return fail(
      ErrorCode::kSystem,
      fmt::format("cannot make the queue's folder {}: {}", path_text(path), errno_text(errno)),
      "XDG_STATE_HOME can name another place");
}

}  // namespace

std::string path_text(const std::string& path) { return "'" + escaped(path) + "'"; }

std::string Place::attempt_file(std::int64_t job, std::int64_t attempt) const {
  return fmt::format("{}/{}.{}", attempts(), job, attempt);
}

Result<std::string> Place::find() {
  auto home = state_home();
  if (!home) return pass_on(home);
  return *home + "/chronos";
}

Result<Place> Place::open() {
  auto folder = find();
  if (!folder) return pass_on(folder);
  return open_at(*folder);
}

Result<Place> Place::open_at(const std::string& folder) {
  Place place{folder};
  auto made = make_folder(folder, 0700);
  if (!made) return pass_on(made);
  struct stat status {};
  if (::stat(folder.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) {
    return fail(ErrorCode::kSystem, fmt::format("{} is no folder", path_text(folder)));
  }
  if (status.st_uid != ::geteuid()) {
    return fail(ErrorCode::kPermission,
                fmt::format("the queue's folder {} belongs to {}", path_text(folder),
                            user_name(status.st_uid)),
                "XDG_STATE_HOME can name another place");
  }
  if ((status.st_mode & 0077) != 0 && ::chmod(folder.c_str(), 0700) != 0) {
    return fail(ErrorCode::kSystem,
                fmt::format("cannot close {} to others: {}", path_text(folder), errno_text(errno)));
  }
  for (const std::string& one : {place.attempts(), place.logs()}) {
    made = make_folder(one, 0700);
    if (!made) return pass_on(made);
  }
  return place;
}

}  // namespace chronos::queue
