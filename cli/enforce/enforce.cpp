#include <fmt/format.h>
#include <unistd.h>

#include "cli/arguments.hpp"
#include "cli/enforce/record.hpp"
#include "cli/enforce/status.hpp"
#include "cli/enforce/steps.hpp"
#include "cli/verbs.hpp"
#include "core/enforce/files.hpp"
#include "core/enforce/places.hpp"
#include "core/enforce/preload_text.hpp"
#include "core/enforce/standing.hpp"
#include "core/launch.hpp"

namespace chronos::cli {
namespace {

using namespace chronos::enforce;

bool is_named() {
  auto text = read_file(kPreloadFile, kMostPreloadText);
  return text && *text && names_entry((*text)->bytes, kEntry);
}

int switch_on_verb(bool only_if_on, bool quiet) {
  if (only_if_on && !is_named()) return kDone;
  auto shim = usable_shim_path();
  if (!shim) return report(shim.error());
  auto lock = EnforceLock::acquire();
  if (!lock) return report(lock.error());
  auto done = switch_on(*shim, CHRONOS_VERSION);
  if (!done) {
    if (!is_named() && ::access(kRecord, F_OK) != 0) lock->remove();
    return report(done.error());
  }
  print_warning_lines(done->remarks);
  if (quiet) return kDone;
  print_warning_lines(look(CHRONOS_VERSION).notes);
  print_warning_lines(policy_notes());
  return print(done->was_so
                   ? std::string("Enforcement is on already\n")
                   : fmt::format("Enforcement is on: every program that starts from now on has "
                                 "the shim, by {}\n",
                                 kPreloadFile));
}

int switch_off_verb(bool quiet) {
  auto lock = EnforceLock::acquire();
  if (!lock) return report(lock.error());
  auto done = switch_off();
  if (done) lock->remove();
  if (!done) return report(done.error());
  print_warning_lines(done->remarks);
  if (quiet) return kDone;
  return print(done->was_so ? "Enforcement is off already\n"
                            : "Enforcement is off: programs that start from now on are free of "
                              "it\n");
}

}  // namespace

int enforce_verb(const Invocation& invocation) {
  std::string action;
  bool quiet = false, only_if_on = false;
  Arguments arguments("enforce", "on | off | status",
                      "Put the shim into every program of this machine, whoever starts it and how\n"
                      "(root; status is for everybody).");
  CLI::App& app = arguments.app();
  app.add_option("action", action, "on, off or status")
      ->required()
      ->check(one_of({"on", "off", "status"}));
  CLI::Option* quiet_option =
      app.add_flag("--quiet", quiet, "With on and off: print nothing but what is wrong");
  CLI::Option* only_option =
      app.add_flag("--only-if-on", only_if_on,
                   "With on: where it is off, do nothing (for package scripts, after an upgrade)");
  arguments.add_json();
  arguments.add_examples(
      "`on` tries the library in child processes first, then names it in /etc/ld.so.preload.\n"
      "Programs that run already are not reached. `off` puts that file back byte for byte. By\n"
      "hand: take the line /usr/lib/chronos/before-libasan.so/libchronos_shim.so out of it.\n"
      "\n"
      "Exit status: 0 done (status: on and healthy), 1 refused or failed (status: anything else),\n"
      "2 bad usage.");
  if (auto status = arguments.parse(invocation.arguments)) return *status;
  const bool is_status = action == "status";
  if ((is_status && quiet_option->count() > 0) || (!is_status && arguments.json()) ||
      (action != "on" && only_option->count() > 0)) {
    return report({ErrorCode::kInvalid,
                   "--json goes with status, --quiet with on and off, --only-if-on with on",
                   help_hint("enforce")});
  }
  if (is_status) {
    const Standing standing = look(CHRONOS_VERSION);
    const int printed =
        print(arguments.json() ? to_text(status_json(standing)) : status_text(standing));
    return printed == kDone && standing.state != State::kOn ? kFailed : printed;
  }
  if (::geteuid() != 0) {
    return report({ErrorCode::kPermission,
                   "Permission denied: only administrators can switch enforcement on and off",
                   "use sudo"});
  }
  return action == "on" ? switch_on_verb(only_if_on, quiet) : switch_off_verb(quiet);
}

}  // namespace chronos::cli
