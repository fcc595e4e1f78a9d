// What a verb takes, as its own parser knows it. Completions and the manual are made from this, so
// that neither can say anything else than --help does.
//
// Not for threads: `chronos` has one.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/arguments.hpp"
#include "cli/verbs.hpp"

namespace chronos::cli {

struct Parameter {
  std::vector<std::string> names;    // "-f", "--follow"; of an argument its one name, "device"
  std::string value;                 // what stands for the value; empty: takes none
  std::string text;                  // may be of several lines
  std::vector<std::string> choices;  // empty: any value
  bool positional = false, required = false;
};

struct Description {
  std::string name;            // "create", "queue add"
  std::string usage;           // what follows the name
  std::string summary, notes;  // several lines, as --help shows them
  std::vector<Parameter> parameters;

  // Whether another program's command line may follow, behind `--` or not.
  bool takes_command() const;
};

Description describe(const CLI::App& app, const std::string& name, const std::string& usage);

// Calls the verb, whose Arguments then describe what they take instead of parsing. Nothing if it
// has none (`queue`, whose commands are in another program).
std::optional<Description> describe(const Verb& verb, const InheritedSignals& signals);

// The middle of that: where Arguments leave their description, if anybody wants one.
std::optional<Description>* wanted_description();

}  // namespace chronos::cli
