// What this process does with OpenCL, written down where CHRONOS_TRACE names a directory (see
// core/trace.hpp). Without it, all there is of it is one load and a branch that is always taken the
// same way. Any thread; a forked child begins a file of its own.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/trace.hpp"
#include "shim/guard.hpp"
#include "shim/opencl.hpp"

namespace chronos::shim {

// Every entry point of the lists, the core's and the extensions'.
enum class Call : unsigned {
#define CHRONOS_ENTRY(name, ...) name,
#include "shim/entry_points.def"
#define CHRONOS_EXTENSION(name, ...) name,
#include "shim/extensions.def"
  kCount
};

enum class DoorKind { kLayer, kDriver, kSymbol };

namespace trace {

namespace detail {
extern bool wanted;  // decided when the library is loaded, before there are threads
extern thread_local Call current;
}  // namespace detail

inline bool on() { return __builtin_expect(static_cast<long>(detail::wanted), 0) != 0; }

// Reads CHRONOS_TRACE. Called once, when the library is loaded.
void begin();

// All but any_door_opened() do nothing unless on(); where they are on a hot path the caller asks
// that first.
void door_opened(DoorKind door);

// Whether OpenCL has come in by any door, traced or not.
bool any_door_opened();
void called(DoorKind door, Call call);
void admitted(std::uint64_t size);
void corrected(std::uint64_t before, std::uint64_t now);  // by what the driver says it took
void given_back(std::uint64_t size);
void refused(std::uint64_t size);
// What was admitted came to nothing, because the driver failed, or because the rest was refused.
void undone(std::uint64_t size, bool by_driver);
void unassigned(std::uint64_t size);  // asked for where no partition applies
void imported(std::uint64_t size);
void note(TraceNoteKind kind, std::string_view text);

// A function that a program asked for by name and that is not hooked.
void asked_for(const char* name);

// In a forked child: the file is the parent's.
void forget_in_child();

// The call that a hook handles, for what is counted meanwhile.
class Scope {
 public:
  Scope(DoorKind door, Call call) : before_(detail::current) {
    detail::current = call;
    if (!Guard::inside()) called(door, call);
  }
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;
  ~Scope() { detail::current = before_; }

 private:
  Call before_;
};

// The hook `kHook` under the name by which it is counted.
template <DoorKind kDoor, Call kCall, auto kHook>
struct Named;

template <DoorKind kDoor, Call kCall, class Answer, class... Arguments,
          Answer(CL_API_CALL* kHook)(Arguments...)>
struct Named<kDoor, kCall, kHook> {
  static Answer CL_API_CALL call(Arguments... arguments) {
    Scope scope(kDoor, kCall);
    return kHook(arguments...);
  }
};

}  // namespace trace
}  // namespace chronos::shim
