// `chronos doctor -- CMD`: runs a command as `chronos run` does, and reports on what it did.
#pragma once

#include <string>

#include "cli/run.hpp"

namespace chronos::cli {

struct DoctorCommand {
  RunArguments run;
  std::string output;  // a file for the report; empty: standard error
  bool json = false;
};

// The exit status of the command, as `chronos run` has it; errors have been reported.
int doctor_command(DoctorCommand& given, const InheritedSignals& signals);

}  // namespace chronos::cli
