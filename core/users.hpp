// Users by name and by number. Looks names up with the system's own database.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "core/result.hpp"

namespace chronos {

// The name of `uid`, or its number as text where the system knows no name.
std::string user_name(uid_t uid);

// An existing user by name or number. Errors: kInvalid.
Result<uid_t> find_user(std::string_view name_or_uid);

}  // namespace chronos
