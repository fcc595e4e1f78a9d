#include "cli/description.hpp"

#include <algorithm>
#include <string_view>

namespace chronos::cli {
namespace {

std::optional<Description>* wanted = nullptr;

// one_of() and offered() leave their words in the name of a validator.
std::vector<std::string> choices_of(const CLI::Option& option) {
  std::vector<std::string> words;
  try {
    for (int index = 0;; ++index) {
      // Only reads, but CLI11 has no such function for a constant option.
      const std::string name = const_cast<CLI::Option&>(option).get_validator(index)->get_name();
      if (!name.starts_with(kOneOf)) continue;
      for (std::size_t at = std::string_view(kOneOf).size(); at < name.size();) {
        const std::size_t end = std::min(name.find(',', at), name.size());
        words.push_back(name.substr(at, end - at));
        at = end + 1;
      }
    }
  } catch (const CLI::OptionNotFound&) {  // there is none with that index
  }
  return words;
}

Parameter parameter(const CLI::Option& option) {
  Parameter made;
  made.positional = !option.nonpositional();
  if (made.positional) {
    made.names = {option.get_name(true)};
    made.value = made.names[0];
  } else {
    for (const std::string& name : option.get_snames()) made.names.push_back("-" + name);
    for (const std::string& name : option.get_lnames()) made.names.push_back("--" + name);
    if (option.get_items_expected_max() > 0) made.value = option.get_type_name();
  }
  made.text = option.get_description();
  made.choices = choices_of(option);
  made.required = option.get_required();
  return made;
}

}  // namespace

std::optional<Description>* wanted_description() { return wanted; }

bool Description::takes_command() const {
  return usage.find("program [arguments]") != usage.npos || usage.find("CMD...") != usage.npos;
}

Description describe(const CLI::App& app, const std::string& name, const std::string& usage) {
  Description made{name, usage, app.get_description(), app.get_footer(), {}};
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_group().empty()) made.parameters.push_back(parameter(*option));
  }
  return made;
}

std::optional<Description> describe(const Verb& verb, const InheritedSignals& signals) {
  std::optional<Description> made;
  wanted = &made;
  verb.run({{}, signals});
  wanted = nullptr;
  return made;
}

}  // namespace chronos::cli
