// Who is who in the state directory, as seen from the caller's user namespace.
//
// File names and the fields of files have the numbers of the users that made them, which are those
// outside of any container. The kernel shows owners by the numbers of the caller's own namespace,
// and those that it does not have all as one (65534), root's files too. Where the directory itself
// belongs to such a user it is the machine's, shared into a container; else it is the container's
// own, and the numbers in it are those that everybody there sees.
//
// Never changed after it is made; any thread. A process that enters another user namespace needs
// another one.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>

namespace chronos {

// Nobody's number: of who cannot be told from here.
inline constexpr uid_t kUnknownUid = static_cast<uid_t>(-1);

// `text` of /proc/PID/uid_map.
bool is_initial_uid_map(std::string_view text);
// What the caller is called outside of its user namespace, by that text; none: nobody knows.
std::optional<uid_t> outer_uid(std::string_view uid_map, uid_t inside);

class UserView {
 public:
  // Of the calling process, on a directory that shows as `directory_owner`'s.
  static UserView of_caller(uid_t directory_owner);
  // By the text of /proc/self/uid_map and what the kernel calls owners whom it does not show.
  UserView(std::string uid_map, uid_t overflow, uid_t directory_owner);

  // Owners show as they are: in the initial user namespace, or where that cannot be told.
  bool is_plain() const { return plain_; }
  // In a user namespace that does not know the owner of the directory: all strangers look alike,
  // and nobody can tell whose their partitions are.
  bool hides_strangers() const { return hides_; }

  // The caller, as names of its files have it; kUnknownUid where its namespace does not map it.
  uid_t me() const;
  // The machine's root, and not whom a user namespace calls so.
  bool i_am_root() const;

  // Of an owner that the kernel shows: whether it is one user, or stands for all who are unknown.
  bool knows(uid_t shown) const;
  // The caller, by the kernel's word.
  bool is_caller(uid_t shown) const;
  // Whose a file is of that name and owner; kUnknownUid where it cannot be told.
  uid_t owner_of(uid_t name_uid, uid_t shown) const;

 private:
  std::string map_;
  uid_t overflow_;
  bool plain_, hides_;
};

}  // namespace chronos
