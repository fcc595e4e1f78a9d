#include "cli/arguments.hpp"
#include "cli/doctor_command.hpp"
#include "cli/verbs.hpp"

namespace chronos::cli {

int doctor_verb(const Invocation& invocation) {
  DoctorCommand given;
  Arguments arguments("doctor", "[options] [[run options] -- program [arguments]]",
                      "Say what this machine and this user get, or what a program does.");
  RunOptions run_options(arguments.app(), given.run);
  arguments.add_json();
  arguments.app()
      .add_option("--output", given.output, "Where the report on a program goes (stderr)")
      ->type_name("FILE");
  std::vector<std::string> options = invocation.arguments;
  given.run.command = take_command(arguments.app(), options);
  if (auto status = arguments.parse(options)) return *status;
  run_options.finish();
  given.json = arguments.json();
  return doctor_command(given, invocation.signals);
}

}  // namespace chronos::cli
