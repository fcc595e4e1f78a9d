// Where the parts of this installation are, found from where the running part is, so that an
// installed tree can be moved.
#pragma once

#include <string>

namespace chronos {

// Absolute paths; empty if the file is not there.
std::string shim_path();     // libchronos_shim.so
std::string library_path();  // libchronos.so
std::string command_path();  // chronos
std::string runner_path();   // chronosd
std::string probe_path();    // chronos-probe, the helper that asks one driver for its devices

}  // namespace chronos
