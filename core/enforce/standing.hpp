// Whether enforcement is on for this machine, and whether it works. Reads files only; for any user,
// any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace chronos::enforce {

enum class State {
  kOff,
  kOn,
  kPartly,  // it holds, but is not as `chronos enforce on` makes it
  kBroken,  // it was switched on and does not reach programs
};
const char* to_string(State state);  // "off", "on", "partly", "broken"

struct Standing {
  State state = State::kOff;
  bool is_named = false;  // in /etc/ld.so.preload
  bool has_library = false, is_whole = false;
  std::string library_version;  // empty: it does not say
  bool has_layer_file = false;
  bool loader_reads_layers = false;   // an installed ICD loader looks into the layer folder
  bool reached_this = false;          // the process that asks has the library in it
  std::vector<std::string> problems;  // why it is not kOn, one line each
  std::vector<std::string> notes;     // what an administrator should know all the same
};

// `version`: that of the caller.
Standing look(std::string_view version);

// What follows from the rest for `state` and `problems`: the pure part of look().
void judge(Standing& standing, std::string_view version);

}  // namespace chronos::enforce
