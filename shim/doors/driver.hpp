// The driver door: every ICD loader, static ones too, finds a driver's entry with dlsym on the
// driver's handle. A preloaded dlsym hands out our own, which patches the dispatch tables of the
// platforms that the driver then returns: entry by entry, in place. Calls that are not hooked cost
// nothing, and what is hooked is reached from whichever loader.
#pragma once

namespace chronos::shim {

// The function to hand out for dlsym(handle, name), or nullptr for the real one's answer.
void* driver_symbol(void* handle, const char* name);

}  // namespace chronos::shim
