#include "shim/doors/dlopen.hpp"

#include <dlfcn.h>

#include <atomic>

#include "shim/copies.hpp"
#include "shim/doors/dlsym.hpp"
#include "shim/environment.hpp"

namespace chronos::shim {
namespace {

void* nothing() { return nullptr; }

void* next_of(const char* name) {
  void* found = real_dlsym()(RTLD_NEXT, name);
  return found != nullptr ? found : reinterpret_cast<void*>(&nothing);
}

}  // namespace

void opencl_may_start() {
  static constinit std::atomic<bool> done{false};
  if (done.load(std::memory_order_relaxed) || !is_active_copy()) return;
  if (!done.exchange(true)) announce_layer();
}

}  // namespace chronos::shim

// Read and called from assembly.
extern "C" {

__attribute__((visibility("hidden"))) constinit std::atomic<void*> chronos_next_dlopen{nullptr};

__attribute__((visibility("hidden"))) void* chronos_before_dlopen(const char* /*file*/, int flags) {
  using namespace chronos::shim;
  if ((flags & RTLD_DEEPBIND) != 0) opencl_may_start();
  void* next = chronos_next_dlopen.load(std::memory_order_relaxed);
  if (next == nullptr) {
    next = next_of("dlopen");
    chronos_next_dlopen.store(next, std::memory_order_relaxed);
  }
  return next;
}

__attribute__((visibility("hidden"))) void* chronos_before_dlmopen() {
  chronos::shim::opencl_may_start();
  return chronos::shim::next_of("dlmopen");
}
}
