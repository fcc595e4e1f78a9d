#include "shim/imports.hpp"

#include <atomic>

#include "shim/trace.hpp"

namespace chronos::shim {
namespace {

constinit std::atomic<std::uint64_t> objects{0};
constinit std::atomic<std::uint64_t> bytes{0};

// cl_khr_external_memory and its kin; older headers lack some.
constexpr cl_bitfield kDeviceHandleList = 0x2051;

// CL_EXTERNAL_MEMORY_HANDLE_...: OPAQUE_FD to DMA_BUF, OPAQUE_WIN32_NAME, ANDROID_HARDWARE_BUFFER.
bool is_handle(cl_bitfield property) {
  return (property >= 0x2060 && property <= 0x2067) || property == 0x2069 || property == 0x2070;
}

}  // namespace

Imports imports() { return {objects.load(), bytes.load()}; }

void note_import(const Table& real, cl_mem object) {
  std::size_t size = 0;
  real.clGetMemObjectInfo(object, CL_MEM_SIZE, sizeof size, &size, nullptr);
  objects.fetch_add(1);
  bytes.fetch_add(size);
  if (trace::on()) trace::imported(size);
}

bool detail::names_import(const cl_bitfield* properties) {
  while (*properties != 0) {
    if (is_handle(*properties)) return true;
    if (*properties != kDeviceHandleList) {
      properties += 2;
      continue;
    }
    ++properties;  // the one property with a list, which ends with a 0 of its own
    while (*properties != 0) ++properties;
    ++properties;
  }
  return false;
}

}  // namespace chronos::shim
