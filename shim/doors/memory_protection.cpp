#include "shim/doors/memory_protection.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>

namespace chronos::shim {
namespace {

// Whether all of [start, end) is mapped writable, by /proc/self/maps. Without procfs: no.
bool is_writable(std::uintptr_t start, std::uintptr_t end) {
  std::FILE* maps = std::fopen("/proc/self/maps", "re");
  if (maps == nullptr) return false;
  char line[512];
  unsigned long from = 0;
  unsigned long to = 0;
  char mode[5] = "";
  while (start < end && std::fgets(line, sizeof line, maps) != nullptr) {
    if (std::sscanf(line, "%lx-%lx %4s", &from, &to, mode) != 3) continue;
    if (start < from || start >= to) continue;
    if (mode[1] != 'w') break;
    start = to;
  }
  std::fclose(maps);
  return start >= end;
}

}  // namespace

Writable::Writable(void* address, std::size_t size) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(address);
  const std::uintptr_t start = begin & ~(page - 1);
  const std::uintptr_t end = (begin + size + page - 1) & ~(page - 1);
  start_ = reinterpret_cast<void*>(start);
  size_ = end - start;
  ok_ = is_writable(begin, begin + size);
  if (ok_) return;
  changed_ = ::mprotect(start_, size_, PROT_READ | PROT_WRITE) == 0;
  ok_ = changed_;
}

Writable::~Writable() {
  if (changed_) ::mprotect(start_, size_, PROT_READ);
}

}  // namespace chronos::shim
