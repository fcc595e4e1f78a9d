#include "core/enforce/files.hpp"

#include <fmt/format.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <ctime>

#include "core/enforce/places.hpp"
#include "core/text.hpp"
#include "core/users.hpp"

namespace chronos::enforce {
namespace {

// So that a name that was made or taken away is so after a loss of power, too.
void sync_folder_of(const std::string& path) {
  const std::string folder = path.substr(0, path.rfind('/'));
  UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd) ::fsync(fd.get());
}

Result<void> write_draft(const char* draft, const FileText& text) {
  if (::unlink(draft) != 0 && errno != ENOENT) return cannot("remove", draft);
  UniqueFd fd(::open(draft, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) return cannot("make", draft);
  if (!pwrite_all(fd.get(), text.bytes.data(), text.bytes.size(), 0)) return cannot("write", draft);
  if (::fchown(fd.get(), text.uid, text.gid) != 0 || ::fchmod(fd.get(), text.mode) != 0) {
    return cannot("set owner and mode of", draft);
  }
  if (::fsync(fd.get()) != 0) return cannot("write", draft);
  return {};
}

Result<void> require_roots(const std::string& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) return cannot("look at", path);
  if (st.st_uid != 0) {
    return fail(ErrorCode::kPermission,
                fmt::format("{} belongs to {}, who could change what every program runs",
                            quoted(path), user_name(st.st_uid)),
                "install Chronos where every folder is root's, as in /usr or /opt");
  }
  const bool by_group = (st.st_mode & S_IWGRP) != 0 && st.st_gid != 0;
  if (by_group || (st.st_mode & S_IWOTH) != 0) {
    return fail(ErrorCode::kPermission,
                fmt::format("{} can be written to by others than root", quoted(path)),
                "chmod go-w, or install Chronos where every folder is root's alone");
  }
  return {};
}

constexpr int kLockTries = 1000;
constexpr timespec kLockPause{0, 10'000'000};

}  // namespace

tl::unexpected<Error> cannot(std::string_view what, std::string_view path) {
  const int error = errno;
  std::string hint;
  if (error == EPERM) hint = "is it immutable? lsattr shows it";
  if (error == EROFS) hint = "mount it for writing and try again";
  if (error == ENOSPC || error == EDQUOT) hint = "free space there and try again";
  return fail(ErrorCode::kSystem, fmt::format("cannot {} {}: {}", what, path, errno_text(error)),
              hint);
}

Result<std::optional<FileText>> read_file(const char* path, std::size_t limit) {
  UniqueFd fd(
      retry_eintr([&] { return ::open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC); }));
  if (!fd && errno == ENOENT) return std::nullopt;
  if (!fd && errno == ELOOP) {
    return fail(ErrorCode::kSystem, fmt::format("{} is a link", path),
                "put the file itself there and try again");
  }
  if (!fd) return cannot("read", path);
  struct stat st {};
  if (::fstat(fd.get(), &st) != 0) return cannot("read", path);
  if (!S_ISREG(st.st_mode)) {
    return fail(ErrorCode::kSystem, fmt::format("{} is not a regular file", path),
                "move it away and try again");
  }
  if (st.st_size < 0 || static_cast<std::size_t>(st.st_size) > limit) {
    return fail(ErrorCode::kSystem, fmt::format("{} is too large", path), "look what is in it");
  }
  FileText text{std::string(static_cast<std::size_t>(st.st_size), '\0'), st.st_mode & 07777U,
                st.st_uid, st.st_gid};
  if (!pread_all(fd.get(), text.bytes.data(), text.bytes.size(), 0)) return cannot("read", path);
  return text;
}

Result<void> replace_file(const char* path, const char* draft, const FileText& text) {
  Result<void> written = write_draft(draft, text);
  if (written && ::rename(draft, path) != 0) written = cannot("replace", path);
  if (!written) {
    ::unlink(draft);
    return written;
  }
  sync_folder_of(path);
  return {};
}

Result<void> remove_file(const char* path) {
  if (::unlink(path) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return {};
    return cannot("remove", path);
  }
  sync_folder_of(path);
  return {};
}

Result<void> make_folder(const char* path) {
  if (::mkdir(path, 0755) == 0) {
    // Whatever the caller's umask is.
    if (::chmod(path, 0755) != 0) return cannot("set the mode of", path);
    return {};
  }
  if (errno != EEXIST) return cannot("make", path);
  struct stat st {};
  if (::stat(path, &st) == 0 && S_ISDIR(st.st_mode)) return {};
  return fail(ErrorCode::kSystem, fmt::format("{} is not a directory", path),
              "move it away and try again");
}

Result<void> require_roots_own(const std::string& path) {
  char resolved[PATH_MAX];
  if (::realpath(path.c_str(), resolved) == nullptr) return cannot("find", path);
  const std::string whole = resolved;
  for (std::size_t slash = 0; slash != whole.npos;) {
    slash = whole.find('/', slash + 1);
    auto ours = require_roots(whole.substr(0, slash));
    if (!ours) return ours;
  }
  return require_roots("/");
}

Result<EnforceLock> EnforceLock::acquire() {
  for (int i = 0; i < kLockTries; ++i) {
    auto made = make_folder(kConfigFolder);
    if (!made) return pass_on(made);
    UniqueFd fd(::open(kLock, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd && errno == ENOENT) continue;  // another one has taken the folder away
    if (!fd) return cannot("open", kLock);
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK && errno != EINTR) return cannot("lock", kLock);
      ::nanosleep(&kLockPause, nullptr);
      continue;
    }
    // The holder before us may have taken the file away.
    struct stat held {
    }, there{};
    if (::fstat(fd.get(), &held) == 0 && ::lstat(kLock, &there) == 0 &&
        held.st_ino == there.st_ino && held.st_dev == there.st_dev) {
      return EnforceLock(std::move(fd));
    }
  }
  return fail(ErrorCode::kBusy, "another `chronos enforce` is at work",
              "try again when it is done");
}

void EnforceLock::remove() const {
  ::unlink(kLock);
  ::rmdir(kConfigFolder);  // only if the policy is not in it
}

}  // namespace chronos::enforce
