// Preloaded dlopen and dlmopen, which only look at how something is opened. A library that prefers
// its own symbols to ours (RTLD_DEEPBIND), or that lives in a namespace without us, is reached by
// the layer door alone, so that OPENCL_LAYERS must be right before its loader reads it. Like dlsym
// they are assembly (dlopen_<machine>.S) and jump on with the caller's return address in place,
// because ld.so looks whose RUNPATH and namespace count.
#pragma once

namespace chronos::shim {

// OpenCL is about to be used in this process, or may be. Puts us into OPENCL_LAYERS, unless that
// has been done. Any thread.
void opencl_may_start();

}  // namespace chronos::shim
