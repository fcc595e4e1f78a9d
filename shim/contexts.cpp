#include "shim/contexts.hpp"

#include <algorithm>
#include <mutex>
#include <string>

#include "core/opencl_facts.hpp"
#include "shim/environment.hpp"
#include "shim/guard.hpp"
#include "shim/process.hpp"
#include "shim/trace.hpp"

namespace chronos::shim {

constinit thread_local detail::RememberedContext detail::last_context{nullptr, 0, nullptr};

namespace {

// The real functions under the names that core/opencl_facts.hpp calls them by.
struct RealOpenCl {
  explicit RealOpenCl(const Table& real)
      : get_platform_info(real.clGetPlatformInfo),
        get_device_ids(real.clGetDeviceIDs),
        get_device_info(real.clGetDeviceInfo) {}
  decltype(Table::clGetPlatformInfo) get_platform_info;
  decltype(Table::clGetDeviceIDs) get_device_ids;
  decltype(Table::clGetDeviceInfo) get_device_info;
};

// Needs process().mutex.
Place find_place(const Table& real, cl_device_id device) {
  Process& self = process();
  auto known = self.devices.find(device);
  if (known != self.devices.end()) return known->second;
  Guard guard;  // what we ask now is not the program's question
  device = root_of(real, device);
  known = self.devices.find(device);
  if (known != self.devices.end()) return known->second;
  Device facts;
  if (device != nullptr) facts = opencl::describe_device(RealOpenCl(real), device);
  if (facts.name.empty()) facts.name = "a device without a name";
  Place place = self.partitions.place_for(facts.key, facts.name);
  place.lacks_callbacks = facts.opencl_version.starts_with("OpenCL 1.0");
  if (place.kind == Place::Kind::kRefused) trace::note(TraceNoteKind::kDevice, *place.why);
  place.device_bytes = facts.total_bytes;
  cl_ulong in_one_piece = 0;
  if (facts.total_bytes != 0 &&
      real.clGetDeviceInfo(device, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof in_one_piece, &in_one_piece,
                           nullptr) == CL_SUCCESS) {
    place.device_bytes = std::max<std::uint64_t>(place.device_bytes, in_one_piece);
  }
  if (!place.passing && !place.hidden) self.devices.emplace(device, place);
  return place;
}

std::uint64_t bound_of(const Place& place) {
  return place.device_bytes != 0 ? place.device_bytes : Assignment::kNoBound;
}

// CL_CONTEXT_DEVICES, OpenCL 3.0 section 4.4.
cl_int devices_of(const Table& real, cl_context context, std::vector<cl_device_id>& devices) {
  Guard guard;
  cl_uint count = 0;
  cl_int status =
      real.clGetContextInfo(context, CL_CONTEXT_NUM_DEVICES, sizeof count, &count, nullptr);
  if (status != CL_SUCCESS) return status;
  if (count == 0 || count > opencl::kMaxDevices) return CL_INVALID_VALUE;
  devices.resize(count);
  return real.clGetContextInfo(context, CL_CONTEXT_DEVICES, count * sizeof(cl_device_id),
                               devices.data(), nullptr);
}

// `lasting` is false for an answer that is not to be remembered.
const Assignment& find_assignment(const Table& real, cl_context context, bool& lasting) {
  Process& self = process();
  std::lock_guard lock(self.mutex);
  auto known = self.contexts.find(context);
  if (known != self.contexts.end()) return *known->second;

  std::vector<Attachment*> attachments;
  const std::string* why = nullptr;
  bool counted = false;
  std::uint64_t device_bytes = 0;
  std::vector<cl_device_id> devices;
  cl_int status = devices_of(real, context, devices);
  if (status == CL_INVALID_CONTEXT) {  // the driver will say so
    lasting = false;
    return assignment_for({}, nullptr);
  }
  if (status != CL_SUCCESS) devices = {nullptr};  // one that nobody knows
  for (cl_device_id device : devices) {
    const Place place = find_place(real, device);
    counted = counted || place.lacks_callbacks;
    device_bytes = std::max(device_bytes, bound_of(place));
    if (place.kind == Place::Kind::kRefused) why = place.why;
    if (place.passing) lasting = false;
    if (place.kind == Place::Kind::kCharged) attachments.push_back(place.attachment);
  }
  if (why != nullptr) attachments.clear();
  const Assignment& assignment = assignment_for(attachments, why, counted, device_bytes);
  if (lasting) self.contexts.emplace(context, &assignment);
  return assignment;
}

}  // namespace

// Only root devices live as long as the process: the handle of a sub-device may be another one's
// later, so none is remembered.
cl_device_id root_of(const Table& real, cl_device_id device) {
  Guard guard;
  for (int depth = 0; device != nullptr && depth < 16; ++depth) {
    cl_device_id parent = nullptr;
    if (real.clGetDeviceInfo(device, CL_DEVICE_PARENT_DEVICE, sizeof parent, &parent, nullptr) !=
            CL_SUCCESS ||
        parent == nullptr) {
      break;
    }
    device = parent;
  }
  return device;
}

const Assignment& detail::look_up_assignment(const Table& real, cl_context context) {
  const std::uint64_t version = shim::contexts_version();
  bool lasting = true;
  const Assignment& assignment = find_assignment(real, context, lasting);
  if (lasting) detail::last_context = {context, version, &assignment};
  return assignment;
}

Place place_of(const Table& real, cl_device_id device) {
  std::lock_guard lock(process().mutex);
  return find_place(real, device);
}

const Assignment& assignment_of(const Table& real, cl_device_id device) {
  std::lock_guard lock(process().mutex);
  const Place place = find_place(real, device);
  std::vector<Attachment*> attachments;
  if (place.kind == Place::Kind::kCharged) attachments.push_back(place.attachment);
  const std::string* why = place.kind == Place::Kind::kRefused ? place.why : nullptr;
  return assignment_for(attachments, why, false, bound_of(place));
}

void forget_context(cl_context context) {
  repair_layers();  // by now the loader has read it
  Process& self = process();
  std::lock_guard lock(self.mutex);
  self.contexts.erase(context);
  std::erase_if(self.devices,
                [](const auto& entry) { return entry.second.kind == Place::Kind::kUnassigned; });
  detail::contexts_version.fetch_add(1);
}

}  // namespace chronos::shim
