#include "shim/doors/driver.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <mutex>
#include <utility>

#include "shim/doors/memory_protection.hpp"
#include "shim/hooks/hooks.hpp"
#include "shim/message.hpp"

namespace chronos::shim {
namespace {

constexpr std::size_t kDrivers = 64;

// What the objects of a driver lead to, and the functions that stood there.
struct Known {
  const void* table;  // the driver's own, or the one that a loader has made for a platform
  Table real;
  bool is_tagged = false;  // objects that lead there may have another table behind the second word
};
// Filled from the start. A loader that comes again may use an address again: the entry is replaced.
std::array<std::atomic<const Known*>, kDrivers> known_tables;
std::mutex patching;

// How every OpenCL object begins (cl_khr_icd).
struct Object {
  const Table* table;
  const void* data;  // of a loader that manages the tables itself; only where the table is tagged
};

// cl_khr_icd 2.0: where the tag stands for functions that no loader calls through a table, the
// loader makes a table for each platform and puts it behind the objects' second word. The driver's
// own may be complete all the same, for older loaders.
bool is_tagged(const Table& table) {
  constexpr std::uintptr_t kTag = 0x4f50454e434c3331;  // "OPENCL31"
  return reinterpret_cast<std::uintptr_t>(table.clGetPlatformIDs) == kTag;
}

const Known* find_known(const void* table) {
  for (const auto& slot : known_tables) {
    const Known* known = slot.load(std::memory_order_acquire);
    if (known == nullptr) return nullptr;
    if (known->table == table) return known;
  }
  return nullptr;
}

// Needs `patching`. False if there are too many.
bool keep(const Known* known) {
  for (auto& slot : known_tables) {
    const Known* there = slot.load();
    if (there != nullptr && there->table != known->table) continue;
    slot.store(known, std::memory_order_release);
    return true;
  }
  if (first_time(Topic::kCoverage)) say("too many OpenCL drivers: one is reached by layer only");
  return false;
}

// The driver that a call without an object was made to.
constinit thread_local const Table* called = nullptr;

struct DriverDoor {
  static constexpr DoorKind kKind = DoorKind::kDriver;
  static const Table& real(const void* object) {
    static constexpr Table kNone{};
    if (object == nullptr) {
      if (called != nullptr) return *called;
      const Known* first = known_tables[0].load(std::memory_order_acquire);
      return first != nullptr ? first->real : kNone;
    }
    const auto* const begin = static_cast<const Object*>(object);
    const Known* first = known_tables[0].load(std::memory_order_acquire);
    if (first != nullptr && first->table == begin->table && !first->is_tagged) return first->real;
    return real_of(begin);
  }

