// `chronos queue`: handed on to chronosd, which has SQLite in it; every other verb starts without.
#include <unistd.h>

#include <cerrno>

#include "cli/output.hpp"
#include "cli/verbs.hpp"
#include "core/paths.hpp"
#include "core/posix.hpp"

namespace chronos::cli {

int queue_verb(const Invocation& invocation) {
  const std::string program = runner_path();
  if (program.empty()) {
    return report({ErrorCode::kSystem, "chronosd is missing from this installation",
                   "it belongs beside chronos; install Chronos again"});
  }
  std::vector<std::string> words = {"chronosd", "queue"};
  words.insert(words.end(), invocation.arguments.begin(), invocation.arguments.end());
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  invocation.signals.restore();
  ::execv(program.c_str(), pointers.data());
  return report({ErrorCode::kSystem, "cannot start " + program + ": " + errno_text(errno), {}});
}

}  // namespace chronos::cli
