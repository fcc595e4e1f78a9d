#include "core/enforce/preload_text.hpp"

#include <algorithm>
#include <cstddef>

namespace chronos::enforce {
namespace {

constexpr std::string_view kSeparators = ": \t\n";

struct Span {
  std::size_t begin, end;
};

// Where the names stand.
std::vector<Span> names_in(std::string_view text) {
  std::vector<Span> names;
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] == '#') {
      at = std::min(text.find('\n', at), text.size());
    } else if (kSeparators.find(text[at]) != kSeparators.npos) {
      ++at;
    } else {
      const std::size_t end = std::min(text.find_first_of(": \t\n#", at), text.size());
      names.push_back({at, end});
      at = end;
    }
  }
  return names;
}

}  // namespace

std::vector<std::string> preload_names(std::string_view text) {
  std::vector<std::string> names;
  for (const Span& name : names_in(text)) {
    names.emplace_back(text.substr(name.begin, name.end - name.begin));
  }
  return names;
}

bool names_entry(std::string_view text, std::string_view entry) {
  const std::vector<std::string> names = preload_names(text);
  return std::find(names.begin(), names.end(), entry) != names.end();
}

std::string with_entry(std::string_view text, std::string_view entry) {
  std::string out(text);
  if (!out.empty() && out.back() != '\n') out += '\n';
  out += entry;
  out += '\n';
  return out;
}

std::string without_entry(std::string_view text, std::string_view entry) {
  std::string out(text);
  const std::vector<Span> names = names_in(text);
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    if (text.substr(name->begin, name->end - name->begin) != entry) continue;
    const std::size_t before = out.rfind('\n', name->begin);
    const std::size_t line = before == out.npos || name->begin == 0 ? 0 : before + 1;
    const std::size_t newline = std::min(out.find('\n', name->begin), out.size());
    auto is_blank = [&](std::size_t begin, std::size_t end) {
      return out.find_first_not_of(kSeparators, begin) >= end;
    };
    if (is_blank(line, name->begin) && is_blank(name->end, newline)) {
      out.erase(line, std::min(newline + 1, out.size()) - line);
    } else {
      out.erase(name->begin, name->end - name->begin);
    }
  }
  return out;
}

}  // namespace chronos::enforce
