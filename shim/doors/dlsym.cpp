#include "shim/doors/dlsym.hpp"

#include <dlfcn.h>

#include <atomic>
#include <initializer_list>

#include "shim/doors/dlopen.hpp"
#include "shim/doors/symbols.hpp"

namespace chronos::shim {

Dlsym real_dlsym() {
  static constinit std::atomic<Dlsym> real{nullptr};
  Dlsym found = real.load(std::memory_order_relaxed);
  if (found != nullptr) return found;
  // By version, because a plain look-up would find ours. glibc 2.34 moved it into libc; the others
  // are the base versions of x86-64 and arm64.
  for (const char* version : {"GLIBC_2.34", "GLIBC_2.2.5", "GLIBC_2.17"}) {
    found = reinterpret_cast<Dlsym>(::dlvsym(RTLD_NEXT, "dlsym", version));
    if (found != nullptr) break;
  }
  real.store(found, std::memory_order_relaxed);
  return found;
}

}  // namespace chronos::shim

// Called from assembly.
extern "C" {

__attribute__((visibility("hidden"))) void* chronos_dlsym_answer(void* handle, const char* name) {
  // Not close, clock, clone: OpenCL's names go on with a capital.
  if (name[2] >= 'A' && name[2] <= 'Z') chronos::shim::opencl_may_start();
  // The pseudo handles mean something only as seen from the caller, and no loader asks for a
  // driver's entry through one.
  if (handle == RTLD_DEFAULT || handle == RTLD_NEXT) return nullptr;
  return chronos::shim::handle_symbol(handle, name);
}

__attribute__((visibility("hidden"))) void* chronos_dlsym_real() {
  return reinterpret_cast<void*>(chronos::shim::real_dlsym());
}
}
