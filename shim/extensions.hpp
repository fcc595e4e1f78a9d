// The real extension functions of each driver. Any thread.
#pragma once

#include "shim/opencl.hpp"

namespace chronos::shim {

enum class Extension {
#define CHRONOS_EXTENSION(name, ...) name,
#define CHRONOS_ASKED(name, ...) name,
#include "shim/extensions.def"
  kCount
};

// What is real differs by door: for the outer one it can be the inner one's hook.
using DoorId = const void*;
template <class Door>
DoorId door_id() {
  return reinterpret_cast<DoorId>(&Door::real);
}

// Keeps a real function that was asked for by name, for drivers that cannot be asked by platform.
void remember_extension(DoorId door, Extension extension, void* function);

// The real function of the driver that `context` belongs to; nullptr if it has none. Asked once for
// each driver. `real` as for every hook.
void* real_extension(DoorId door, const Table& real, cl_context context, Extension extension);

template <class Door, class Function>
Function find_extension(const Table& real, cl_context context, Extension extension) {
  return reinterpret_cast<Function>(real_extension(door_id<Door>(), real, context, extension));
}

cl_context context_of(const Table& real, cl_command_queue queue);

}  // namespace chronos::shim
