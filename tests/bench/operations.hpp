// What is timed by each door: pairs of calls that make and free memory, and commands.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "tests/bench/mini_loader.hpp"

namespace chronos::bench {

struct Operation {
  int batch = 1000;  // how many a batch has, for each thread
  // After the doors were changed, before the batch; may be empty.
  std::function<void()> prepare;
  // Threads: several at once. Ends the program when a call fails.
  std::function<void(int count)> run;
  // Whether an allocation of this kind and size is refused; empty for commands.
  std::function<bool(std::size_t size)> refuses;
};

// `name`: buffer, svm, usm, write or kernel; others end the program. Made while no door is open.
Operation make_operation(const std::string& name, MiniLoader& loader);

}  // namespace chronos::bench
