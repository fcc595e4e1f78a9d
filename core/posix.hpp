// Small owners of kernel resources. Header only; nothing here throws.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace chronos {

// Owns a file descriptor. -1 means none.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void reset(int fd = -1) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

// Repeats a system call that a signal interrupted.
template <class Call>
auto retry_eintr(Call call) {
  decltype(call()) result;
  do {
    result = call();
  } while (result == -1 && errno == EINTR);
  return result;
}

// Reads up to `limit` bytes of the file at `path` (procfs files included). False on any failure.
bool read_small_file(const char* path, std::string& out, std::size_t limit = 65536);

// Reads exactly `size` bytes at `offset`; false on a short file or an error.
bool pread_all(int fd, void* out, std::size_t size, off_t offset);
bool pwrite_all(int fd, const void* data, std::size_t size, off_t offset);

// The text of `errno_value`, safe in any thread.
std::string errno_text(int errno_value);

}  // namespace chronos
