// What the exported functions share: results to codes, the last error of a thread, arguments.
//
// A handle holds nothing that a call changes: each call opens the registry anew (some
// microseconds), so neither threads nor a fork can find it in a bad state, and there is no lock to
// inherit.
#pragma once

#include <cxxabi.h>

#include <cstdint>
#include <exception>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/include/chronos.h"
#include "core/registry.hpp"
#include "core/report.hpp"
#include "core/result.hpp"

struct ChronosPartitioner {
  static constexpr std::uint64_t kMagic = 0x314c444e4e524843;  // "CHRNNDL1"
  std::uint64_t magic = kMagic;
};

namespace chronos::capi {

// An error, and what a program may want to know of it as numbers.
struct Failure {
  Error error;
  Json details = Json::object();

  Failure(Error e) : error(std::move(e)) {}  // NOLINT(google-explicit-constructor)
};
template <class T>
using Outcome = tl::expected<T, Failure>;
using Done = Outcome<void>;

template <class T, class E>
tl::unexpected<Failure> give_up(tl::expected<T, E>& result) {
  return tl::unexpected<Failure>(std::move(result.error()));
}
tl::unexpected<Failure> give_up(ErrorCode code, std::string message, std::string hint = {});

// Makes `failure` the last error of this thread; returns its CHRONOS_ERROR_ code.
int keep(const Failure& failure);
// The same while an exception is handled; does not throw.
int keep_exception(int code, const char* message) noexcept;
const char* last_error_line();
const char* last_error_json();

// Runs the body of one exported function: nothing that it throws gets out, except for the
// cancellation of the calling thread, which must.
template <class Body>
int guarded(Body&& body) {
  try {
    Done done = body();
    return done ? CHRONOS_OK : keep(done.error());
  } catch (abi::__forced_unwind&) {
    throw;
  } catch (const std::bad_alloc&) {
    return keep_exception(CHRONOS_ERROR_NO_MEMORY, "out of memory");
  } catch (const std::exception& e) {
    return keep_exception(CHRONOS_ERROR_INTERNAL, e.what());
  } catch (...) {
    return keep_exception(CHRONOS_ERROR_INTERNAL, "unknown exception");
  }
}

Outcome<Registry> open_registry(ChronosPartitionerHandle handle);

// As guarded(), for a body that takes the registry.
template <class Body>
int with_registry(ChronosPartitionerHandle handle, Body&& body) {
  return guarded([&]() -> Done {
    Outcome<Registry> registry = open_registry(handle);
    if (!registry) return give_up(registry);
    return body(*registry);
  });
}

// As with_registry(), for a body that returns the text or the JSON to hand out through `out`.
Done hand_out(const std::string& answer, char** out);
Done hand_out(const Json& answer, char** out);
tl::unexpected<Failure> no_output();
template <class Body>
int answer(ChronosPartitionerHandle handle, char** out, Body&& body) {
  if (out != nullptr) *out = nullptr;
  return with_registry(handle, [&](Registry& registry) -> Done {
    if (out == nullptr) return no_output();
    auto result = body(registry);
    if (!result) return give_up(result);
    return hand_out(*result, out);
  });
}

// A string argument; `what` names it in the error.
Outcome<std::string_view> text(const char* what, const char* given);
// The same where NULL means that there is none.
Outcome<std::optional<std::string_view>> optional_text(const char* what, const char* given);

// Completes `request` with what needs to know the users and the devices, and makes the partition;
// with `wait`, when there is room for it.
Outcome<PartitionInfo> create(Registry& registry, CreateRequest request, int device,
                              std::optional<std::string_view> user,
                              const WaitOptions* wait = nullptr);

// As Registry::resize(), with the numbers of a refusal.
Outcome<PartitionInfo> resize(Registry& registry, std::string_view id, const MemoryAmount& memory,
                              bool drain);

Outcome<DeviceStanding> standing_of(Registry& registry, int device);

struct Standings {
  std::vector<DeviceStanding> devices;
  std::vector<std::string> warnings;
};
Outcome<Standings> all_standings(Registry& registry, bool refresh);

// As Registry::list(), those that can be used before those that drain.
Outcome<std::vector<PartitionInfo>> active_first(Registry& registry);

}  // namespace chronos::capi
