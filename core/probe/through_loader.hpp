// chronos-probe --through LOADER: uses OpenCL as a program does, through an ICD loader, so that it
// shows which of the shim's doors fire there. One line of JSON (core/doctor/doors.hpp reads it).
#pragma once

#include <nlohmann/json.hpp>

namespace chronos {

// Loads `loader` and asks every device of every platform for its memory.
nlohmann::json use_loader(const char* loader);

}  // namespace chronos
