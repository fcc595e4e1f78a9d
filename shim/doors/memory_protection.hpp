// Some drivers keep their dispatch tables in read-only memory (rusticl, Clover).
#pragma once

#include <cstddef>

namespace chronos::shim {

// Makes memory writable for as long as it lives, if it was not. Any thread; two of them must not
// overlap.
class Writable {
 public:
  Writable(void* address, std::size_t size);
  ~Writable();
  Writable(const Writable&) = delete;
  Writable& operator=(const Writable&) = delete;
  explicit operator bool() const { return ok_; }

 private:
  void* start_ = nullptr;
  std::size_t size_ = 0;
  bool changed_ = false;
  bool ok_ = false;
};

}  // namespace chronos::shim
