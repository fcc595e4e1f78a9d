// The files of partitions in the state directory: names, safe reading, atomic making.
// Everything read here may be another user's and is checked as hostile input.
#pragma once

#include <sys/types.h>
#include <time.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/grant.hpp"
#include "core/posix.hpp"
#include "core/registry.hpp"
#include "core/result.hpp"
#include "core/state_dir.hpp"

namespace chronos {

// chronos.<owner's uid>.<token>.<kind>
enum class FileKind { kGrant, kLedger, kCounter, kTemporary, kTicket, kDevices };

struct FileName {
  uid_t uid = 0;
  Token token{};
  FileKind kind = FileKind::kGrant;

  std::string text() const;
  struct Path {
    char text[64];
  };
  Path path() const;  // the same for a system call
  static std::optional<FileName> parse(std::string_view text);
};

Token random_token();
// A new grant's: half of it is random.
Token grant_token(const TokenTags& tags);

// What failed, by errno: "cannot open DIR/NAME: ...". kFull or kSystem.
Error file_error(const char* what, const StateDir& state, const FileName& name);

// The time of a ledger that is as it was made. Whoever enters or ends it writes to it, and so the
// kernel sets another.
inline constexpr timespec kAsMade{0, 0};

// Every file of ours in the directory, in no order that counts. Errors: kSystem.
Result<std::vector<FileName>> scan(const StateDir& state);

// Opens a regular file without following links and without ever blocking on a FIFO.
// `owner` receives the owner by the kernel's word. Errors: kNotFound, kDamaged, kPermission,
// kSystem.
Result<UniqueFd> open_file(const StateDir& state, const FileName& name, int flags, uid_t& owner,
                           off_t& size);

// Errors: kNotFound (it went away meanwhile), kDamaged, kExpired (another boot's), kPermission,
// kSystem.
Result<Grant> read_grant(const StateDir& state, const FileName& name);
// The same for who reads many and asks the kernel once who they are: judge_caller() is left to do.
Result<Grant> read_one_of_many(const StateDir& state, const FileName& name);
// Sets what a grant is to the caller, `me`, where owners show as they are.
void judge_caller(Grant& grant, uid_t me);

// The words of a grant that may change, as they stand in the file.
struct GrantWords {
  std::uint64_t limit_bytes = 0, deadline_ns = 0, draining_bytes = 0;
};

struct OpenedGrant {
  UniqueFd fd;
  Grant grant;
  GrantWords words;
};

// As read_grant(), and the file it was read from. Errors: these, kPermission.
Result<OpenedGrant> open_grant(const StateDir& state, const FileName& name, int flags);

// What a ledger says, believed as far as its reader may.
struct LedgerUse {
  bool ended = false;
  bool any_live = false;  // a live process has a slot, with or without bytes
  std::uint64_t used_bytes = 0, peak_bytes = 0, refusals = 0;
  std::vector<ProcessUse> processes;
};

// Counts live processes only, and at most what they can hold by the grant. Errors: as read_grant().
Result<LedgerUse> read_ledger(const StateDir& state, const Grant& grant);

// The same, but does not open a ledger that is as it was made: nobody was in it, nobody ended it.
Result<LedgerUse> look_at_ledger(const StateDir& state, const Grant& grant);

// Before the first process enters: from here on the open ledger is not as it was made. False with
// errno set.
bool mark_entered(int ledger_fd);

// Makes a file of `size` bytes, with all its space taken, that starts with `head`, is owned by
// `owner` and appears under its name in one instant, complete. With `locked`, that is the open
// file, with the lock on its byte 0, which nobody can have taken before. Errors: kFull, kSystem.
Result<void> make_file(const StateDir& state, const FileName& name, std::size_t size,
                       std::string_view head, uid_t owner, UniqueFd* locked = nullptr);

// The first half of that: a file that has no name yet. None where the file system has no such
// files: make_file() then does it all. Errors: kFull, kSystem.
Result<UniqueFd> prepare_file(const StateDir& state, const FileName& name, std::size_t size,
                              std::string_view head, uid_t owner);

void remove_file(const StateDir& state, const FileName& name);

// Makes a partition's ledger and then, as the one step that counts, its grant.
// Errors: kFull, kSystem.
Result<void> make_partition(const StateDir& state, const FileName& grant,
                            const GrantLayout& layout);

// Ends a partition for good, by its creator or root in the grant, or by its owner in the ledger.
// Errors: as read_grant(), kPermission.
Result<void> end_grant(const StateDir& state, const FileName& grant);
Result<void> end_ledger(const StateDir& state, const Grant& grant);

// The highest number that a counter file says was given out; 0 if it is not what its name says.
std::uint64_t read_counter(const StateDir& state, const FileName& name);
// Remembers `number` in the caller's counter file, `own` if there is one yet.
Result<void> write_counter(const StateDir& state, const std::optional<FileName>& own,
                           std::uint64_t number);

}  // namespace chronos
