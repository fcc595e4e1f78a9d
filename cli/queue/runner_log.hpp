// What the runner did, a line each, in runner.log: at most 10 MB, and five older ones beside it.
// On a terminal or under a service manager on standard error, too. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/posix.hpp"

namespace chronos::queue {

class RunnerLog {
 public:
  explicit RunnerLog(std::string path, bool on_stderr, std::uint64_t limit = 10u << 20);
  // What cannot be written is lost: a full disk must not stop the runner.
  void write(std::string_view line);

 private:
  void rotate();

  std::string path_;
  bool on_stderr_;
  std::uint64_t limit_, size_ = 0;
  UniqueFd fd_;
};

}  // namespace chronos::queue
