// The symbol door: for what is called by its exported name and through no loader that knows layers.
// That is a driver which is itself libOpenCL (Arm's, Qualcomm's, Oclgrind's) or exports all of
// OpenCL beside its table (Intel's CPU runtime, AMD's): linked, or opened and asked with dlsym. Our
// own symbols of those names come first in a program that we are preloaded into; each call goes on
// to the library that the caller would have got. A loader that has us as a layer is recognised, and
// from then on is called straight.
#pragma once

namespace chronos::shim {

// The function to hand out for dlsym(handle, name), or nullptr for the real one's answer. Any
// thread.
void* handle_symbol(void* handle, const char* name);

// Whether `function` is one of this copy of the shim.
bool is_own_function(const void* function);

// The library that `function` belongs to has us as a layer.
void is_reached_by_layer(const void* function);

}  // namespace chronos::shim
