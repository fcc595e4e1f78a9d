#include "core/name.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/text.hpp"

namespace chronos {
namespace {

constexpr std::string_view kNumberPrefix = "partition_";

bool all_digits(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

Result<void> check_name(std::string_view name) {
  auto refuse = [&](const char* why) {
    return fail(ErrorCode::kInvalid, fmt::format("invalid name {}: {}", quoted(name), why));
  };
  if (name.empty()) return refuse("it is empty");
  if (name.size() > kMaxName) return refuse("at most 63 characters");
  auto is_alnum = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  if (!is_alnum(name.front())) return refuse("it must start with a letter or a digit");
  for (char c : name) {
    if (!is_alnum(c) && c != '.' && c != '_' && c != '-') {
      return refuse("only letters, digits, '.', '_' and '-'");
    }
  }
  if (name.starts_with(kNumberPrefix) && all_digits(name.substr(kNumberPrefix.size()))) {
    return refuse("names like partition_0001 are given by Chronos");
  }
  return {};
}

}  // namespace chronos
