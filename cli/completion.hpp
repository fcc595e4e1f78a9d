// `chronos complete WORDS...`: what could stand in place of the last word, for the completions of
// bash, zsh and fish (cli/completions/), which hold no names of verbs or options of their own.
//
// A line for each word that fits, with a tab and what it is; then a line that says what else fits:
//   :          nothing
//   :files     names of files        :folders   names of folders
//   :users     names of users        :command N the words from number N on are a command line
// Never fails, starts no driver, makes no file, and prints nothing on standard error.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "cli/description.hpp"
#include "cli/verbs.hpp"

namespace chronos::cli {

struct Candidate {
  std::string word, text;
};

// What only this machine knows.
class Known {
 public:
  virtual ~Known() = default;
  virtual std::vector<Candidate> partitions() const;  // that the caller may name
  virtual std::vector<Candidate> devices() const;     // as last looked up
  virtual std::vector<Candidate> jobs() const { return {}; }
};

struct Completion {
  std::vector<Candidate> candidates;
  std::string rest = ":";

  std::string text() const;
};

// `words` are those behind the verb, the last one is to be completed; `offset` stand before them.
Completion complete(const Description& verb, const std::vector<std::string>& words,
                    std::size_t offset, const Known& known);

// A verb itself, of these; with the options that may stand in its place.
Completion complete_name(std::span<const Verb> verbs, const std::string& word,
                         const std::vector<Candidate>& options);

// `--color WHEN` may stand before a verb: how many words that takes.
std::size_t leading_color(const std::vector<std::string>& words);

int complete_verb(const Invocation& invocation, std::span<const Verb> verbs);

}  // namespace chronos::cli
