// The list of crash points against the sources.
#pragma once

#include <string>

namespace chronos::crash {

// Empty if each point of the list stands at one place in the sources, and nothing else does; or one
// line for each that does not.
std::string compare_list_with_sources();

// Whether the point is visited by the tests of the caller: as anyone, as root, of the shim.
bool is_visited_here(std::size_t point);

}  // namespace chronos::crash
