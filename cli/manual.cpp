#include "cli/manual.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <string_view>

#include "core/posix.hpp"
#include "core/text.hpp"

namespace chronos::cli {
namespace {

// Text as roff prints it and nothing else: no command, no escape, a dash that can be copied.
// `code` between backticks is bold.
std::string roff(std::string_view text) {
  std::string out;
  bool bold = false, line_begins = true;
  for (char c : text) {
    if (line_begins && (c == '.' || c == '\'')) out += "\\&";
    line_begins = c == '\n';
    switch (c) {
      case '\\':
        out += "\\e";
        break;
      case '-':
        out += "\\-";
        break;
      case '`':
        bold = !bold;
        out += bold ? "\\fB" : "\\fR";
        break;
      default:
        out += c;
    }
  }
  return bold ? out + "\\fR" : out;
}

std::string bold(std::string_view text) { return "\\fB" + roff(text) + "\\fR"; }
std::string italic(std::string_view text) { return "\\fI" + roff(text) + "\\fR"; }

std::string upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

std::string head(const std::string& page, const std::string& summary,
                 const ManualSettings& settings) {
  // In NAME the dashes of a name are minus signs, too; the one between the parts is not escaped
  // but a dash of its own, for whatis(1).
  return fmt::format(".TH {} 1 \"{}\" \"Chronos {}\" \"Chronos Manual\"\n.SH NAME\n{} \\- {}\n",
                     upper(page), settings.date, CHRONOS_VERSION, page, roff(summary));
}

// Blocks of `text` between empty lines.
std::vector<std::string> blocks(const std::string& text) {
  std::vector<std::string> found;
  std::size_t begin = 0;
  while (begin < text.size()) {
    std::size_t end = std::min(text.find("\n\n", begin), text.size());
    found.push_back(text.substr(begin, end - begin));
    begin = end;
    while (begin < text.size() && text[begin] == '\n') ++begin;
  }
  return found;
}

// `text` behind `mark`, which a section of the notes opens with; empty: it is no such section.
std::string behind(const std::string& text, std::string_view mark) {
  return text.starts_with(mark) ? text.substr(mark.size()) : std::string();
}

std::string literal(const std::string& lines) {
  std::string out = ".EX\n";
  std::size_t begin = 0;
  while (begin < lines.size()) {
    const std::size_t end = std::min(lines.find('\n', begin), lines.size());
    std::string line = lines.substr(begin, end - begin);
    line.erase(0, std::min(line.find_first_not_of(' '), line.size()));
    if (!line.empty()) out += roff(line) + "\n";
    begin = end + 1;
  }
  return out + ".EE\n";
}

std::string options_text(const Description& description) {
  std::string out;
  for (const bool positional : {true, false}) {
    for (const Parameter& one : description.parameters) {
      if (one.positional != positional) continue;
      std::string names;
      for (const std::string& name : one.names) {
        names += (names.empty() ? "" : ", ") + (positional ? italic(name) : bold(name));
      }
      if (!positional && !one.value.empty()) names += " " + italic(one.value);
      out += ".TP\n" + names + "\n" + roff(one.text) + "\n";
    }
  }
  return out;
}

struct Notes {
  std::string description, examples, status;
};

Notes split_notes(const std::string& notes) {
  Notes split;
  for (const std::string& block : blocks(notes)) {
    if (std::string examples = behind(block, "Examples:\n"); !examples.empty()) {
      split.examples += literal(examples);
    } else if (std::string status = behind(block, "Exit status: "); !status.empty()) {
      status[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(status[0])));
      split.status += roff(status) + "\n";
    } else {
      split.description += ".PP\n" + roff(block) + "\n";
    }
  }
  return split;
}

std::string section(std::string_view name, const std::string& text) {
  return text.empty() ? "" : fmt::format(".SH {}\n{}", name, text);
}

std::string tail(const std::string& page, const ManualSettings& settings) {
  std::string others;
  for (const auto& [name, number] :
       {std::pair{"chronos", 1}, {"chronosd", 1}, {"chronos-policy", 5}}) {
    if (page == name && number == 1) continue;
    others += fmt::format("{}.BR {} ({})", others.empty() ? "" : ",\n", roff(name), number);
  }
  return settings.prose + ".SH SEE ALSO\n" + others + "\n";
}

}  // namespace

