// `chronos queue`: handed on to chronosd, which has SQLite in it; every other verb starts without.
#include <unistd.h>

#include <cerrno>

#include "cli/description.hpp"
#include "cli/output.hpp"
#include "cli/verbs.hpp"
#include "core/paths.hpp"
#include "core/posix.hpp"

namespace chronos::cli {

int hand_on_to_runner(const std::string& word, const Invocation& invocation, bool silent) {
  const std::string program = runner_path();
  if (program.empty()) {
    if (silent) return kFailed;
    return report({ErrorCode::kSystem, "chronosd is missing from this installation",
                   "it belongs beside chronos; install Chronos again"});
  }
  std::vector<std::string> words = {"chronosd", word};
  words.insert(words.end(), invocation.arguments.begin(), invocation.arguments.end());
  std::vector<char*> pointers;
  for (std::string& one : words) pointers.push_back(one.data());
  pointers.push_back(nullptr);
  invocation.signals.restore();
  ::execv(program.c_str(), pointers.data());
  if (silent) return kFailed;
  return report({ErrorCode::kSystem, "cannot start " + program + ": " + errno_text(errno), {}});
}

int queue_verb(const Invocation& invocation) {
  if (wanted_description() != nullptr) return kDone;  // chronosd knows what its commands take
  return hand_on_to_runner("queue", invocation);
}

}  // namespace chronos::cli
