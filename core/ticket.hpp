// Tickets: who waits in line for memory of one or several devices (`chronos create --wait`).
//
// A ticket is a file `chronos.<uid>.<token>.ticket` in the state directory, made by the one who
// waits and locked by them as long as they do: it counts while its process lives and holds the
// kernel's lock on it. Its order is not what it says of itself: whoever joins remembers whose
// tickets were there before, and waits for those. Layout: docs/formats.md.
//
// Other users' tickets are untrusted input: read with pread, never mapped, believed only in what
// their owner may decide. Threads: a Ticket belongs to one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/line.hpp"
#include "core/partition_files.hpp"

namespace chronos {

// A live ticket as its reader may believe it.
struct Waiting {
  FileName file;             // file.uid is its owner by the kernel's word
  Claim claim;               // each of its devices is another one
  std::uint64_t number = 0;  // the order among others' tickets; a lie moves its owner only back
  pid_t pid = 0;
};

// One's own ticket. Taken away when destroyed.
class Ticket {
 public:
  // Joins the line behind `last`. The caller holds the registry's lock. Errors: kFull, kSystem.
  static Result<Ticket> take(const StateDir& state, const Claim& claim, std::uint64_t last);
  Ticket(Ticket&&) noexcept = default;
  Ticket& operator=(Ticket&&) = delete;
  ~Ticket();

  const FileName& file() const { return file_; }

 private:
  Ticket(const StateDir& state, FileName file, UniqueFd lock)
      : state_(&state), file_(file), lock_(std::move(lock)) {}
  const StateDir* state_;
  FileName file_;
  UniqueFd lock_;  // empty once moved from
};

// The live tickets among `names`, in the order of their numbers.
std::vector<Waiting> read_tickets(const StateDir& state, const std::vector<FileName>& names);

// Whether that very ticket still counts.
bool is_waiting(const StateDir& state, const FileName& ticket);

}  // namespace chronos
