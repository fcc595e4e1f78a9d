// What the readers of damaged files share: a state directory with one partition. One thread.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

#include "core/partition_files.hpp"
#include "core/registry.hpp"

namespace chronos::test {

inline constexpr std::uint64_t kTotal = std::uint64_t{24} << 30;

// Ends the process, with a line, where something was believed that may not be.
void require(bool holds, const char* what);
// The same for a line of text that people are shown: printable, not empty, not endless.
void require_line(std::string_view text, const char* what);

template <class T>
T must(Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "cannot prepare: %s\n", result.error().message.c_str());
    std::abort();
  }
  return std::move(*result);
}

Device gpu();

// A state directory with one partition, whose files are replaced by damaged ones.
struct Scene {
  StateDir state = must(StateDir::open());
  Registry registry = must(Registry::open());
  FileName grant_name, ledger_name;
  Grant grant;
  std::string grant_bytes, ledger_bytes;

  Scene();
  std::string get(const FileName& name) const;
  void put(const FileName& name, std::string_view bytes) const;
  // Both files whole again: a listing may have put them away.
  void restore() const;
  void check_list();
};

Scene& scene();

}  // namespace chronos::test
