// What a process may be in the middle of when it dies or stops.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/crash/world.hpp"

namespace chronos::crash {

struct Operation {
  const char* name;
  void (*before)(World&);  // in the runner; may be null
  void (*act)(World&);     // in the victim; what counts begins with arm()
  void (*after)(World&);   // in the runner, the victim is gone: the old state or the new; or null
  std::uint32_t faults = 0;
  bool needs_root = false;
  bool about_slots = false;  // what disturbs it most is a slot that changes hands
};

const std::vector<Operation>& operations();

// What somebody else does while the victim is stopped.
void disturb(World& world, bool about_slots);

// The rest of the operation "exec": what the new program does.
int run_new_image(char** arguments);

}  // namespace chronos::crash
