#include "shim/hooks/queries.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "shim/contexts.hpp"
#include "shim/guard.hpp"

namespace chronos::shim {
namespace {

constexpr cl_device_info kGlobalFreeMemoryAmd = 0x4039;  // cl_amd_device_attribute_query

enum class Bound { kNone, kLimit, kFreeKiB };

Bound bound_of(cl_device_info what) {
  switch (what) {
    case CL_DEVICE_GLOBAL_MEM_SIZE:
    case CL_DEVICE_MAX_MEM_ALLOC_SIZE:
    case CL_DEVICE_MAX_CONSTANT_BUFFER_SIZE:
    case CL_DEVICE_MAX_GLOBAL_VARIABLE_SIZE:
    case CL_DEVICE_GLOBAL_VARIABLE_PREFERRED_TOTAL_SIZE:
      return Bound::kLimit;
    case kGlobalFreeMemoryAmd:
      return Bound::kFreeKiB;
    default:
      return Bound::kNone;
  }
}

// cl_ulong or size_t, 64 bits both; AMD's answer is one or two of them.
void lower(void* value, std::size_t at, std::uint64_t most) {
  std::uint64_t now = 0;
  auto* bytes = static_cast<char*>(value) + at;
  std::memcpy(&now, bytes, sizeof now);
  now = std::min(now, most);
  std::memcpy(bytes, &now, sizeof now);
}

}  // namespace

void virtualise_device_info(const Table& real, cl_device_id device, cl_device_info what,
                            std::size_t size, void* value) {
  static_assert(sizeof(std::size_t) == 8 && sizeof(cl_ulong) == 8);
  const Bound bound = bound_of(what);
  if (bound == Bound::kNone || value == nullptr || size < 8 || Guard::inside()) return;
  const Place place = place_of(real, device);
  if (place.kind != Place::Kind::kCharged) return;
  const std::uint64_t limit = place.attachment->limit();
  if (bound == Bound::kLimit) return lower(value, 0, limit);

  const std::uint64_t free_kib = (limit - std::min(limit, place.attachment->used())) / 1024;
  std::size_t answered = 0;
  if (real.clGetDeviceInfo(device, what, 0, nullptr, &answered) != CL_SUCCESS) answered = 8;
  for (std::size_t at = 0; at + 8 <= std::min(size, answered); at += 8) lower(value, at, free_kib);
}

}  // namespace chronos::shim
