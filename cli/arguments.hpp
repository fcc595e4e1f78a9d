// The command line of one verb, on CLI11. Its errors become one line of ours.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/output.hpp"

namespace chronos::cli {

class Arguments {
 public:
  // Every verb has --help and --color. `usage` is what follows "chronos <verb>" in the help.
  Arguments(const std::string& verb, const std::string& usage, const std::string& summary);

  CLI::App& app() { return app_; }
  void add_json();
  void add_examples(const std::string& text) { app_.footer(text); }

  // Nothing where the verb shall go on; else the exit status: help was asked for, or the error has
  // been reported.
  std::optional<int> parse(std::vector<std::string> arguments);

  bool json() const { return json_; }
  Screen screen() const;

 private:
  int report_parse_error(const CLI::ParseError& error);

  std::string verb_, usage_;
  CLI::App app_;
  std::string color_ = "auto";
  bool json_ = false;
};

// For an option with a few words to choose from. Completion finds them in the validator's name,
// behind this.
inline constexpr char kOneOf[] = "one of ";
CLI::Validator one_of(std::vector<std::string> choices);

// Words that completion offers; the verb itself judges what it is given.
CLI::Validator offered(const std::vector<std::string>& choices);

// As parse_duration(), and "0" for no time at all. Nanoseconds. Errors: kInvalid.
Result<std::uint64_t> parse_wait(const std::string& text);

// Several of them, separated by commas, longest first and each once; none for "0", which stands
// alone. Errors: kInvalid.
Result<std::vector<std::uint64_t>> parse_waits(const std::string& text);

// "see `chronos help create`"
std::string help_hint(std::string_view verb);

}  // namespace chronos::cli
