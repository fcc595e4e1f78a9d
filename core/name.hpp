// What partitions may be called. Apart from the registry, because the shim reads grants, and must
// not carry what makes them. Pure functions, any thread.
#pragma once

#include <cstddef>
#include <string_view>

#include "core/result.hpp"

namespace chronos {

inline constexpr std::size_t kMaxName = 63;

// Names are [A-Za-z0-9._-], start with a letter or digit, at most kMaxName bytes, and do not look
// like a number's id. Errors: kInvalid.
Result<void> check_name(std::string_view name);

}  // namespace chronos
