// Whether the process behind a witness slot still holds its memory.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace chronos::fake {

enum class Liveness { kAlive, kDead, kUnknown };

// For a process of the caller's own PID namespace. Dead: gone, or every thread of it has given up
// its address space (an exiting or zombie process), or it has exec'd and so no longer maps
// the file of `mapping_key` at `place`.
// Unknown: its mappings may not be read.
Liveness process_liveness(pid_t pid, const std::string& mapping_key, std::uint64_t place);

// The low bits of the page of `address`.
std::uint64_t place_of(const void* address);

// How /proc/PID/maps shows the file that the caller has mapped at `address`. Asked of the kernel
// because stat() names another device than maps does on overlayfs and btrfs. Empty on failure.
std::string mapping_key(const void* address);

// The inode of the caller's PID namespace; 0 where /proc cannot tell.
std::uint64_t pid_namespace();

}  // namespace chronos::fake
