// A process may hold several copies of this library: one preloaded, one from a wheel that is named
// as a layer. Their guards know nothing of each other, so that only one of them may charge: the
// first in the loader's order, which every copy finds the same without asking the others, whatever
// their versions. A namespace of its own (dlmopen) has a first copy of its own.
#pragma once

#include <string>

namespace chronos::shim {

// Whether this is the copy that acts. Any thread; decided when the library is loaded.
bool is_active_copy();

// Whether what is loaded at `base` is this library or a copy of it. Any thread.
bool is_copy(const void* base);

// The function of the first loaded library that defines it and is no copy of this one; nullptr if
// there is none. Any thread.
void* find_past_copies(const char* name);

// The library that comes before us in the program's own order and defines OpenCL's functions, by
// its path; empty if there is none, or if we were not preloaded. What is called there passes us by.
std::string earlier_library();

// A function that the active copy exports; nullptr from itself or if it cannot be had.
void* active_copy_symbol(const char* name);

}  // namespace chronos::shim
