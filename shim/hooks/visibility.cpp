#include "shim/hooks/visibility.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <vector>

#include "core/opencl_facts.hpp"
#include "shim/contexts.hpp"
#include "shim/guard.hpp"
#include "shim/message.hpp"
#include "shim/process.hpp"

namespace chronos::shim {
namespace {

struct Listing {
  cl_int status = CL_SUCCESS;  // the driver's; CL_DEVICE_NOT_FOUND too if all are hidden
  std::vector<cl_device_id> devices;
  bool any_hidden = false;
};

Listing list_of_type(const Table& real, cl_platform_id platform, cl_device_type type,
                     bool for_context) {
  Listing listing;
  std::array<cl_device_id, opencl::kMaxDevices> found{};
  cl_uint count = 0;
  {
    Guard guard;
    auto ask = [&] {
      return real.clGetDeviceIDs(platform, type, opencl::kMaxDevices, found.data(), &count);
    };
    listing.status = ask();
    // Khronos' loader has a default platform for contexts, the first one, and none for devices.
    if (listing.status == CL_INVALID_PLATFORM && platform == nullptr && for_context &&
        real.clGetPlatformIDs != nullptr &&
        real.clGetPlatformIDs(1, &platform, nullptr) == CL_SUCCESS) {
      listing.status = ask();
    }
  }
  if (listing.status != CL_SUCCESS) return listing;
  const std::string* why = nullptr;
  for (cl_uint i = 0; i < std::min<cl_uint>(count, opencl::kMaxDevices); ++i) {
    const Place place = place_of(real, found[i]);
    if (place.hidden) {
      listing.any_hidden = true;
      why = place.why;
    } else {
      listing.devices.push_back(found[i]);
    }
  }
  if (!listing.devices.empty()) return listing;
  listing.status = CL_DEVICE_NOT_FOUND;
  // Who has a partition somewhere is looking around; who has none would not know what happened.
  Process& self = process();
  std::lock_guard lock(self.mutex);
  if (why != nullptr && !self.partitions.any_usable() && first_time(Topic::kUnusable)) {
    say(fmt::format("{}; the device is hidden", *why));
  }
  return listing;
}

Listing list_visible(const Table& real, cl_platform_id platform, cl_device_type type,
                     bool for_context) {
  Listing listing = list_of_type(real, platform, type, for_context);
  if (type != CL_DEVICE_TYPE_DEFAULT || !listing.any_hidden || !listing.devices.empty()) {
    return listing;
  }
  listing = list_of_type(real, platform, CL_DEVICE_TYPE_ALL, for_context);
  listing.any_hidden = true;
  listing.devices.resize(std::min<std::size_t>(listing.devices.size(), 1));
  return listing;
}

}  // namespace

bool hides_devices() {
  enum : int { kUnknown, kNo, kYes };
  static constinit std::atomic<int> known{kUnknown};
  int answer = known.load(std::memory_order_relaxed);
  if (answer == kUnknown) {
    Process& self = process();
    std::lock_guard lock(self.mutex);
    answer = self.partitions.hides_devices() ? kYes : kNo;
    known.store(answer, std::memory_order_relaxed);
  }
  return answer == kYes;
}

cl_int visible_devices(const Table& real, cl_platform_id platform, cl_device_type type,
                       cl_uint num_entries, cl_device_id* devices, cl_uint* num_devices) {
  // What is wrong with the call is the driver's to say.
  const bool asks_nothing = devices == nullptr && num_devices == nullptr;
  if (asks_nothing || (devices != nullptr && num_entries == 0)) {
    return real.clGetDeviceIDs(platform, type, num_entries, devices, num_devices);
  }
  const Listing listing = list_visible(real, platform, type, false);
  const auto count = static_cast<cl_uint>(listing.devices.size());
  if (listing.status != CL_SUCCESS) {
    if (num_devices != nullptr && listing.status == CL_DEVICE_NOT_FOUND) *num_devices = 0;
    return listing.status;
  }
  if (devices != nullptr) {
    std::copy_n(listing.devices.begin(), std::min(count, num_entries), devices);
  }
  if (num_devices != nullptr) *num_devices = count;
  return CL_SUCCESS;
}

cl_context context_of_visible(const Table& real, cl_platform_id platform,
                              const cl_context_properties* properties, cl_device_type type,
                              ContextNotify notify, void* user_data, cl_int* errcode_ret) {
  const Listing listing = list_visible(real, platform, type, true);
  if (listing.status == CL_SUCCESS && !listing.any_hidden) {
    return real.clCreateContextFromType(properties, type, notify, user_data, errcode_ret);
  }
  if (listing.status != CL_SUCCESS) {
    if (errcode_ret != nullptr) *errcode_ret = listing.status;
    return nullptr;
  }
  return real.clCreateContext(properties, static_cast<cl_uint>(listing.devices.size()),
                              listing.devices.data(), notify, user_data, errcode_ret);
}

}  // namespace chronos::shim
