// The verbs of `chronos`, one file each. main.cpp picks one by name.
//
// A verb parses its own arguments, prints, and returns the exit status of the process.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/signals.hpp"

namespace chronos::cli {

struct Invocation {
  std::vector<std::string> arguments;  // those behind the verb
  InheritedSignals signals;
};

struct Verb {
  std::string_view name, arguments, summary;
  int (*run)(const Invocation&);
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
int cdi_verb(const Invocation& invocation);
int policy_verb(const Invocation& invocation);
int enforce_verb(const Invocation& invocation);
int setup_verb(const Invocation& invocation);

// `chronosd WORD ARGUMENTS...` in place of this process, as far as there is a chronosd; returns
// only where that fails, with the exit status, and `silent` or with the error reported.
int hand_on_to_runner(const std::string& word, const Invocation& invocation, bool silent = false);

}  // namespace chronos::cli
