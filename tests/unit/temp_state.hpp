// A state directory of its own for each test.
#pragma once

#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <string>

class TempState {
 public:
  TempState() {
    char path[] = "/dev/shm/chronos-unit-XXXXXX";
    path_ = ::mkdtemp(path);
    ::setenv("CHRONOS_STATE_DIR", path_.c_str(), 1);
  }
  TempState(const TempState&) = delete;
  TempState& operator=(const TempState&) = delete;
  ~TempState() {
    ::unsetenv("CHRONOS_STATE_DIR");
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }
  // How many files whose name ends in `suffix` there are.
  int count(const std::string& suffix) const {
    int found = 0;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
      found += entry.path().string().ends_with(suffix) ? 1 : 0;
    }
    return found;
  }

 private:
  std::string path_;
};
