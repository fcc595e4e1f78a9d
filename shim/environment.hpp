// The shim's variables in the environment of this program and so of its children.
#pragma once

namespace chronos::shim {

// Puts our own absolute path first in OPENCL_LAYERS, where ICD loaders look for layers, and makes
// it absolute in LD_PRELOAD. Works on the environment block itself, because a shell brings its own
// setenv. Called once, before main, and again when a loader has mangled the variable (ocl-icd
// writes into it, so that children would see the first layer only). Costs about a microsecond.
void announce_layer();

}  // namespace chronos::shim
