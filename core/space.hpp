// Whose files fill the state directory.
#pragma once

#include <string>

#include "core/state_dir.hpp"

namespace chronos {

// What to do about a full state directory, in one line: names the user whose files take the most
// space there, and the largest of these. Thread-safe.
std::string remedy_for_full(const StateDir& state);

}  // namespace chronos
