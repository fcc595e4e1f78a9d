// The devices of this machine, found once per boot in helper processes and then remembered.
#pragma once

#include <string>
#include <vector>

#include "core/device.hpp"
#include "core/result.hpp"
#include "core/state_dir.hpp"

namespace chronos {

struct Inventory {
  std::vector<Device> devices;        // GPUs first; devices[i].index == i
  std::vector<std::string> warnings;  // one line for each driver that could not be asked
};

enum class Look { kRemembered, kAgain };

// Every OpenCL device of every platform. kRemembered answers from the state directory when a
// trusted inventory (root's or the caller's own) matches the installed drivers, and asks the
// drivers otherwise; kAgain always asks them (`chronos stats --refresh`).
// Each driver is asked in its own process, without the shim, for at most 10 s; several callers at
// once start one look, not many.
// Errors: kNoDevice (no OpenCL; no driver answered: names each driver and what it did), kSystem.
Result<Inventory> load_inventory(const StateDir& state, Look look = Look::kRemembered);

// The device with `index`. Errors: kNoDevice, naming the devices there are.
Result<Device> find_device(const Inventory& inventory, int index);

}  // namespace chronos
