// The grant: what a partition was given, in a file owned by whoever created the partition.
// docs/formats.md describes the layout. Another user's grant is untrusted input: it is read with
// pread, never mapped, and counts for no more than validate() leaves of it.
#pragma once

#include <sys/types.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/device.hpp"
#include "core/ledger.hpp"
#include "core/result.hpp"

namespace chronos {

struct GrantLayout {
  static constexpr std::uint64_t kMagic = 0x31544e474e524843;  // "CHRNGNT1"
  static constexpr std::uint32_t kVersion = 3;

  // Fixed at creation; `checksum` is over these bytes up to itself.
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t size;
  Token token;
  BootId boot_id;
  std::uint64_t number;
  std::uint32_t owner_uid;
  std::uint32_t creator_uid;
  std::int32_t creator_pid;
  std::int32_t device_index;  // as its creator saw it
  std::uint64_t device_total_bytes;
  double fraction;  // as asked for, or the share that an absolute size makes
  std::uint64_t birth_ns;
  std::uint64_t duration_ns;
  // With `held`, the partition lasts while this process or any process in it lives.
  std::uint32_t held;
  std::uint32_t holder_pid_namespace;
  std::uint64_t holder_start_ticks;
  char name[64];  // NUL-terminated, empty if it has none
  char device_key[192];
  char device_name[256];
  std::uint64_t checksum;

  // May change while programs run; each is one word and is read anew for every charge.
  alignas(64) std::atomic<std::uint64_t> limit_bytes;
  std::atomic<std::uint64_t> deadline_ns;
  std::atomic<std::uint64_t> ended;  // set once by the creator, never cleared
  // What programs may still hold though the limit was lowered below it; 0 where nothing drains.
  // Charges do not look at it.
  std::atomic<std::uint64_t> draining_bytes;

  std::uint64_t compute_checksum() const;
};
inline constexpr std::size_t kGrantFileSize = 4096;
static_assert(sizeof(GrantLayout) <= kGrantFileSize);

// A grant as its reader may believe it.
struct Grant {
  Token token{};
  std::uint64_t number = 0;
  uid_t owner = 0;
  uid_t creator = 0;  // by the kernel's word, not the file's
  pid_t creator_pid = 0;
  int device_index = -1;
  std::uint64_t device_total_bytes = 0;
  double fraction = 0;
  std::uint64_t birth_ns = 0, duration_ns = 0;
  bool held = false;
  ProcessIdentity holder;
  std::string name, device_key, device_name;
  std::uint64_t limit_bytes = 0, deadline_ns = 0, draining_bytes = 0;
  bool ended = false;
  // Whatever its words come to say while programs run, they count for no more than this.
  std::uint64_t most_bytes = kMaxBytes, latest_deadline_ns = UINT64_MAX;
  // By the kernel's word, whatever the caller's user namespace calls the two.
  bool is_mine = false;     // the caller owns the partition
  bool may_write = false;   // and may change the grant
  uid_t shown_creator = 0;  // the file's owner as the caller sees it
  std::uint64_t inode = 0;  // of the file, in a user namespace; else 0

  // The most that its programs can hold now.
  std::uint64_t most_held_bytes() const { return std::max(limit_bytes, draining_bytes); }
  std::string id() const;  // the name, else partition_0001
};

// Whether `id` (a name, a number's id, or a handle "id@token") means this grant.
bool matches(const Grant& grant, std::string_view id);

// What the first half of a grant's token says of it, so that who looks for one partition, or for
// those on one device, need not open all the others. A grant that says something else is none.
struct TokenTags {
  std::uint32_t device = 0;
  std::uint16_t number = 0, name = 0;

  static TokenTags of(std::string_view device_key, std::uint64_t number, std::string_view name);
  static TokenTags of(const Token& token);
  void put_into(Token& token) const;
  bool operator==(const TokenTags&) const = default;
};

// False: `id` cannot mean a grant with this token.
bool may_match(const Token& token, std::string_view id);

std::string number_id(std::uint64_t number);          // 1 -> "partition_0001"
std::string token_text(const Token& token);           // 32 hexadecimal digits
bool parse_token(std::string_view text, Token& out);  // exactly that

const BootId& this_boot();  // all zero if the kernel does not say

// Believes of `layout` what its `creator` (the file's owner) may decide; `name_uid` and `token` are
// what the file's name says. Errors: kDamaged, saying what is wrong; kExpired for another boot's.
Result<Grant> validate(const GrantLayout& layout, const Token& token, uid_t name_uid,
                       uid_t creator);

}  // namespace chronos
