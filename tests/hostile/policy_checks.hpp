// What has to hold of any policy and of what it makes of a grant. One thread.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/grant.hpp"
#include "core/policy.hpp"

namespace chronos::test {

// `text` as root's file would be taken.
Policy policy_of(std::string_view text);

void check_settings(const PolicyFile& policy);

// A grant like this, of a user's own making, is only ever lowered; several of them together count
// for at most `most` bytes; what the policy would give is left as it is.
void check_clamp(const Grant& grant, const Policy& policy, std::uint64_t most);

}  // namespace chronos::test
