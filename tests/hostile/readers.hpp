// Everything that reads a file which another user may have written, each as one function of its
// bytes: what a mutation test or a fuzzer calls. One thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tests/hostile/mutate.hpp"

namespace chronos::test {

class Reader {
 public:
  virtual ~Reader() = default;
  virtual const char* name() const = 0;
  // One damaged file.
  virtual std::string make(Mutator& mutator) = 0;
  // Reads it by every way there is. True if it was believed in some part. What was believed is
  // held against what may be believed at most; aborts if it was more.
  virtual bool read(std::string_view bytes) = 0;
};

// Grant, ledger, ticket, counter, policy, inventory; in a state directory of their own, which is in
// CHRONOS_STATE_DIR.
std::vector<Reader*> all_readers();

}  // namespace chronos::test
