// What OpenCL says of its devices, asked in one way by the inventory (in chronos-probe) and by the
// shim (in programs), so that both compute the same device_key().
//
// `Cl` is anything with the members get_platform_info, get_device_ids and get_device_info that can
// be called as the OpenCL functions of those names: the driver's own, not hooked ones. Nothing is
// kept between calls; as thread-safe as the driver. Nothing here throws but std::bad_alloc.
#pragma once

#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 300
#endif
#include <CL/cl.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "core/device.hpp"
#include "core/text.hpp"

namespace chronos {
namespace opencl {

inline constexpr cl_uint kMaxDevices = 256;  // of one platform
inline constexpr std::size_t kMaxText = std::size_t{1} << 20;
inline constexpr std::size_t kMaxShownText = 255;  // of a name that is shown and stored
inline constexpr std::uint64_t kMaxTotalBytes = (std::uint64_t{1} << 46) - 1;

// Not in every version of the headers.
inline constexpr cl_device_info kDeviceUuidKhr = 0x106A;
inline constexpr cl_device_info kPciBusInfoKhr = 0x410F;
inline constexpr cl_device_info kPciBusIdNv = 0x4008;
inline constexpr cl_device_info kPciSlotIdNv = 0x4009;
inline constexpr cl_device_info kPciDomainIdNv = 0x400A;
inline constexpr cl_device_info kTopologyAmd = 0x4037;

// `get` is called as get(size, value, size_ret).
template <class Get>
std::string read_text(Get get) {
  std::size_t size = 0;
  if (get(std::size_t{0}, nullptr, &size) != CL_SUCCESS || size == 0 || size > kMaxText) return {};
  std::string text(size, '\0');
  if (get(size, text.data(), nullptr) != CL_SUCCESS) return {};
  text.resize(std::min(text.find('\0'), text.size()));
  return text;
}

// A name fit to be shown: no spaces around it, single ones inside, printable.
inline std::string tidy(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c != ' ') {
      out += c;
    } else if (!out.empty() && out.back() != ' ') {
      out += ' ';
    }
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return escaped(out, kMaxShownText);
}

// "OpenCL 3.0" of "OpenCL 3.0 PoCL HSTR: ...".
inline std::string version_of(std::string_view text) {
  std::string tidied = tidy(text);
  std::size_t second = tidied.find(' ');
  if (second == tidied.npos) return tidied.substr(0, 32);
  return tidied.substr(0, std::min<std::size_t>(tidied.find(' ', second + 1), 32));
}

inline bool has_word(std::string_view words, std::string_view word) {
  for (std::size_t at = words.find(word); at != words.npos; at = words.find(word, at + 1)) {
    std::size_t end = at + word.size();
    if ((at == 0 || words[at - 1] == ' ') && (end == words.size() || words[end] == ' '))
      return true;
  }
  return false;
}

inline std::string pci_text(cl_uint domain, cl_uint bus, cl_uint device, cl_uint function) {
  // 0:0:0.0 is the host bridge: what a driver says that does not know.
  if ((domain | bus | device | function) == 0) return {};
  if (bus > 0xff || device > 0x1f || function > 7) return {};
  char text[32];
  std::snprintf(text, sizeof text, "%04x:%02x:%02x.%x", domain, bus, device, function);
  return text;
}

template <class Cl>
class Asker {
 public:
  explicit Asker(const Cl& cl) : cl_(cl) {}

  std::string platform_text(cl_platform_id platform, cl_platform_info what) const {
    return read_text([&](std::size_t size, void* value, std::size_t* size_ret) {
      return cl_.get_platform_info(platform, what, size, value, size_ret);
    });
  }

  std::string device_text(cl_device_id device, cl_device_info what) const {
    return read_text([&](std::size_t size, void* value, std::size_t* size_ret) {
      return cl_.get_device_info(device, what, size, value, size_ret);
    });
  }

  template <class T>
  bool device_value(cl_device_id device, cl_device_info what, T& value) const {
    return cl_.get_device_info(device, what, sizeof value, &value, nullptr) == CL_SUCCESS;
  }

  // The device that `device` is a part of (clCreateSubDevices), or itself.
  cl_device_id root_of(cl_device_id device) const {
    cl_device_id parent = nullptr;
    for (int depth = 0; depth < 16; ++depth) {
      if (!device_value(device, CL_DEVICE_PARENT_DEVICE, parent) || parent == nullptr) break;
      device = parent;
    }
    return device;
  }

  // Appends the devices in the driver's order. CL_DEVICE_TYPE_ALL leaves custom devices out.
  cl_int list_devices(cl_platform_id platform, std::vector<cl_device_id>& devices) const {
    for (cl_device_type type :
         {cl_device_type{CL_DEVICE_TYPE_ALL}, cl_device_type{CL_DEVICE_TYPE_CUSTOM}}) {
      std::array<cl_device_id, kMaxDevices> found{};
      cl_uint count = 0;
      cl_int status = cl_.get_device_ids(platform, type, kMaxDevices, found.data(), &count);
      // Drivers older than OpenCL 1.2 do not know the custom type.
      if (status == CL_DEVICE_NOT_FOUND || type == CL_DEVICE_TYPE_CUSTOM) {
        if (status != CL_SUCCESS) continue;
      } else if (status != CL_SUCCESS) {
        return status;
      }
      for (cl_uint i = 0; i < std::min(count, kMaxDevices); ++i) {
        if (std::find(devices.begin(), devices.end(), found[i]) == devices.end()) {
          devices.push_back(found[i]);
        }
      }
    }
    return CL_SUCCESS;
  }

