// Results as values. No exception crosses a module of Chronos: what can fail returns Result<T>.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace chronos {

// What kind of failure it was: decides the exit status of the command line and the type of the
// Python exception. The message says the rest.
enum class ErrorCode {
  kInvalid,     // the request itself is wrong (exit status 2)
  kNoCapacity,  // not enough unreserved memory on the device (exit status 3)
  kNotFound,    // no such partition
  kNameInUse,   // the owner already has a partition of that name
  kPermission,  // it belongs to somebody else, or the policy forbids it
  kExpired,     // its time is up, or it was released
  kDamaged,     // a state file is truncated, garbage or of another version
  kBusy,        // somebody holds the registry lock for too long
  kNoDevice,    // no OpenCL, no such device, or a driver that crashes or hangs
  kFull,        // no free slot in a partition, no space in the state directory
  kCancelled,   // whoever asked has given up
  kSystem,      // a system call failed
  kInUse,       // programs hold more than that
};

struct Error {
  ErrorCode code;
  std::string message;  // one line: what was wrong
  std::string hint;     // one line: what to do next; may be empty
};

template <class T>
using Result = tl::expected<T, Error>;

// Fails a function that returns Result<T>: `return fail(ErrorCode::kNotFound, "...");`
inline tl::unexpected<Error> fail(ErrorCode code, std::string message, std::string hint = {}) {
  return tl::unexpected<Error>(Error{code, std::move(message), std::move(hint)});
}

// Hands on the error of `result`: `if (!fd) return pass_on(fd);`
template <class T>
tl::unexpected<Error> pass_on(Result<T>& result) {
  return tl::unexpected<Error>(std::move(result.error()));
}

}  // namespace chronos
