// Users and groups by name and by number. Looks names up with the system's own database.
#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.hpp"

namespace chronos {

// The name of `uid`, or its number as text where the system knows no name.
std::string user_name(uid_t uid);

// For one listing: asks for each name once. One thread; short-lived, because names change.
class UserNames {
 public:
  const std::string& of(uid_t uid);

 private:
  std::map<uid_t, std::string> known_;
};

// An existing user by name or number. Errors: kInvalid.
Result<uid_t> find_user(std::string_view name_or_uid);

// The numbers of all groups that `uid` is a member of by the system's databases.
std::vector<gid_t> groups_of(uid_t uid);

// An existing group by name, or a number.
std::optional<gid_t> find_group(std::string_view name_or_gid);

}  // namespace chronos
