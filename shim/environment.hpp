// The shim's variables in the environment of this program and so of its children.
#pragma once

namespace chronos::shim {

// Puts our own absolute path first in OPENCL_LAYERS, where ICD loaders look for layers, and makes
// it absolute in LD_PRELOAD. Works on the environment block itself, because a shell brings its own
// setenv. Called once, before main or before a loader reads the variable; costs about a
// microsecond.
void announce_layer();

// Whether LD_PRELOAD or OPENCL_LAYERS names this library.
bool environment_names_us();

// Puts OPENCL_LAYERS right again after ocl-icd has cut it up in place, so that children see every
// layer of it and not only the first. What the program itself has changed is left alone.
void repair_layers();

}  // namespace chronos::shim
