// `chronos manual [--date DATE] [--prose FILE] [VERB]`: the page of a verb, or of `chronos` itself,
// for man(1); `chronos manual --names` lists the verbs. Called by the build only.
//
// A page is made of what the verb's --help says, and of what FILE adds: sections in man(7)'s
// language, which stand before SEE ALSO.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "cli/description.hpp"
#include "cli/verbs.hpp"

namespace chronos::cli {

struct ManualSettings {
  std::string date;   // of the release; empty: none
  std::string prose;  // sections in man(7)'s language
};

// The page of a verb, or of a program that has no verbs. `summary` is one line.
std::string manual_page(const Description& description, const std::string& page,
                        const std::string& summary, const ManualSettings& settings);
// That of a command with verbs of its own, `chronos` or `chronos queue`. Without descriptions,
// each verb is left to its own page.
std::string manual_overview(const std::string& command, const std::string& summary,
                            std::span<const Verb> verbs,
                            const std::vector<Description>& descriptions,
                            const ManualSettings& settings);

// The words behind `manual`: what is asked for. Errors: kInvalid, kSystem (FILE).
struct ManualRequest {
  bool names = false;
  std::string verb;
  ManualSettings settings;
};
Result<ManualRequest> parse_manual_request(const std::vector<std::string>& words);

int manual_verb(const Invocation& invocation, std::span<const Verb> verbs);

}  // namespace chronos::cli
