// What enforcement does with root's files: reads them whole, replaces them in one step, and looks
// who else could change them. Any thread, but one process at a time: see EnforceLock.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>

#include "core/posix.hpp"
#include "core/result.hpp"

namespace chronos::enforce {

struct FileText {
  std::string bytes;
  mode_t mode = 0644;
  uid_t uid = 0;
  gid_t gid = 0;
};

// None: there is no such file. Errors: kSystem (it is no regular file, too large, not readable).
Result<std::optional<FileText>> read_file(const char* path, std::size_t limit);

// The file at `path` is afterwards the new one or, on an error, the old one, and at no time
// anything else; `draft` is a name beside it, and is gone again. Both survive a loss of power.
// Errors: kSystem.
Result<void> replace_file(const char* path, const char* draft, const FileText& text);
// The same for taking it away; that it was not there is no error.
Result<void> remove_file(const char* path);

// One level; that it is there is no error. Errors: kSystem.
Result<void> make_folder(const char* path);

// Nobody but root can change what is at `path` or put something else there: it and every folder
// above it belong to root and are writable by nobody else, links followed. Errors: kPermission,
// kSystem.
Result<void> require_roots_own(const std::string& path);

// Held while something is changed. The kernel drops it with its holder.
class EnforceLock {
 public:
  // Waits at most 10 s. Errors: kBusy, kSystem.
  static Result<EnforceLock> acquire();
  // Takes the lock's file away, and its folder if nothing else is in it: the last thing that is
  // done under the lock.
  void remove() const;

 private:
  explicit EnforceLock(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

tl::unexpected<Error> cannot(std::string_view what, std::string_view path);

}  // namespace chronos::enforce
