#include "core/posix.hpp"

#include <cstring>

namespace chronos {

bool read_small_file(const char* path, std::string& out, std::size_t limit) {
  UniqueFd fd(retry_eintr([&] { return ::open(path, O_RDONLY | O_CLOEXEC); }));
  if (!fd) return false;
  out.clear();
  char buffer[4096];
  while (out.size() < limit) {
    ssize_t got = retry_eintr([&] { return ::read(fd.get(), buffer, sizeof buffer); });
    if (got < 0) return false;
    if (got == 0) break;
    out.append(buffer, static_cast<std::size_t>(got));
  }
  if (out.size() > limit) out.resize(limit);
  return true;
}

bool pread_all(int fd, void* out, std::size_t size, off_t offset) {
  auto* to = static_cast<char*>(out);
  while (size > 0) {
    ssize_t got = retry_eintr([&] { return ::pread(fd, to, size, offset); });
    if (got <= 0) return false;
    to += got;
    size -= static_cast<std::size_t>(got);
    offset += got;
  }
  return true;
}

bool pwrite_all(int fd, const void* data, std::size_t size, off_t offset) {
  const auto* from = static_cast<const char*>(data);
  while (size > 0) {
    ssize_t put = retry_eintr([&] { return ::pwrite(fd, from, size, offset); });
    if (put <= 0) return false;
    from += put;
    size -= static_cast<std::size_t>(put);
    offset += put;
  }
  return true;
}

std::string errno_text(int errno_value) {
  char buffer[128] = "";
  // GNU's strerror_r returns the text; `buffer` is only its scratch space.
  return ::strerror_r(errno_value, buffer, sizeof buffer);
}

}  // namespace chronos
