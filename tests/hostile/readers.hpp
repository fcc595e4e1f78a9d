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
  // A fuzzer's input as a file: what differs from run to run (token, boot, process, checksum) is
  // put in where the input asks for it. Input and file are the same for texts.
  virtual std::string file_of(std::string_view input) { return std::string(input); }
  // Inputs for a fuzzer to start from.
  virtual std::vector<std::string> seeds() { return {}; }
  // Reads it by every way there is. True if it was believed in some part. What was believed is
  // held against what may be believed at most; aborts if it was more.
  virtual bool read(std::string_view bytes) = 0;
};

// In a state directory of their own, which is in CHRONOS_STATE_DIR.
Reader* grant_reader();
Reader* ledger_reader();
Reader* ticket_reader();
Reader* counter_reader();
Reader* policy_reader();
Reader* inventory_reader();
Reader* trace_reader();
// What comes as a word of a command line, a variable or a policy.
Reader* units_reader();
Reader* names_reader();  // names, handles, file names, lists in CHRONOS_PARTITION

}  // namespace chronos::test
