#include "shim/doors/driver.hpp"

#include <array>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <utility>

#include "shim/doors/dlsym.hpp"
#include "shim/doors/memory_protection.hpp"
#include "shim/hooks/hooks.hpp"
#include "shim/message.hpp"

namespace chronos::shim {
namespace {

constexpr std::size_t kDrivers = 64;

// A driver's table and the functions that stood in it.
struct Patched {
  const Table* table;
  Table real;
};
std::array<std::atomic<const Patched*>, kDrivers> patched;
std::mutex patching;

struct DriverDoor {
  static constexpr DoorKind kKind = DoorKind::kDriver;
  // Every OpenCL object begins with its driver's table (cl_khr_icd, section 13.2).
  static const Table& real(const void* object) {
    const Table* table = object != nullptr ? *static_cast<const Table* const*>(object) : nullptr;
    for (const auto& slot : patched) {
      const Patched* known = slot.load(std::memory_order_acquire);
      if (known == nullptr) break;
      if (known->table == table) return known->real;
    }
    return patched[0].load(std::memory_order_acquire)->real;
  }
};

// How many entries the table of a driver of this version has at least.
std::size_t entries_since(unsigned version) {
  std::size_t bytes = version < 11   ? offsetof(Table, clSetEventCallback)
                      : version < 12 ? offsetof(Table, clCreateSubDevices)
                      : version < 20 ? offsetof(Table, clCreateCommandQueueWithProperties)
                      : version < 21 ? offsetof(Table, clCloneKernel)
                      : version < 22 ? offsetof(Table, clSetProgramReleaseCallback)
                      : version < 30
                          ? offsetof(Table, clCreateBufferWithProperties)
                          : offsetof(Table, clCreateBufferWithProperties) + 3 * sizeof(void*);
  return bytes / sizeof(void*);
}

// "OpenCL 1.2 ..." -> 12; 10 if the driver says nothing that can be read.
unsigned version_of(cl_platform_id platform, const Table& table) {
  char text[256] = "";
  unsigned major = 1;
  unsigned minor = 0;
  if (table.clGetPlatformInfo == nullptr ||
      table.clGetPlatformInfo(platform, CL_PLATFORM_VERSION, sizeof text - 1, text, nullptr) !=
          CL_SUCCESS ||
      std::sscanf(text, "OpenCL %u.%u", &major, &minor) != 2) {
    return 10;
  }
  return major * 10 + minor;
}

// cl_khr_icd 2.0: the first word of the object leads to no table yet, the loader makes one later.
bool is_tagged(const Table& table) {
  constexpr std::uintptr_t kTag = 0x4f50454e434c3331;  // "OPENCL31"
  return reinterpret_cast<std::uintptr_t>(table.clGetPlatformIDs) == kTag;
}

void patch(cl_platform_id platform) {
  if (platform == nullptr) return;
  auto* table = *reinterpret_cast<Table**>(platform);
  if (table == nullptr || is_tagged(*table)) return;
  std::lock_guard lock(patching);
  std::size_t free = 0;
  for (; free < kDrivers; ++free) {
    const Patched* known = patched[free].load();
    if (known == nullptr) break;
    if (known->table == table) return;
  }
  if (free == kDrivers) {
    if (first_time(Topic::kCoverage)) say("too many OpenCL drivers: one is reached by layer only");
    return;
  }
  const unsigned version = version_of(platform, *table);
  auto* known = new Patched{table, {}};
  std::memcpy(static_cast<void*>(&known->real), static_cast<const void*>(table),
              entries_since(version) * sizeof(void*));
  // Before the first entry leads to a hook, the hook must find the real one.
  patched[free].store(known, std::memory_order_release);
  auto** entries = reinterpret_cast<void**>(table);
  Writable writable(entries, entries_since(version) * sizeof(void*));
  if (!writable) {
    trace::note(TraceNoteKind::kReadOnlyTable, "a driver's table is read-only");
    if (first_time(Topic::kCoverage)) say("a driver's table is read-only: reached by layer only");
    return;
  }
  trace::door_opened(DoorKind::kDriver);
  for (const HookedEntry& entry : kHookedEntries<DriverDoor>) {
    if (trace::on() && entry.since <= version && entries[entry.index] == nullptr) {
      trace::note(TraceNoteKind::kShortTable, entry.name);
    }
    if (entry.since > version || entries[entry.index] == nullptr) continue;
    // Has no object that would tell whose it is; AddressWrapper knows.
    if (entry.index == offsetof(Table, clGetExtensionFunctionAddress) / sizeof(void*)) continue;
    std::atomic_ref(entries[entry.index]).store(entry.hook(), std::memory_order_release);
  }
}

// A function that knows which real one it stands for: one of a fixed number, handed out in turn.
template <class Function, template <int> class Wrapper, int... Index>
Function wrap(Function real, std::integer_sequence<int, Index...>) {
  Function found = nullptr;
  auto take = [&]<int I>(Wrapper<I>) {
    Function expected = nullptr;
    if (Wrapper<I>::real.compare_exchange_strong(expected, real) || expected == real) {
      found = &Wrapper<I>::call;
    }
    return found != nullptr;
  };
  (void)(take(Wrapper<Index>{}) || ...);
  return found;
}

using Indices = std::make_integer_sequence<int, static_cast<int>(kDrivers)>;
using GetPlatformIDs = cl_int(CL_API_CALL*)(cl_uint, cl_platform_id*, cl_uint*);
using GetAddress = void*(CL_API_CALL*)(const char*);

template <int Index>
struct PlatformsWrapper {
  static inline std::atomic<GetPlatformIDs> real{nullptr};
  static cl_int CL_API_CALL call(cl_uint room, cl_platform_id* platforms, cl_uint* count_ret) {
    cl_uint count = 0;
    cl_int status = real.load()(room, platforms, &count);
    if (count_ret != nullptr) *count_ret = count;
    if (status == CL_SUCCESS && platforms != nullptr) {
      for (cl_uint i = 0; i < std::min(room, count); ++i) patch(platforms[i]);
    }
    return status;
  }
};

constexpr char kGetPlatformIDs[] = "clIcdGetPlatformIDsKHR";
constexpr char kGetAddress[] = "clGetExtensionFunctionAddress";

void* wrap_platforms(void* real) {
  auto wrapped =
      wrap<GetPlatformIDs, PlatformsWrapper>(reinterpret_cast<GetPlatformIDs>(real), Indices());
  return wrapped != nullptr ? reinterpret_cast<void*>(wrapped) : real;
}

template <int Index>
struct AddressWrapper {
  static inline std::atomic<GetAddress> real{nullptr};
  static void* CL_API_CALL call(const char* name) {
    void* address = real.load()(name);
    if (address == nullptr) return address;
    if (std::strcmp(name, kGetPlatformIDs) == 0) return wrap_platforms(address);
    return hook_by_name<DriverDoor>(name, address);
  }
};

}  // namespace

void* driver_symbol(void* handle, const char* name) {
  const bool is_platforms = std::strcmp(name, kGetPlatformIDs) == 0;
  if (!is_platforms && std::strcmp(name, kGetAddress) != 0) return nullptr;
  void* real = real_dlsym()(handle, name);
  if (real == nullptr) return nullptr;
  if (is_platforms) return wrap_platforms(real);
  auto wrapped = wrap<GetAddress, AddressWrapper>(reinterpret_cast<GetAddress>(real), Indices());
  return reinterpret_cast<void*>(wrapped);
}

}  // namespace chronos::shim
