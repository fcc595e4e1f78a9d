#include "core/grant.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstring>

#include "core/clock.hpp"
#include "core/name.hpp"
#include "core/posix.hpp"
#include "core/text.hpp"
#include "core/units.hpp"

namespace chronos {
namespace {

constexpr std::string_view kNumberPrefix = "partition_";

BootId read_boot_id() {
  BootId id{};
  std::string text;
  if (!read_small_file("/proc/sys/kernel/random/boot_id", text, 64)) return id;
  std::erase_if(text, [](char c) { return c == '-' || c == '\n'; });
  Token token;
  if (parse_token(text, token)) id = token;
  return id;
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

// A text field of a file: must end within its room and be printable.
template <std::size_t N>
bool read_text(const char (&field)[N], std::string& out) {
  const char* end = static_cast<const char*>(std::memchr(field, '\0', N));
  if (end == nullptr) return false;
  out.assign(field, end);
  return std::none_of(out.begin(), out.end(),
                      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

tl::unexpected<Error> damaged(const char* what) { return fail(ErrorCode::kDamaged, what); }

}  // namespace

// FNV-1a, but eight bytes a step. It finds damage, not malice: whoever owns the file can make it
// say anything anyway.
std::uint64_t GrantLayout::compute_checksum() const {
  constexpr std::size_t kEnd = offsetof(GrantLayout, checksum);
  static_assert(kEnd % sizeof(std::uint64_t) == 0);
  std::uint64_t hash = kHashSeed;
  const auto* bytes = reinterpret_cast<const unsigned char*>(this);
  for (std::size_t i = 0; i < kEnd; i += sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes + i, sizeof word);
    hash = (hash ^ word) * 0x100000001b3;
    hash ^= hash >> 32;  // else a change in the high bits would reach no others
  }
  return hash;
}

std::string Grant::id() const { return name.empty() ? number_id(number) : name; }

bool matches(const Grant& grant, std::string_view id) {
  const std::size_t at = id.find('@');
  if (at != std::string_view::npos) return token_text(grant.token) == id.substr(at + 1);
  return !id.empty() && (id == grant.name || id == number_id(grant.number));
}

TokenTags TokenTags::of(std::string_view device_key, std::uint64_t number, std::string_view name) {
  return {static_cast<std::uint32_t>(hash_bytes(device_key)), static_cast<std::uint16_t>(number),
          static_cast<std::uint16_t>(hash_bytes(name))};
}

TokenTags TokenTags::of(const Token& token) {
  const auto at = [&](std::size_t i) { return static_cast<std::uint32_t>(token[i]); };
  return {at(0) << 24 | at(1) << 16 | at(2) << 8 | at(3),
          static_cast<std::uint16_t>(at(4) << 8 | at(5)),
          static_cast<std::uint16_t>(at(6) << 8 | at(7))};
}

void TokenTags::put_into(Token& token) const {
  const std::uint64_t all = std::uint64_t{device} << 32 | std::uint64_t{number} << 16 | name;
  for (std::size_t i = 0; i < 8; ++i) token[i] = static_cast<std::uint8_t>(all >> (56 - 8 * i));
}

bool may_match(const Token& token, std::string_view id) {
  const std::size_t at = id.find('@');
  if (at != std::string_view::npos) return token_text(token) == id.substr(at + 1);
  const TokenTags tags = TokenTags::of(token);
  if (tags.name == static_cast<std::uint16_t>(hash_bytes(id))) return true;
  std::uint64_t number = 0;
  if (!id.starts_with(kNumberPrefix)) return false;
  id.remove_prefix(kNumberPrefix.size());
  const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), number);
  return error == std::errc{} && end == id.data() + id.size() &&
         tags.number == static_cast<std::uint16_t>(number);
}

std::string number_id(std::uint64_t number) {
  return fmt::format("{}{:04}", kNumberPrefix, number);
}

std::string token_text(const Token& token) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * token.size());
  for (std::uint8_t byte : token) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

bool parse_token(std::string_view text, Token& out) {
  if (text.size() != 2 * out.size()) return false;
  for (std::size_t i = 0; i < out.size(); ++i) {
    int high = hex_value(text[2 * i]);
    int low = hex_value(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    out[i] = static_cast<std::uint8_t>(high << 4 | low);
  }
  return true;
}

const BootId& this_boot() {
  // No function-local constant: its guard could be held by a thread that a forked child lacks.
  static constinit std::atomic<const BootId*> known{nullptr};
  const BootId* id = known.load(std::memory_order_acquire);
  if (id != nullptr) return *id;
  const auto* read = new BootId(read_boot_id());
  if (known.compare_exchange_strong(id, read)) return *read;
  delete read;
  return *id;
}

Result<Grant> validate(const GrantLayout& layout, const Token& token, uid_t name_uid,
                       uid_t creator) {
  if (layout.magic != GrantLayout::kMagic) return damaged("is not a grant");
  if (layout.version != GrantLayout::kVersion) return damaged("is of another version");
  if (layout.size != kGrantFileSize || layout.checksum != layout.compute_checksum()) {
    return damaged("is garbled");
  }
  if (layout.boot_id != this_boot()) return fail(ErrorCode::kExpired, "is of an earlier boot");
  if (layout.token != token || layout.owner_uid != name_uid) return damaged("bears another's name");
  // Only root gives to others.
  if (layout.owner_uid != creator && creator != 0) return damaged("is not its creator's to give");

  Grant grant;
  grant.token = layout.token;
  grant.number = layout.number;
  grant.owner = layout.owner_uid;
  grant.creator = grant.shown_creator = creator;
  grant.creator_pid = layout.creator_pid;
  grant.device_index = std::max(layout.device_index, -1);
  grant.device_total_bytes = std::min(layout.device_total_bytes, kMaxBytes);
  grant.fraction = layout.fraction;
  grant.birth_ns = layout.birth_ns;
  grant.held = layout.held != 0;
  grant.holder = {layout.creator_pid, layout.holder_pid_namespace, layout.holder_start_ticks};
  if (!read_text(layout.name, grant.name) || !read_text(layout.device_key, grant.device_key) ||
      !read_text(layout.device_name, grant.device_name) || grant.device_key.empty()) {
    return damaged("has an unreadable text");
  }
  if (TokenTags::of(token) != TokenTags::of(grant.device_key, grant.number, grant.name)) {
    return damaged("bears another's name");
  }
  if (!grant.name.empty() && !check_name(grant.name)) return damaged("has an impossible name");
  if (!std::isfinite(grant.fraction) || grant.fraction < 0)
    return damaged("has an impossible share");
  if (grant.number == 0) return damaged("has no number");

  // A partition was not born in the future, does not last for longer than one can be asked for, and
  // is no larger than its device.
  constexpr std::uint64_t kLongest = kMaxDurationSeconds * kNanosPerSecond;
  grant.birth_ns = std::min(grant.birth_ns, boot_now());
  grant.latest_deadline_ns = grant.birth_ns + kLongest;
  grant.most_bytes = grant.device_total_bytes;
  grant.deadline_ns = std::min(layout.deadline_ns.load(), grant.latest_deadline_ns);
  // An extension moves the deadline alone.
  grant.duration_ns = grant.deadline_ns - std::min(grant.birth_ns, grant.deadline_ns);
  grant.limit_bytes = std::min(layout.limit_bytes.load(), grant.most_bytes);
  grant.draining_bytes = std::min(layout.draining_bytes.load(), grant.most_bytes);
  grant.ended = layout.ended.load() != 0;
  return grant;
}

}  // namespace chronos