  // Everything but the key and the platform.
  Device facts_of(cl_device_id device) const {
    Device facts;
    facts.name = tidy(device_text(device, CL_DEVICE_NAME));
    facts.vendor = tidy(device_text(device, CL_DEVICE_VENDOR));
    facts.opencl_version = version_of(device_text(device, CL_DEVICE_VERSION));
    cl_device_type type = 0;
    device_value(device, CL_DEVICE_TYPE, type);
    facts.type = (type & CL_DEVICE_TYPE_GPU) != 0           ? DeviceType::kGpu
                 : (type & CL_DEVICE_TYPE_ACCELERATOR) != 0 ? DeviceType::kAccelerator
                 : (type & CL_DEVICE_TYPE_CPU) != 0         ? DeviceType::kCpu
                                                            : DeviceType::kCustom;
    cl_ulong total = 0;
    device_value(device, CL_DEVICE_GLOBAL_MEM_SIZE, total);
    facts.total_bytes = std::min<std::uint64_t>(total, kMaxTotalBytes);
    std::string extensions = device_text(device, CL_DEVICE_EXTENSIONS);
    facts.uuid = uuid_of(device, extensions);
    facts.pci = pci_of(device, extensions);
    return facts;
  }

 private:
  std::string uuid_of(cl_device_id device, std::string_view extensions) const {
    std::array<char, 16> bytes{};
    if (!has_word(extensions, "cl_khr_device_uuid") ||
        !device_value(device, kDeviceUuidKhr, bytes)) {
      return {};
    }
    std::string text = to_hex(std::string_view(bytes.data(), bytes.size()));
    return is_device_uuid(text) ? text : std::string();
  }

  std::string pci_of(cl_device_id device, std::string_view extensions) const {
    if (std::array<cl_uint, 4> info{};  // domain, bus, device, function
        has_word(extensions, "cl_khr_pci_bus_info") && device_value(device, kPciBusInfoKhr, info)) {
      std::string text = pci_text(info[0], info[1], info[2], info[3]);
      if (!text.empty()) return text;
    }
    if (cl_uint bus = 0, slot = 0, domain = 0;
        has_word(extensions, "cl_nv_device_attribute_query") &&
        device_value(device, kPciBusIdNv, bus) && device_value(device, kPciSlotIdNv, slot)) {
      if (!device_value(device, kPciDomainIdNv, domain)) domain = 0;
      return pci_text(domain, bus, slot >> 3, slot & 7);
    }
    struct Topology {  // cl_device_topology_amd
      cl_uint type;
      unsigned char unused[17], bus, device, function;
    } topology{};
    static_assert(sizeof(Topology) == 24);
    if (has_word(extensions, "cl_amd_device_attribute_query") &&
        device_value(device, kTopologyAmd, topology) && topology.type == 1 /* PCIe */) {
      return pci_text(0, topology.bus, topology.device, topology.function);
    }
    return {};
  }

  const Cl& cl_;
};

// Fills in the keys of all devices of one platform, given in the driver's order. A UUID or an
// address that several devices share (virtual GPUs, tiles) tells none of them from the others.
inline void assign_keys(std::vector<Device>& devices) {
  for (std::size_t i = 0; i < devices.size(); ++i) {
    Device& device = devices[i];
    auto is_alone = [&](auto member) {
      return std::count_if(devices.begin(), devices.end(), [&](const Device& other) {
               return other.*member == device.*member;
             }) == 1;
    };
    auto ordinal = std::count_if(devices.begin(), devices.begin() + static_cast<std::ptrdiff_t>(i),
                                 [&](const Device& before) { return before.name == device.name; });
    device.key = device_key(is_alone(&Device::uuid) ? device.uuid : std::string_view(),
                            is_alone(&Device::pci) ? device.pci : std::string_view(),
                            device.platform, device.name, static_cast<unsigned>(ordinal));
  }
}

template <class Cl>
std::string platform_name(const Cl& cl, cl_platform_id platform) {
  return tidy(Asker<Cl>(cl).platform_text(platform, CL_PLATFORM_NAME));
}

// The devices of a platform, in the driver's order; `index` is not set. `ids`, if given, gets the
// device of each. `error` gets the status of clGetDeviceIDs.
template <class Cl>
std::vector<Device> describe_platform(const Cl& cl, cl_platform_id platform,
                                      std::vector<cl_device_id>* ids = nullptr,
                                      cl_int* error = nullptr) {
  const Asker<Cl> ask(cl);
  std::vector<cl_device_id> found;
  cl_int status = ask.list_devices(platform, found);
  if (error != nullptr) *error = status;
  const std::string platform_text = platform_name(cl, platform);
  std::vector<Device> devices;
  for (cl_device_id id : found) {
    devices.push_back(ask.facts_of(id));
    devices.back().platform = platform_text;
  }
  assign_keys(devices);
  if (ids != nullptr) *ids = std::move(found);
  return devices;
}

// One device as the inventory knows it; for a sub-device, the device that it is a part of. The key
// is empty if the device cannot be identified: its platform does not list it. A key that begins
// with "name:" counts devices of one name and is wrong where the program sees only some of them
// (CUDA_VISIBLE_DEVICES and the like).
template <class Cl>
Device describe_device(const Cl& cl, cl_device_id device) {
  const Asker<Cl> ask(cl);
  cl_device_id root = ask.root_of(device);
  cl_platform_id platform = nullptr;
  if (!ask.device_value(root, CL_DEVICE_PLATFORM, platform) || platform == nullptr) return {};
  std::vector<cl_device_id> ids;
  std::vector<Device> devices = describe_platform(cl, platform, &ids);
  auto at = std::find(ids.begin(), ids.end(), root);
  if (at == ids.end()) return {};
  return std::move(devices[static_cast<std::size_t>(at - ids.begin())]);
}

}  // namespace opencl
}  // namespace chronos
