// The verbs of `chronos`, one file each. main.cpp picks one by name.
//
// A verb parses its own arguments, prints, and returns the exit status of the process.
#pragma once

#include <string>
#include <vector>

#include "cli/signals.hpp"

namespace chronos::cli {

struct Invocation {
  std::vector<std::string> arguments;  // those behind the verb
  InheritedSignals signals;
};

int create_verb(const Invocation& invocation);
int list_verb(const Invocation& invocation);
int release_verb(const Invocation& invocation);
int extend_verb(const Invocation& invocation);
int resize_verb(const Invocation& invocation);
int stats_verb(const Invocation& invocation);
int available_verb(const Invocation& invocation);
int acquire_verb(const Invocation& invocation);
int run_verb(const Invocation& invocation);
int queue_verb(const Invocation& invocation);
int doctor_verb(const Invocation& invocation);
int policy_verb(const Invocation& invocation);
int enforce_verb(const Invocation& invocation);
int setup_verb(const Invocation& invocation);

}  // namespace chronos::cli
