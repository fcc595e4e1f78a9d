#include "shim/doors/symbols.hpp"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <mutex>
#include <string>
#include <utility>

#include "shim/copies.hpp"
#include "shim/doors/dlopen.hpp"
#include "shim/doors/dlsym.hpp"
#include "shim/doors/driver.hpp"
#include "shim/hooks/hooks.hpp"
#include "shim/message.hpp"

extern "C" __attribute__((visibility("hidden"))) const ElfW(Ehdr) __ehdr_start;

namespace chronos::shim {
namespace {

// In the order of the assembly's numbers (symbols_<machine>.S), which is that of the lists.
enum Symbol : unsigned {
#define CHRONOS_ENTRY(name, since, ...) k_##name,
#include "shim/entry_points.def"
#define CHRONOS_EXTENSION(name, ...) k_##name,
#include "shim/extensions.def"
  kGetPlatforms,
  kSymbols
};
static_assert(kGetPlatforms == static_cast<unsigned>(Call::kCount));

constexpr char kNames[kSymbols][48] = {
#define CHRONOS_ENTRY(name, since, ...) #name,
#include "shim/entry_points.def"
#define CHRONOS_EXTENSION(name, ...) #name,
#include "shim/extensions.def"
    "clIcdGetPlatformIDsKHR"};

// Libraries that define OpenCL's functions. Should a program use more, the others are not hooked.
constexpr int kProviders = 4;

struct Provider {
  std::atomic<const void*> module{nullptr};         // where it is loaded; set last
  std::array<std::atomic<void*>, kSymbols> target;  // what a call goes to; null: it has none
  std::array<void*, kSymbols> real;
};
std::array<Provider, kProviders> providers;
std::mutex finding;

}  // namespace
}  // namespace chronos::shim

// Read by assembly: where every caller's call goes, once that is known to be the same for all; null
// until then.
extern "C" {
__attribute__((
    visibility("hidden"))) constinit std::array<std::atomic<void*>, chronos::shim::kSymbols>
    chronos_symbol_shortcuts{};
}

