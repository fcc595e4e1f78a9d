// The layer door: an ICD loader with layer support loads us because OPENCL_LAYERS names us, and
// calls through our table. See the loader's cl_layer.h.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <utility>

#include "shim/copies.hpp"
#include "shim/doors/symbols.hpp"
#include "shim/hooks/hooks.hpp"

#define CHRONOS_EXPORT extern "C" __attribute__((visibility("default")))

namespace chronos::shim {
namespace {

// A program may hold several loaders (the system's and one in a wheel), each with a table of its
// own. Should there be more than these, the later ones share the last: any loader's table leads to
// the right driver, because objects carry their driver's.
constexpr int kLoaders = 4;

template <int Loader>
struct LayerDoor {
  static constexpr DoorKind kKind = DoorKind::kLayer;
  static inline Table target{};
  static const Table& real(const void*) { return target; }
};

// A newer loader's table may be longer than the headers we were built with.
constexpr unsigned kMostEntries = 512;
using Slots = std::array<void*, kMostEntries>;
std::array<Slots, kLoaders> layer_tables;
std::atomic<int> loaders{0};

template <int Loader>
void open_door(void* const* target, unsigned count) {
  std::memcpy(static_cast<void*>(&LayerDoor<Loader>::target), target,
              std::min(count, kTableEntries) * sizeof(void*));
  Slots& slots = layer_tables[Loader];
  std::copy_n(target, count, slots.begin());
  if (!serves_hooks(LayerDoor<Loader>::target)) return;
  for (const HookedEntry& entry : kHookedEntries) {
    if (entry.index < count && slots[entry.index] != nullptr) {
      slots[entry.index] = hook_of<LayerDoor<Loader>>(entry.call);
    } else if (!is_optional(entry)) {
      trace::note(TraceNoteKind::kShortTable, entry.name);
    }
  }
}

template <int... Loader>
void open_door(int loader, void* const* target, unsigned count,
               std::integer_sequence<int, Loader...>) {
  (void)((Loader == loader && (open_door<Loader>(target, count), true)) || ...);
}

using Init = cl_int(CL_API_CALL*)(cl_uint, const Table*, cl_uint*, const Table**);

cl_int init(cl_uint num_entries, const Table* target, cl_uint* num_entries_ret,
            const Table** layer_ret) {
  if (target == nullptr || num_entries_ret == nullptr || layer_ret == nullptr) {
    return CL_INVALID_VALUE;
  }
  // Whichever copy a loader has been told of, the active one gets its calls.
  if (auto forward = reinterpret_cast<Init>(active_copy_symbol("clInitLayer"))) {
    return forward(num_entries, target, num_entries_ret, layer_ret);
  }
  // A loader that was told of us twice, by its folder of layers and by the environment.
  if (is_own_function(reinterpret_cast<const void*>(target->clCreateBuffer))) {
    *num_entries_ret = num_entries;
    *layer_ret = target;
    return CL_SUCCESS;
  }
  trace::door_opened(DoorKind::kLayer);
  const unsigned count = std::min(num_entries, kMostEntries);
  int loader = loaders.fetch_add(1);
  if (loader < kLoaders) {
    open_door(loader, reinterpret_cast<void* const*>(target), count,
              std::make_integer_sequence<int, kLoaders>());
  } else {
    loader = kLoaders - 1;
  }
  is_reached_by_layer(reinterpret_cast<const void*>(target->clCreateBuffer));
  *num_entries_ret = count;
  *layer_ret =
      reinterpret_cast<const Table*>(layer_tables[static_cast<std::size_t>(loader)].data());
  return CL_SUCCESS;
}

constexpr cl_uint kLayerApiVersion = 0x4240;
constexpr cl_uint kLayerName = 0x4241;
constexpr cl_uint kApiVersion100 = 100;

}  // namespace
}  // namespace chronos::shim

using chronos::shim::Table;

CHRONOS_EXPORT cl_int CL_API_CALL clGetLayerInfo(cl_uint what, size_t size, void* value,
                                                 size_t* size_ret) {
  static constexpr char kName[] = "Chronos";
  const void* answer = nullptr;
  size_t length = 0;
  switch (what) {
    case chronos::shim::kLayerApiVersion:
      answer = &chronos::shim::kApiVersion100;
      length = sizeof(cl_uint);
      break;
    case chronos::shim::kLayerName:
      answer = kName;
      length = sizeof kName;
      break;
    default:
      return CL_INVALID_VALUE;
  }
  if (value != nullptr) {
    if (size < length) return CL_INVALID_VALUE;
    std::memcpy(value, answer, length);
  }
  if (size_ret != nullptr) *size_ret = length;
  return CL_SUCCESS;
}

CHRONOS_EXPORT cl_int CL_API_CALL clInitLayer(cl_uint num_entries, const Table* target,
                                              cl_uint* num_entries_ret, const Table** layer_ret) {
  return chronos::shim::init(num_entries, target, num_entries_ret, layer_ret);
}

// Loaders since 2025 ask for this one only; the properties tell nothing that we need.
CHRONOS_EXPORT cl_int CL_API_CALL clInitLayerWithProperties(cl_uint num_entries,
                                                            const Table* target,
                                                            cl_uint* num_entries_ret,
                                                            const Table** layer_ret,
                                                            const intptr_t* /*properties*/) {
  return chronos::shim::init(num_entries, target, num_entries_ret, layer_ret);
}

// Programs call OpenCL until the very end, so nothing is taken down.
CHRONOS_EXPORT cl_int CL_API_CALL clDeinitLayer(void) { return CL_SUCCESS; }
