// What is made at its first use, without a lock: of a child that is forked while another thread
// makes it, nobody would ever let go of the one that guards a function's static variables.
#pragma once

#include <atomic>
#include <memory>

namespace chronos::shim {

// The object at `place`, made if there is none yet. Several threads may make one at once; the first
// one stands. Never destroyed. Any thread.
template <class T>
T& made_once(std::atomic<T*>& place) {
  T* known = place.load(std::memory_order_acquire);
  if (known != nullptr) return *known;
  auto made = std::make_unique<T>();
  if (!place.compare_exchange_strong(known, made.get())) return *known;
  return *made.release();
}

}  // namespace chronos::shim
