// A process may hold several copies of this library: one preloaded, one from a wheel that is named
// as a layer. Their guards know nothing of each other, so that only one of them may charge: the
// first in the loader's order, which every copy finds the same without asking the others, whatever
// their versions. A namespace of its own (dlmopen) has a first copy of its own.
#pragma once

namespace chronos::shim {

// Whether this is the copy that acts. Any thread; decided when the library is loaded.
bool is_active_copy();

// A function that the active copy exports; nullptr from itself or if it cannot be had.
void* active_copy_symbol(const char* name);

}  // namespace chronos::shim
