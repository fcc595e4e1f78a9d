// What was in /etc/ld.so.preload before enforcement was switched on, so that it can be put back
// byte for byte. That there was no such file is something else than that it was empty.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include "core/enforce/files.hpp"

namespace chronos::cli {

inline constexpr std::size_t kMostPreloadText = 1 << 20;

// None: there was no file. Errors: kSystem.
Result<void> keep_record(const std::optional<enforce::FileText>& before);

struct Record {
  std::optional<enforce::FileText> before;
};
// None: there is no record, or none that can be read.
std::optional<Record> read_record();

// The text of a record, and back. Pure.
std::string record_text(const std::optional<enforce::FileText>& before);
std::optional<Record> parse_record(std::string_view text);

}  // namespace chronos::cli