std::string manual_page(const Description& description, const std::string& page,
                        const std::string& summary, const ManualSettings& settings) {
  const Notes notes = split_notes(description.notes);
  const std::string command =
      page == "chronosd" ? std::string("chronosd") : "chronos " + description.name;
  return head(page, summary, settings) + ".SH SYNOPSIS\n" + bold(command) + " " +
         roff(description.usage) + "\n" + ".SH DESCRIPTION\n" + roff(description.summary) + "\n" +
         notes.description + section("OPTIONS", options_text(description)) +
         section("EXAMPLES", notes.examples) + section("EXIT STATUS", notes.status) +
         tail(page, settings);
}

std::string manual_overview(const std::string& command, const std::string& summary,
                            std::span<const Verb> verbs,
                            const std::vector<Description>& descriptions,
                            const ManualSettings& settings) {
  std::string page = command;
  std::replace(page.begin(), page.end(), ' ', '-');
  std::string out = head(page, summary, settings) + ".SH SYNOPSIS\n" + bold(command) +
                    " \\fIcommand\\fR [options]\n.SH COMMANDS\n";
  for (std::size_t i = 0; i < verbs.size(); ++i) {
    const Verb& verb = verbs[i];
    const std::string name = command + " " + std::string(verb.name);
    if (i >= descriptions.size()) {
      std::string verb_page = name;
      std::replace(verb_page.begin(), verb_page.end(), ' ', '-');
      std::string text(verb.summary);
      text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
      out += fmt::format(".TP\n{} {}\n{}.\nSee\n.BR {} (1).\n", bold(name), roff(verb.arguments),
                         roff(text), roff(verb_page));
      continue;
    }
    const Notes notes = split_notes(descriptions[i].notes);
    out += fmt::format(".SS \"{} {}\"\n{}\n{}{}{}", roff(name), roff(descriptions[i].usage),
                       roff(descriptions[i].summary), notes.description,
                       options_text(descriptions[i]), notes.examples);
  }
  return out + tail(page, settings);
}

Result<ManualRequest> parse_manual_request(const std::vector<std::string>& words) {
  ManualRequest request;
  for (std::size_t at = 0; at < words.size(); ++at) {
    const std::string& word = words[at];
    if (word == "--names") {
      request.names = true;
    } else if (word == "--date" && at + 1 < words.size()) {
      request.settings.date = words[++at];
    } else if (word == "--prose" && at + 1 < words.size()) {
      const std::string& file = words[++at];
      if (!read_small_file(file.c_str(), request.settings.prose)) {
        return fail(ErrorCode::kSystem, "cannot read " + chronos::quoted(file));
      }
    } else if (request.verb.empty() && !word.starts_with("-")) {
      request.verb = word;
    } else {
      return fail(ErrorCode::kInvalid, "unexpected argument " + chronos::quoted(word));
    }
  }
  return request;
}

int manual_verb(const Invocation& invocation, std::span<const Verb> verbs) {
  auto request = parse_manual_request(invocation.arguments);
  if (!request) return report(request.error());
  if (request->names) {
    std::string names;
    for (const Verb& verb : verbs) names += std::string(verb.name) + "\n";
    return print(names);
  }
  if (request->verb.empty()) {
    return print(manual_overview("chronos", "time-limited partitions of GPU memory", verbs, {},
                                 request->settings));
  }
  for (const Verb& verb : verbs) {
    if (verb.name != request->verb) continue;
    auto description = describe(verb, invocation.signals);
    if (!description) return hand_on_to_runner("manual", invocation);
    return print(manual_page(*description, "chronos-" + request->verb, std::string(verb.summary),
                             request->settings));
  }
  return report({ErrorCode::kInvalid, "unknown command " + chronos::quoted(request->verb), {}});
}

}  // namespace chronos::cli
