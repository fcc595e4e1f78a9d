// The preloaded dlsym. Its body is assembly (dlsym_<machine>.S): for every name that is not ours it
// jumps to the real one with the caller's return address in place, because RTLD_NEXT means "after
// the caller".
#pragma once

namespace chronos::shim {

using Dlsym = void* (*)(void*, const char*);

// The next dlsym after ours: glibc's, or another interposer's.
Dlsym real_dlsym();

}  // namespace chronos::shim
