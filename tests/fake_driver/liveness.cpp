#include "tests/fake_driver/liveness.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "core/posix.hpp"

namespace chronos::fake {
namespace {

bool read_file(const char* path, std::string& out) {
  const UniqueFd fd(retry_eintr([&] { return open(path, O_RDONLY | O_CLOEXEC); }));
  if (!fd) return false;
  out.clear();
  char buffer[4096];
  for (;;) {
    const ssize_t got = retry_eintr([&] { return read(fd.get(), buffer, sizeof buffer); });
    if (got < 0) return false;
    if (got == 0) return true;
    out.append(buffer, static_cast<std::size_t>(got));
  }
}

constexpr std::uint64_t kStartMask = (1u << 18) - 1;

// Past the program's name, which may contain anything; nullptr if that is all.
const char* after_name(const std::string& stat) {
  const std::size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos || name_end + 2 >= stat.size()) return nullptr;
  return stat.c_str() + name_end + 2;
}

// By how many ticks the boot clock of this time namespace is ahead.
long long time_offset() {
  std::string text;
  if (!read_file("/proc/self/timens_offsets", text)) return 0;
  const std::size_t at = text.find("boottime");
  if (at == std::string::npos) return 0;
  long long seconds = 0, nanoseconds = 0;
  if (std::sscanf(text.c_str() + at, "boottime %lld %lld", &seconds, &nanoseconds) != 2) return 0;
  const long long ticks = sysconf(_SC_CLK_TCK);
  return seconds * ticks + nanoseconds * ticks / 1000000000;
}

// A thread that has left its address space is a zombie, or runs the last of its exit with a virtual
// size of 0 (proc(5), field 23). The lock files of an exiting process are closed after that.
bool thread_has_memory(const std::string& stat) {
  const char* field = after_name(stat);  // field 3
  if (field == nullptr || *field == 'Z' || *field == 'X' || *field == 'x') return false;
  for (int number = 3; number < 23; ++number) {
    field = std::strchr(field, ' ');
    if (field == nullptr) return false;
    ++field;
  }
  return std::strtoull(field, nullptr, 10) != 0;
}

// The leader of a running process may have ended long ago: any thread counts.
bool has_memory(pid_t pid) {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/task", pid);
  const std::unique_ptr<DIR, int (*)(DIR*)> tasks(opendir(path), closedir);
  if (!tasks) return errno != ENOENT && errno != ESRCH;
  std::string stat;
  while (const dirent* entry = readdir(tasks.get())) {
    if (entry->d_name[0] == '.') continue;
    std::snprintf(path, sizeof path, "/proc/%d/task/%d/stat", pid, std::atoi(entry->d_name));
    if (read_file(path, stat) && thread_has_memory(stat)) return true;
  }
  return false;
}

}  // namespace

std::uint64_t place_of(const void* address) {
  return reinterpret_cast<std::uintptr_t>(address) >> 12 & 0xffff;
}

std::uint64_t start_of(pid_t pid) {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/stat", pid);
  std::string stat;
  if (!read_file(path, stat)) return 0;
  const char* field = after_name(stat);  // field 3
  for (int number = 3; field != nullptr && number < 22; ++number) {
    field = std::strchr(field, ' ');
    if (field != nullptr) ++field;
  }
  if (field == nullptr) return 0;
  const long long shown = std::strtoll(field, nullptr, 10);
  return static_cast<std::uint64_t>(shown - time_offset()) & kStartMask;
}

Liveness process_liveness(pid_t pid, const std::string& mapping_key, const Mark& mark) {
  if (!has_memory(pid)) return Liveness::kDead;
  // Rounding may differ by a tick from one time namespace to another.
  const std::uint64_t later = (start_of(pid) - mark.start + 1) & kStartMask;
  if (later > 2) return Liveness::kDead;
  char path[64];
  std::string maps;
  std::snprintf(path, sizeof path, "/proc/%d/maps", pid);
  if (!read_file(path, maps)) return has_memory(pid) ? Liveness::kUnknown : Liveness::kDead;
  for (std::size_t at = 0; (at = maps.find(mapping_key, at)) != std::string::npos; ++at) {
    const std::size_t line = maps.rfind('\n', at) + 1;  // npos + 1 is 0
    const auto start = std::strtoull(maps.c_str() + line, nullptr, 16);
    if (place_of(reinterpret_cast<const void*>(start)) == mark.place) return Liveness::kAlive;
  }
  // A leader without threads of its own shows no mappings although the others live on.
  if (maps.empty() && has_memory(pid)) return Liveness::kUnknown;
  return Liveness::kDead;
}

std::string mapping_key(const void* address) {
  std::string maps;
  if (!read_file("/proc/self/maps", maps)) return {};
  char start[32];
  std::snprintf(start, sizeof start, "%" PRIxPTR "-", reinterpret_cast<std::uintptr_t>(address));
  for (std::size_t line = 0; line < maps.size(); line = maps.find('\n', line) + 1) {
    if (maps.compare(line, std::strlen(start), start) != 0) continue;
    // address perms offset DEVICE INODE path
    std::size_t field = line;
    for (int i = 0; i < 3; ++i) field = maps.find(' ', field) + 1;
    const std::size_t end = maps.find(' ', maps.find(' ', field) + 1);
    return " " + maps.substr(field, end - field) + " ";
  }
  return {};
}

std::uint64_t pid_namespace() {
  struct stat info {};
  return stat("/proc/self/ns/pid", &info) == 0 ? info.st_ino : 0;
}

}  // namespace chronos::fake