namespace chronos::shim {
namespace {

// Modules whose calls come through our layer.
std::array<std::atomic<const void*>, 8> layered;

template <int Index>
struct SymbolDoor {
  static constexpr DoorKind kKind = DoorKind::kSymbol;
  static inline Table table{};
  static const Table& real(const void*) { return table; }
};

// What a program gets from dlsym: goes to the target of the moment.
template <class Function>
struct Thunk;
template <class Result, class... Parameters>
struct Thunk<Result(CL_API_CALL*)(Parameters...)> {
  using Function = Result(CL_API_CALL*)(Parameters...);
  template <int Index, unsigned kSymbol>
  static Result CL_API_CALL call(Parameters... parameters) {
    void* target = providers[Index].target[kSymbol].load(std::memory_order_relaxed);
    return reinterpret_cast<Function>(target)(parameters...);
  }
};

// Loaders' questions go to the driver door, whichever way they come.
template <int Index>
void* CL_API_CALL address_by_name(const char* name) {
  void* address = SymbolDoor<Index>::table.clGetExtensionFunctionAddress(name);
  if (address == nullptr || name == nullptr) return address;
  if (void* wrapped = wrap_loader_function(name, address)) return wrapped;
  return hook_by_name<SymbolDoor<Index>>(&SymbolDoor<Index>::table, name, address);
}

template <int Index>
void* thunk_of(unsigned symbol) {
  switch (symbol) {
#define CHRONOS_ENTRY(name, ...)    \
  case k_##name:                    \
    return reinterpret_cast<void*>( \
        &Thunk<decltype(&Hooks<SymbolDoor<Index>>::name)>::template call<Index, k_##name>);
#include "shim/entry_points.def"
#define CHRONOS_EXTENSION(name, ...) \
  case k_##name:                     \
    return reinterpret_cast<void*>(  \
        &Thunk<decltype(&Hooks<SymbolDoor<Index>>::name)>::template call<Index, k_##name>);
#include "shim/extensions.def"
    default:
      return nullptr;
  }
}

template <int... Index>
void* thunk_of(int provider, unsigned symbol, std::integer_sequence<int, Index...>) {
  void* found = nullptr;
  (void)((Index == provider && (found = thunk_of<Index>(symbol), true)) || ...);
  return found;
}

const void* module_of(const void* address) {
  Dl_info info{};
  return ::dladdr(address, &info) != 0 ? info.dli_fbase : nullptr;
}

bool is_layered(const void* module) {
  for (const auto& known : layered) {
    if (known.load() == module) return true;
  }
  return false;
}

// Needs `finding`.
void call_straight(Provider& provider) {
  for (unsigned i = 0; i < kSymbols; ++i) {
    void* before = provider.target[i].exchange(provider.real[i]);
    if (before != nullptr) {
      chronos_symbol_shortcuts[i].compare_exchange_strong(before, provider.real[i]);
    }
  }
}

// A function that is not asked for here would be hooked and not be found.
constexpr bool is_asked_for(std::size_t entry) {
  constexpr std::size_t kAsked[] = {
#define CHRONOS_TABLE(name) offsetof(Table, name),
#include "shim/doors/table.def"
  };
  return std::find(std::begin(kAsked), std::end(kAsked), entry) != std::end(kAsked);
}
#define CHRONOS_ENTRY(name, ...) static_assert(is_asked_for(offsetof(Table, name)));
#include "shim/entry_points.def"

Table table_of(void* handle) {
  Table table{};
  auto** entries = reinterpret_cast<void**>(&table);
#define CHRONOS_TABLE(name) \
  entries[offsetof(Table, name) / sizeof(void*)] = real_dlsym()(handle, #name);
#include "shim/doors/table.def"
  return table;
}

template <int Index>
void fill(Provider& provider, void* handle, const Table& table) {
  SymbolDoor<Index>::table = table;
  for (unsigned i = 0; i < kSymbols; ++i) {
    void* real = real_dlsym()(handle, kNames[i]);
    provider.real[i] = real;
    void* hook = hook_of<SymbolDoor<Index>>(static_cast<Call>(i));
    if (i == kGetPlatforms && real != nullptr) hook = wrap_loader_function(kNames[i], real);
    if (std::strcmp(kNames[i], "clGetExtensionFunctionAddress") == 0)
      hook = reinterpret_cast<void*>(&address_by_name<Index>);
    provider.target[i].store(real == nullptr || hook == nullptr ? real : hook);
  }
#define CHRONOS_EXTENSION(name, ...)                                                            \
  if (provider.real[k_##name] != nullptr) {                                                     \
    remember_extension(door_id<SymbolDoor<Index>>(), Extension::name, provider.real[k_##name]); \
  }
#include "shim/extensions.def"
}

template <int... Index>
void fill(int provider, void* handle, const Table& table, std::integer_sequence<int, Index...>) {
  (void)((Index == provider &&
          (fill<Index>(providers[static_cast<std::size_t>(Index)], handle, table), true)) ||
         ...);
}

using Indices = std::make_integer_sequence<int, kProviders>;

// The number of the library that defines `function`, if it defines all that hooks call: some
// drivers export a name or two and mean their tables to be used. -1: none to be hooked here.
int provider_of(const void* function) {
  Dl_info info{};
  if (::dladdr(function, &info) == 0) return -1;
  auto find = [&]() -> int {
    for (int i = 0; i < kProviders; ++i) {
      const void* known = providers[static_cast<std::size_t>(i)].module.load();
      if (known == info.dli_fbase) return i;
      if (known == nullptr) break;
    }
    return -1;
  };
  if (int known = find(); known >= 0) return known;
  // Kept open for good: its functions stay in our tables. The main program has no name.
  void* handle = ::dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
  if (handle == nullptr) handle = ::dlopen(nullptr, RTLD_LAZY | RTLD_NOLOAD);
  if (handle == nullptr) return -1;
  const Table table = table_of(handle);
  const bool is_all = serves_hooks(table);
  auto is_here = [&](auto* real) {
    return module_of(reinterpret_cast<const void*>(real)) == info.dli_fbase;
  };
  if (!is_all || !is_here(table.clCreateContext) || !is_here(table.clGetContextInfo) ||
      !is_here(table.clGetDeviceInfo) || !is_here(table.clReleaseMemObject)) {
    ::dlclose(handle);
    return -1;
  }
  std::lock_guard lock(finding);
  if (int known = find(); known >= 0) return known;
  for (int i = 0; i < kProviders; ++i) {
    Provider& provider = providers[static_cast<std::size_t>(i)];
    if (provider.module.load() != nullptr) continue;
    fill(i, handle, table, Indices());
    trace::door_opened(DoorKind::kSymbol);
    if (is_layered(info.dli_fbase)) call_straight(provider);
    provider.module.store(info.dli_fbase, std::memory_order_release);
    return i;
  }
  if (first_time(Topic::kCoverage)) {
    say("too many OpenCL libraries: one is reached by layer or driver only");
  }
  return -1;
}

bool is_own(const void* function) {
  return module_of(function) == static_cast<const void*>(&__ehdr_start);
}

// --- who calls ----------------------------------------------------------------------------------

// Where a caller's code is, and whose functions it calls. The end is set last.
struct Caller {
  std::uintptr_t begin = 0;
  int provider = -1;
  std::atomic<std::uintptr_t> end{0};
};
std::array<Caller, 32> callers;

struct Place {
  std::uintptr_t address = 0;
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
  std::string name;
};

Place place_of(std::uintptr_t address) {
  Place place{address, 0, 0, {}};
  ::dl_iterate_phdr(
      [](dl_phdr_info* object, std::size_t, void* out) {
        auto* wanted = static_cast<Place*>(out);
        for (int i = 0; i < object->dlpi_phnum; ++i) {
          const auto& part = object->dlpi_phdr[i];
          const std::uintptr_t begin = object->dlpi_addr + part.p_vaddr;
          if (part.p_type != PT_LOAD || wanted->address < begin ||
              wanted->address >= begin + part.p_memsz) {
            continue;
          }
          wanted->begin = begin;
          wanted->end = begin + part.p_memsz;
          wanted->name = object->dlpi_name;
          return 1;
        }
        return 0;
      },
      &place);
  return place;
}

// What the caller would have got without us, where the global scope has none: its own libraries',
// then anybody's.
void* find_real(const Place& place, const char* name) {
  void* found = nullptr;
  if (void* handle =
          ::dlopen(place.name.empty() ? nullptr : place.name.c_str(), RTLD_LAZY | RTLD_NOLOAD)) {
    found = real_dlsym()(handle, name);
    ::dlclose(handle);
    if (found != nullptr && !is_copy(module_of(found))) return found;
  }
  for (const auto& provider : providers) {
    if (provider.module.load() == nullptr) break;
    for (unsigned i = 0; i < kSymbols; ++i) {
      if (provider.real[i] != nullptr && std::strcmp(kNames[i], name) == 0) return provider.real[i];
    }
  }
  void* handle = ::dlopen("libOpenCL.so.1", RTLD_LAZY);
  return handle != nullptr ? real_dlsym()(handle, name) : nullptr;
}

void* nothing() { return nullptr; }

void* find_target(unsigned symbol, std::uintptr_t address) {
  opencl_may_start();
  const Place place = place_of(address);
  // The next in the global scope comes before anything of a caller's own, whoever calls.
  void* next = real_dlsym()(RTLD_NEXT, kNames[symbol]);
  if (next != nullptr && is_copy(module_of(next))) next = find_past_copies(kNames[symbol]);
  void* real = next != nullptr ? next : find_real(place, kNames[symbol]);
  if (real == nullptr) return reinterpret_cast<void*>(&nothing);
  if (!is_active_copy()) return real;
  const int provider = provider_of(real);
  if (provider < 0) {
    void* wrapped = driver_symbol(kNames[symbol], real);
    return wrapped != nullptr ? wrapped : real;
  }
  std::lock_guard lock(finding);
  void* const target = providers[static_cast<std::size_t>(provider)].target[symbol].load();
  if (target == nullptr) return real;
  if (next != nullptr) {
    chronos_symbol_shortcuts[symbol].store(target);
    return target;
  }
  for (Caller& caller : callers) {
    if (caller.end.load() != 0) continue;
    caller.begin = place.begin;
    caller.provider = provider;
    caller.end.store(place.end, std::memory_order_release);
    break;
  }
  return target;
}

unsigned symbol_number(const char* name) {
  unsigned i = 0;
  while (i < kSymbols && std::strcmp(kNames[i], name) != 0) ++i;
  return i;
}

}  // namespace

void* handle_symbol(void* handle, const char* name) {
  const unsigned symbol = symbol_number(name);
  const bool is_ours = symbol < kSymbols || std::strncmp(name, "clIcd", 5) == 0;
  if (!is_ours || !is_active_copy()) return nullptr;
  void* real = real_dlsym()(handle, name);
  // A handle for everything finds our own symbol first, which asks who calls.
  if (real == nullptr || is_own(real)) return nullptr;
  if (symbol < kGetPlatforms) {
    const int provider = provider_of(real);
    if (provider >= 0) {
      const bool has =
          providers[static_cast<std::size_t>(provider)].target[symbol].load() != nullptr;
      return has ? thunk_of(provider, symbol, Indices()) : nullptr;
    }
  }
  return driver_symbol(name, real);
}

bool is_own_function(const void* function) { return is_own(function); }

void is_reached_by_layer(const void* function) {
  const void* module = module_of(function);
  if (module == nullptr) return;
  std::lock_guard lock(finding);
  for (auto& known : layered) {
    if (known.load() == module) return;
    if (known.load() != nullptr) continue;
    known.store(module);
    break;
  }
  for (Provider& provider : providers) {
    if (provider.module.load() == module) call_straight(provider);
  }
}

}  // namespace chronos::shim

// Called from assembly: where the symbol's caller, known by its return address, is to be sent.
extern "C" __attribute__((visibility("hidden"))) void* chronos_symbol_target(
    unsigned symbol, std::uintptr_t caller) {
  using namespace chronos::shim;
  for (const Caller& known : callers) {
    const std::uintptr_t end = known.end.load(std::memory_order_acquire);
    if (end == 0) break;
    if (caller < known.begin || caller >= end) continue;
    void* target = providers[static_cast<std::size_t>(known.provider)].target[symbol].load(
        std::memory_order_relaxed);
    if (target != nullptr) return target;
    break;
  }
  return find_target(symbol, caller);
}
