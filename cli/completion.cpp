#include "cli/completion.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "cli/devices.hpp"
#include "cli/output.hpp"
#include "core/registry.hpp"
#include "core/state_dir.hpp"
#include "core/units.hpp"

namespace chronos::cli {
namespace {

enum class Kind { kNone, kPartitions, kDevices, kJobs, kUsers, kFiles, kFolders };

// By the names and the kinds of value that verbs use; what is not here completes to its choices,
// or to nothing.
struct NamedKind {
  std::string_view name, value;
  Kind kind;
};
constexpr std::array kKinds = {
    NamedKind{"id", {}, Kind::kPartitions},  NamedKind{"--partition", {}, Kind::kPartitions},
    NamedKind{"device", {}, Kind::kDevices}, NamedKind{"--device", {}, Kind::kDevices},
    NamedKind{"--only", {}, Kind::kDevices}, NamedKind{"--ban", {}, Kind::kDevices},
    NamedKind{"job", {}, Kind::kJobs},       NamedKind{"jobs", {}, Kind::kJobs},
    NamedKind{"--after", {}, Kind::kJobs},   NamedKind{"--after-ok", {}, Kind::kJobs},
    NamedKind{"--user", {}, Kind::kUsers},   NamedKind{"file", {}, Kind::kFiles},
    NamedKind{{}, "FILE", Kind::kFiles},     NamedKind{{}, "DIR", Kind::kFolders},
};

Kind kind_of(const Parameter& parameter) {
  for (const NamedKind& one : kKinds) {
    const auto& names = parameter.names;
    const bool named = std::find(names.begin(), names.end(), one.name) != names.end();
    if (one.name.empty() ? parameter.value == one.value : named) return one.kind;
  }
  return Kind::kNone;
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

// Those that begin as `word` does, with `before` put in front of them.
void add_fitting(Completion& made, const std::vector<Candidate>& candidates,
                 const std::string& word, const std::string& before) {
  for (const Candidate& one : candidates) {
    if (one.word.starts_with(word)) made.candidates.push_back({before + one.word, one.text});
  }
}

// A value of `parameter`, of which `word` is the beginning. Lists are completed behind their last
// comma.
void complete_value(Completion& made, const Parameter& parameter, std::string word,
                    std::string before, const Known& known) {
  if (!parameter.choices.empty()) {
    std::vector<Candidate> choices;
    for (const std::string& choice : parameter.choices) choices.push_back({choice, ""});
    return add_fitting(made, choices, word, before);
  }
  const Kind kind = kind_of(parameter);
  if (!parameter.positional && word.find(',') != word.npos) {
    const std::size_t behind = word.rfind(',') + 1;
    before += word.substr(0, behind);
    word.erase(0, behind);
  }
  switch (kind) {
    case Kind::kPartitions:
      return add_fitting(made, known.partitions(), word, before);
    case Kind::kDevices:
      return add_fitting(made, known.devices(), word, before);
    case Kind::kJobs:
      return add_fitting(made, known.jobs(), word, before);
    case Kind::kUsers:
      made.rest = ":users";
      return;
    case Kind::kFiles:
      made.rest = ":files";
      return;
    case Kind::kFolders:
      made.rest = ":folders";
      return;
    case Kind::kNone:
      return;
  }
}

const Parameter* option_named(const Description& verb, std::string_view name) {
  for (const Parameter& one : verb.parameters) {
    if (one.positional) continue;
    if (std::find(one.names.begin(), one.names.end(), name) != one.names.end()) return &one;
  }
  return nullptr;
}

// The argument at this place; where there are more words than arguments, the last one.
const Parameter* argument_at(const Description& verb, std::size_t place) {
  const Parameter* found = nullptr;
  for (const Parameter& one : verb.parameters) {
    if (!one.positional) continue;
    found = &one;
    if (place-- == 0) break;
  }
  return found;
}

void complete_option(Completion& made, const Description& verb, const std::string& word) {
  for (const Parameter& one : verb.parameters) {
    if (one.positional) continue;
    for (const std::string& name : one.names) {
      if (name.starts_with(word)) made.candidates.push_back({name, first_line(one.text)});
    }
  }
}

bool is_option(const std::string& word) { return word.size() > 1 && word[0] == '-'; }

}  // namespace

std::string Completion::text() const {
  std::string out;
  for (const Candidate& one : candidates) {
    out += printable(one.word) + (one.text.empty() ? "" : "\t" + printable(one.text)) + "\n";
  }
  return out + rest + "\n";
}

Completion complete(const Description& verb, const std::vector<std::string>& words,
                    std::size_t offset, const Known& known) {
  Completion made;
  if (words.empty()) return made;
  const std::string& last = words.back();
  const Parameter* waiting = nullptr;  // an option whose value comes next
  std::size_t arguments = 0;
  for (std::size_t at = 0; at + 1 < words.size(); ++at) {
    const std::string& word = words[at];
    if (waiting != nullptr) {
      waiting = nullptr;
    } else if (word == "--" && verb.takes_command()) {
      made.rest = fmt::format(":command {}", offset + at + 1);
      return made;
    } else if (is_option(word)) {
      const Parameter* option = option_named(verb, word);
      if (option != nullptr && !option->value.empty()) waiting = option;
    } else if (verb.takes_command()) {
      made.rest = fmt::format(":command {}", offset + at);
      return made;
    } else {
      ++arguments;
    }
  }
  const std::size_t equals = last.find('=');
  if (waiting != nullptr) {
    complete_value(made, *waiting, last, "", known);
  } else if (last.starts_with("--") && equals != last.npos) {
    const Parameter* option = option_named(verb, last.substr(0, equals));
    if (option == nullptr || option->value.empty()) return made;
    complete_value(made, *option, last.substr(equals + 1), last.substr(0, equals + 1), known);
  } else if (last.starts_with("-")) {
    complete_option(made, verb, last);
  } else if (verb.takes_command()) {
    made.rest = fmt::format(":command {}", offset + words.size() - 1);
  } else if (const Parameter* argument = argument_at(verb, arguments)) {
    complete_value(made, *argument, last, "", known);
  }
  return made;
}

Completion complete_name(std::span<const Verb> verbs, const std::string& word,
                         const std::vector<Candidate>& options) {
  Completion made;
  if (word.starts_with("-")) {
    add_fitting(made, options, word, "");
    return made;
  }
  for (const Verb& verb : verbs) {
    if (verb.name.starts_with(word)) {
      made.candidates.push_back({std::string(verb.name), std::string(verb.summary)});
    }
  }
  return made;
}

std::size_t leading_color(const std::vector<std::string>& words) {
  std::size_t count = 0;
  while (count + 1 < words.size() && words[count].starts_with("--color")) {
    const std::size_t taken = words[count] == "--color" ? 2 : 1;
    if (count + taken >= words.size()) break;
    count += taken;
  }
  return count;
}

std::vector<Candidate> Known::partitions() const {
  auto state = StateDir::open();
  if (!state) return {};
  auto partitions = Registry(std::move(*state)).list();
  if (!partitions) return {};
  std::vector<Candidate> found;
  const uid_t user = ::geteuid();
  for (const PartitionInfo& one : *partitions) {
    if (user != 0 && one.owner != user && one.creator != user) continue;
    if (one.state != PartitionState::kActive) continue;
    found.push_back({one.id, fmt::format("{} of device {}, {} left", format_bytes(one.limit_bytes),
                                         one.device_index, format_duration(one.remaining_ns))});
  }
  return found;
}

std::vector<Candidate> Known::devices() const {
  auto state = StateDir::open();
  if (!state) return {};
  std::vector<Candidate> found;
  for (const Device& one : remembered_devices(Registry(std::move(*state)))) {
    found.push_back({std::to_string(one.index), one.name});
  }
  return found;
}

int complete_verb(const Invocation& invocation, std::span<const Verb> verbs) {
  const std::size_t before = leading_color(invocation.arguments);
  auto begin = invocation.arguments.begin() + static_cast<std::ptrdiff_t>(before);
  const std::vector<std::string> words(begin, invocation.arguments.end());
  if (words.empty()) return print(Completion{}.text());
  if (words.size() == 1) {
    Completion made = complete_name(verbs, words[0],
                                    {{"--help", "Print an overview"},
                                     {"--version", "Print the version"},
                                     {"--color", "Colour on a terminal: auto, always or never"}});
    if (std::string_view("help").starts_with(words[0])) {
      made.candidates.push_back({"help", "print the help of a command"});
    }
    return print(made.text());
  }
  if (words[0] == "--color") {
    Completion made;
    add_fitting(made, {{"auto", ""}, {"always", ""}, {"never", ""}}, words.back(), "");
    return print(made.text());
  }
  if (words[0] == "help") {
    return print(words.size() > 2 ? Completion{}.text()
                                  : complete_name(verbs, words[1], {}).text());
  }
  const std::vector<std::string> rest(words.begin() + 1, words.end());
  for (const Verb& verb : verbs) {
    if (verb.name != words[0]) continue;
    if (auto description = describe(verb, invocation.signals)) {
      return print(complete(*description, rest, before + 1, Known()).text());
    }
    return hand_on_to_runner("complete", invocation, true);
  }
  return print(Completion{}.text());
}

}  // namespace chronos::cli
