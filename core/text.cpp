#include "core/text.hpp"

namespace chronos {
namespace {

constexpr char kHexDigits[] = "0123456789abcdef";
constexpr std::size_t kQuotedLimit = 40;

void append_escaped(std::string& out, unsigned char c) {
  switch (c) {
    case '\n':
      out += "\\n";
      return;
    case '\t':
      out += "\\t";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\\':
      out += "\\\\";
      return;
    default:
      break;
  }
  if (c >= 0x20 && c < 0x7f) {
    out += static_cast<char>(c);
  } else {
    out += {'\\', 'x', kHexDigits[c >> 4], kHexDigits[c & 15]};
  }
}

}  // namespace

std::string escaped(std::string_view text, std::size_t limit) {
  constexpr std::string_view kMore = "...";
  std::string out;
  std::size_t safe = 0;  // the longest prefix that leaves room for kMore
  for (char c : text) {
    if (out.size() + kMore.size() <= limit) safe = out.size();
    append_escaped(out, static_cast<unsigned char>(c));
    if (out.size() > limit) {
      out.resize(safe);
      if (limit >= kMore.size()) out += kMore;
      return out;
    }
  }
  return out;
}

std::string quoted(std::string_view text) { return "'" + escaped(text, kQuotedLimit) + "'"; }

std::uint64_t hash_bytes(std::string_view bytes, std::uint64_t seed) {
  std::uint64_t hash = seed;
  for (char c : bytes) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3;
  }
  return hash;
}

std::string to_hex(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (char c : bytes) {
    auto byte = static_cast<unsigned char>(c);
    out += kHexDigits[byte >> 4];
    out += kHexDigits[byte & 15];
  }
  return out;
}

std::string to_hex(std::uint64_t value) {
  std::string out(16, '0');
  for (std::size_t i = 16; i-- > 0; value >>= 4) out[i] = kHexDigits[value & 15];
  return out;
}

}  // namespace chronos
