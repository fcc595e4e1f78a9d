// Places between two steps at which the tests of crashes (tests/crash) kill, stop or delay the
// process. In every other build they are nothing: no code, no symbol, no string.
//
//   CHRONOS_POINT(name)                  a step ends here; `name` is in core/crash_points.def
//   CHRONOS_FAULT(name, error, result)   may return `result` with errno `error` from here
//
// Threads: any. Points are allowed wherever a system call is, signal handlers included.
#pragma once

#ifdef CHRONOS_CRASH_POINTS

#include <cerrno>
#include <cstdint>

namespace chronos::crash {

enum class Point : std::uint32_t {
#define CHRONOS_NAMED_POINT(name, needs) name,
#include "core/crash_points.def"
#undef CHRONOS_NAMED_POINT
  kCount
};
enum class Fault : std::uint32_t { no_unnamed_files = 1, no_patience = 2 };

void reach(Point point);
bool fails(Fault fault);

}  // namespace chronos::crash

#define CHRONOS_POINT(name) ::chronos::crash::reach(::chronos::crash::Point::name)
#define CHRONOS_FAULT(name, error, result)                        \
  do {                                                            \
    if (::chronos::crash::fails(::chronos::crash::Fault::name)) { \
      errno = error;                                              \
      return result;                                              \
    }                                                             \
  } while (false)

#else
#define CHRONOS_POINT(name) static_cast<void>(0)
#define CHRONOS_FAULT(name, error, result) static_cast<void>(0)
#endif