 private:
  static const Table& real_of(const Object* begin) {
    if (begin->table == nullptr) return real(nullptr);
    if (is_tagged(*begin->table) && begin->data != nullptr) {
      if (const Known* known = find_known(begin->data)) return known->real;
    }
    if (const Known* known = find_known(begin->table)) return known->real;
    // Of a driver that came in past us (RTLD_DEEPBIND): nothing of ours stands in its table.
    return *begin->table;
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

// clCreateContextFromType may name no platform: the table that it was found in tells.
template <int Index>
struct FromTypeWrapper {
  static inline std::atomic<decltype(Table::clCreateContextFromType)> real{nullptr};
  static inline std::atomic<const Known*> driver{nullptr};
  static cl_context CL_API_CALL call(const cl_context_properties* properties, cl_device_type type,
                                     void(CL_CALLBACK* notify)(const char*, const void*, size_t,
                                                               void*),
                                     void* user_data, cl_int* errcode_ret) {
    const Table* before = std::exchange(called, &driver.load()->real);
    cl_context context = Hooks<DriverDoor>::clCreateContextFromType(properties, type, notify,
                                                                    user_data, errcode_ret);
    called = before;
    return context;
  }
};

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

template <int... Index>
void* wrap_from_type(const Known& known, std::integer_sequence<int, Index...> indices) {
  const auto real = known.real.clCreateContextFromType;
  const auto wrapped =
      wrap<decltype(Table::clCreateContextFromType), FromTypeWrapper>(real, indices);
  auto tell = [&]<int I>(FromTypeWrapper<I>) {
    if (&FromTypeWrapper<I>::call == wrapped) FromTypeWrapper<I>::driver.store(&known);
  };
  (tell(FromTypeWrapper<Index>{}), ...);
  return reinterpret_cast<void*>(wrapped);
}

// The hook for an entry of a driver whose real functions are `known`; nullptr to leave it alone.
void* hook_for(const HookedEntry& entry, const Known& known) {
  // Has no object that would tell whose it is; AddressWrapper knows.
  if (entry.index == offsetof(Table, clGetExtensionFunctionAddress) / sizeof(void*)) return nullptr;
  if (entry.index == offsetof(Table, clCreateContextFromType) / sizeof(void*)) {
    return wrap_from_type(known, Indices());
  }
  return hook_of<DriverDoor>(entry.call);
}

// A driver that was unloaded and came again has its own functions in the same place.
bool has_hooks(void* const* entries) {
  return std::any_of(
      std::begin(kHookedEntries), std::end(kHookedEntries), [&](const HookedEntry& entry) {
        return entry.since == 10 && entries[entry.index] == hook_of<DriverDoor>(entry.call);
      });
}

void patch(cl_platform_id platform) {
  if (platform == nullptr) return;
  auto* table = *reinterpret_cast<Table**>(platform);
  // A tagged table that cannot say its version was not made to be used.
  if (table == nullptr || (is_tagged(*table) && table->clGetPlatformInfo == nullptr)) return;
  std::lock_guard lock(patching);
  if (find_known(table) != nullptr && has_hooks(reinterpret_cast<void**>(table))) return;
  const unsigned version = version_of(platform, *table);
  auto* known = new Known{table, {}, is_tagged(*table)};
  std::memcpy(static_cast<void*>(&known->real), static_cast<const void*>(table),
              entries_since(version) * sizeof(void*));
  if (is_tagged(known->real)) known->real.clGetPlatformIDs = nullptr;
  if (!serves_hooks(known->real)) {
    delete known;
    return;
  }
  // Before the first entry leads to a hook, the hook must find the real one.
  if (!keep(known)) {
    delete known;
    return;
  }
  auto** entries = reinterpret_cast<void**>(table);
  Writable writable(entries, entries_since(version) * sizeof(void*));
  if (!writable) {
    trace::note(TraceNoteKind::kReadOnlyTable, "a driver's table is read-only");
    if (first_time(Topic::kCoverage)) say("a driver's table is read-only: reached by layer only");
    return;
  }
  trace::door_opened(DoorKind::kDriver);
  for (const HookedEntry& entry : kHookedEntries) {
    if (trace::on() && entry.since <= version && entries[entry.index] == nullptr &&
        !is_optional(entry)) {
      trace::note(TraceNoteKind::kShortTable, entry.name);
    }
    if (entry.since > version || entries[entry.index] == nullptr) continue;
    void* hook = hook_for(entry, *known);
    if (hook != nullptr)
      std::atomic_ref(entries[entry.index]).store(hook, std::memory_order_release);
  }
}

using GetPlatformIDs = cl_int(CL_API_CALL*)(cl_uint, cl_platform_id*, cl_uint*);
using GetAddress = void*(CL_API_CALL*)(const char*);
using GetForPlatform = void*(CL_API_CALL*)(cl_platform_id, const char*);
using SetData = cl_int(CL_API_CALL*)(cl_platform_id, void*);

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
constexpr char kGetForPlatform[] = "clIcdGetFunctionAddressForPlatformKHR";
constexpr char kSetData[] = "clIcdSetPlatformDispatchDataKHR";
constexpr char kGetAddress[] = "clGetExtensionFunctionAddress";

// A platform whose table its loader makes, between the loader's questions for the functions and the
// moment in which it says where they are.
struct Managed {
  cl_platform_id platform;
  Known known;
};
std::array<Managed*, kDrivers> managed;  // under `patching`

// Needs `patching`.
Managed* managed_platform(cl_platform_id platform, GetForPlatform real) {
  auto is_of = [](cl_platform_id wanted) {
    return [wanted](const Managed* made) {
      return (made != nullptr ? made->platform : nullptr) == wanted;
    };
  };
  auto found = std::find_if(managed.begin(), managed.end(), is_of(platform));
  if (found == managed.end()) {
    found = std::find_if(managed.begin(), managed.end(), is_of(nullptr));
    if (found == managed.end()) return nullptr;
    *found = new Managed{platform, {nullptr, {}, false}};
    auto** entries = reinterpret_cast<void**>(&(*found)->known.real);
#define CHRONOS_TABLE(name) entries[offsetof(Table, name) / sizeof(void*)] = real(platform, #name);
#include "shim/doors/table.def"
  }
  return *found;
}

template <int Index>
struct ForPlatformWrapper {
  static inline std::atomic<GetForPlatform> real{nullptr};
  static void* CL_API_CALL call(cl_platform_id platform, const char* name) {
    void* address = real.load()(platform, name);
    if (address == nullptr || platform == nullptr || name == nullptr) return address;
    std::lock_guard lock(patching);
    const Managed* made = managed_platform(platform, real.load());
    if (made == nullptr || !serves_hooks(made->known.real)) return address;
    for (const HookedEntry& entry : kHookedEntries) {
      if (std::strcmp(entry.name, name) != 0) continue;
      void* hook = hook_for(entry, made->known);
      return hook != nullptr ? hook : address;
    }
    return address;
  }
};

template <int Index>
struct SetDataWrapper {
  static inline std::atomic<SetData> real{nullptr};
  static cl_int CL_API_CALL call(cl_platform_id platform, void* data) {
    // Objects lead there as soon as the driver knows, so that we must know before.
    if (data != nullptr) {
      std::lock_guard lock(patching);
      for (Managed*& made : managed) {
        if (made == nullptr || made->platform != platform) continue;
        keep(new Known{data, made->known.real, false});
        made = nullptr;  // not deleted: hooks refer to it. The next loader asks anew.
      }
    }
    return real.load()(platform, data);
  }
};

template <class Function, template <int> class Wrapper>
void* wrap(void* real) {
  auto wrapped = wrap<Function, Wrapper>(reinterpret_cast<Function>(real), Indices());
  return wrapped != nullptr ? reinterpret_cast<void*>(wrapped) : real;
}

}  // namespace

void* wrap_loader_function(const char* name, void* real) {
  if (std::strcmp(name, kGetPlatformIDs) == 0) return wrap<GetPlatformIDs, PlatformsWrapper>(real);
  if (std::strcmp(name, kGetForPlatform) == 0) {
    return wrap<GetForPlatform, ForPlatformWrapper>(real);
  }
  if (std::strcmp(name, kSetData) == 0) return wrap<SetData, SetDataWrapper>(real);
  return nullptr;
}

namespace {

template <int Index>
struct AddressWrapper {
  static inline std::atomic<GetAddress> real{nullptr};
  static void* CL_API_CALL call(const char* name) {
    void* address = real.load()(name);
    if (address == nullptr) return address;
    if (void* hook = core_hook(name, address)) return hook;
    const Known* first = known_tables[0].load(std::memory_order_acquire);
    return hook_by_name<DriverDoor>(first != nullptr ? &first->real : nullptr, name, address);
  }

 private:
  // What needs to know more than an object tells.
  static void* core_hook(const char* name, void* address) {
    if (void* wrapped = wrap_loader_function(name, address)) return wrapped;
    if (std::strcmp(name, kGetAddress) == 0)
      return wrap<GetAddress, chronos::shim::AddressWrapper>(address);
    if (std::strcmp(name, "clCreateContextFromType") != 0) return nullptr;
    for (const auto& slot : known_tables) {
      const Known* known = slot.load(std::memory_order_acquire);
      if (known == nullptr) break;
      if (reinterpret_cast<void*>(known->real.clCreateContextFromType) == address) {
        return wrap_from_type(*known, Indices());
      }
    }
    return address;
  }
};

}  // namespace

void* driver_symbol(const char* name, void* real) {
  if (void* wrapped = wrap_loader_function(name, real)) return wrapped;
  if (std::strcmp(name, kGetAddress) == 0) return wrap<GetAddress, AddressWrapper>(real);
  return nullptr;
}

}  // namespace chronos::shim
