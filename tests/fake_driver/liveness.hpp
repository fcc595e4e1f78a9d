// Whether the process behind a witness slot still holds its memory.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace chronos::fake {

enum class Liveness { kAlive, kDead, kUnknown };

// Tells a process from another one that has its number, and from what it was before an exec.
struct Mark {
  std::uint64_t start;  // start_of()
  std::uint64_t place;  // place_of() the mapping
};

// When the process began, in ticks of the initial time namespace; the low 18 bits. 0 if unknown.
std::uint64_t start_of(pid_t pid);

// The page of `address`; the low 16 bits.
std::uint64_t place_of(const void* address);

// For a process of the caller's own PID namespace. Dead: gone, or every thread of it has given up
// its address space (an exiting or zombie process), or it has exec'd and so no longer maps
// the file of `mapping_key` at that place, or it is another one.
// Unknown: its mappings may not be read.
Liveness process_liveness(pid_t pid, const std::string& mapping_key, const Mark& mark);

// How /proc/PID/maps shows the file that the caller has mapped at `address`. Asked of the kernel
// because stat() names another device than maps does on overlayfs and btrfs. Empty on failure.
std::string mapping_key(const void* address);

// The inode of the caller's PID namespace; 0 where /proc cannot tell.
std::uint64_t pid_namespace();

}  // namespace chronos::fake
