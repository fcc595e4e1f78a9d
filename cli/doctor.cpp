#include "cli/doctor.hpp"

#include <fmt/format.h>

#include "cli/arguments.hpp"
#include "cli/doctor_command.hpp"
#include "cli/verbs.hpp"

namespace chronos::cli {
namespace {

Style style_of(doctor::Status status) {
  switch (status) {
    case doctor::Status::kOk:
      return Style::kGreen;
    case doctor::Status::kNote:
      return Style::kCyan;
    case doctor::Status::kWarning:
      return Style::kYellow;
    case doctor::Status::kProblem:
      break;
  }
  return Style::kRed;
}

int machine_report(const Arguments& arguments) {
  const doctor::Facts facts = doctor::gather(CHRONOS_VERSION);
  const std::vector<doctor::Finding> findings = doctor::findings(facts);
  const int printed = print(arguments.json() ? to_text(doctor::machine_json(facts, findings))
                                             : findings_text(findings, arguments.screen()));
  return printed == kDone && doctor::has_problem(findings) ? kFailed : printed;
}

}  // namespace

std::string findings_text(const std::vector<doctor::Finding>& findings, const Screen& screen) {
  constexpr std::size_t kStatusWidth = 8, kTopicWidth = 13;
  std::string out;
  for (const doctor::Finding& one : findings) {
    const std::string status = to_string(one.status);
    out += styled(screen, style_of(one.status), status);
    out.append(kStatusWidth - status.size(), ' ');
    out += fmt::format("{:<{}}{}", one.topic, kTopicWidth, printable(one.text));
    if (!one.remedy.empty()) {
      out += styled(screen, Style::kDim, " -> ") + printable(one.remedy);
    }
    out += '\n';
  }
  return out;
}

int doctor_verb(const Invocation& invocation) {
  DoctorCommand given;
  Arguments arguments("doctor", "[options] [[run options] -- program [arguments]]",
                      "Say in plain words what works on this machine and for this user, what does\n"
                      "not, and how to mend it. With a program, run it as `chronos run` does and\n"
                      "report on stderr what it did with OpenCL.");
  arguments.add_json();
  CLI::Option* output =
      arguments.app()
          .add_option("--output", given.output, "A file for the report on a program")
          ->type_name("FILE");
  RunOptions run_options(arguments.app(), given.run);
  arguments.add_examples(
      "Examples:\n"
      "  chronos doctor\n"
      "  chronos doctor --partition train -- python3 train.py\n"
      "  chronos doctor --device 0 --memory 2GiB --duration 30m --json --output report.json -- "
      "./a\n"
      "\n"
      "Exit status: 0 if nothing keeps partitions from holding, 1 if there is a problem, 2 bad\n"
      "usage. With a program, that of `chronos run`.");
  std::vector<std::string> options = invocation.arguments;
  given.run.command = take_command(arguments.app(), options);
  const bool with_program = !given.run.command.empty();
  if (auto status = arguments.parse(options)) {
    return with_program && *status != kDone ? kRunFailed : *status;
  }
  run_options.finish();
  given.json = arguments.json();
  if (with_program) return doctor_command(given, invocation.signals);
  if (output->count() > 0 || run_options.any()) {
    return report({ErrorCode::kInvalid, "--output and the options of `chronos run` need a program",
                   help_hint("doctor")});
  }
  return machine_report(arguments);
}

}  // namespace chronos::cli
