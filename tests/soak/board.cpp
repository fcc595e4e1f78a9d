#include "tests/soak/board.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace chronos::soak {

Board* map_board() {
  const char* path = std::getenv("CHRONOS_SOAK_BOARD");
  const int fd = path != nullptr ? open(path, O_RDWR | O_CLOEXEC) : -1;
  void* memory = fd >= 0 ? mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
                         : MAP_FAILED;
  if (fd >= 0) close(fd);
  if (memory == MAP_FAILED || static_cast<Board*>(memory)->header.magic != kBoardMagic) {
    std::fprintf(stderr, "soak: CHRONOS_SOAK_BOARD does not name a board: %s\n",
                 path != nullptr ? path : "not set");
    return nullptr;
  }
  return static_cast<Board*>(memory);
}

std::size_t claim_entry(Board& board, std::uint64_t lane, std::uint64_t& token) {
  static std::atomic<std::uint64_t> count{0};
  const std::uint64_t number = count.fetch_add(1) + 1;
  token = (static_cast<std::uint64_t>(getpid()) * 0x9e3779b1 + number * 0x85ebca77) & 0x7fffffff;
  token |= 0x40000000;
  const std::size_t start = token % kEntries;
  for (std::size_t i = 0; i < kEntries; ++i) {
    Entry& entry = board.entries[(start + i) % kEntries];
    std::uint64_t none = 0;
    if (!entry.word.compare_exchange_strong(none, make_word(token, 0))) continue;
    entry.lane = lane;
    entry.call_started = 0;
    entry.killed = 0;
    entry.reported = 0;
    entry.stops = 0;
    entry.claimed_at = monotonic_ns();
    return (start + i) % kEntries;
  }
  return kEntries;
}

void take_entry(Board& board, std::size_t index, std::uint64_t token) {
  std::uint64_t expected = make_word(token, 0);
  if (!board.entries[index].word.compare_exchange_strong(expected, make_word(token, getpid()))) {
    _exit(0);
  }
}

std::uint64_t monotonic_ns() {
  struct timespec now {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000000000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace chronos::soak
