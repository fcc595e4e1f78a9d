// The driver door: every ICD loader, static ones too, finds a driver's entry with dlsym on the
// driver's handle. A preloaded dlsym hands out our own, which patches the dispatch tables of the
// platforms that the driver then returns: entry by entry, in place. Calls that are not hooked cost
// nothing, and what is hooked is reached from whichever loader. Of drivers that leave their tables
// to the loader (cl_khr_icd 2.0) the loader gets our hooks when it asks for the functions.
#pragma once

namespace chronos::shim {

// What to hand out for a function that a driver exports as `name`, or nullptr for `real` itself.
// Any thread.
void* driver_symbol(const char* name, void* real);

// The same for what only loaders ask of a driver (clIcd...).
void* wrap_loader_function(const char* name, void* real);

}  // namespace chronos::shim
