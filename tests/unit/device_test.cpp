#include "core/device.hpp"

#include <rapidcheck.h>

#include <cstring>
#include <functional>
#include <map>

#include "core/opencl_facts.hpp"
#include "tests/unit/catch.hpp"

namespace chronos {
namespace {

constexpr char kUuidA[] = "0123456789abcdef0123456789abcdef";
constexpr char kUuidB[] = "fedcba9876543210fedcba9876543210";

// A driver in memory: devices with the values that the tests give them.
struct FakeDevice {
  std::map<cl_device_info, std::string> values;  // as bytes
  cl_device_type type = CL_DEVICE_TYPE_GPU;
};

struct FakeCl {
  std::vector<FakeDevice*> devices;
  cl_int status = CL_SUCCESS;

  static cl_int give(const std::string& data, std::size_t size, void* value, std::size_t* ret) {
    if (ret != nullptr) *ret = data.size();
    if (value == nullptr) return CL_SUCCESS;
    if (size < data.size()) return CL_INVALID_VALUE;
    std::memcpy(value, data.data(), data.size());
    return CL_SUCCESS;
  }
  cl_int get_platform_info(cl_platform_id, cl_platform_info, std::size_t size, void* value,
                           std::size_t* ret) const {
    return give(std::string(" Fake  Platform\0", 16), size, value, ret);
  }
  cl_int get_device_ids(cl_platform_id, cl_device_type type, cl_uint entries, cl_device_id* out,
                        cl_uint* count) const {
    if (status != CL_SUCCESS) return status;
    cl_uint found = 0;
    for (FakeDevice* device : devices) {
      bool custom = device->type == CL_DEVICE_TYPE_CUSTOM;
      if (custom != (type == CL_DEVICE_TYPE_CUSTOM)) continue;
      if (found < entries) out[found] = reinterpret_cast<cl_device_id>(device);
      ++found;
    }
    *count = found;
    return found == 0 ? CL_DEVICE_NOT_FOUND : CL_SUCCESS;
  }
  cl_int get_device_info(cl_device_id id, cl_device_info what, std::size_t size, void* value,
                         std::size_t* ret) const {
    const auto& values = reinterpret_cast<FakeDevice*>(id)->values;
    auto found = values.find(what);
    return found == values.end() ? CL_INVALID_VALUE : give(found->second, size, value, ret);
  }
};

template <class T>
std::string bytes(const T& value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}

cl_platform_id platform() { return reinterpret_cast<cl_platform_id>(std::uintptr_t{8}); }

FakeDevice fake(const std::string& name, cl_device_type type = CL_DEVICE_TYPE_GPU) {
  FakeDevice device;
  device.type = type;
  device.values[CL_DEVICE_NAME] = name + '\0';
  device.values[CL_DEVICE_TYPE] = bytes(type);
  device.values[CL_DEVICE_PLATFORM] = bytes(platform());
  device.values[CL_DEVICE_VERSION] = std::string("OpenCL 3.0 Vendor stuff\0", 24);
  device.values[CL_DEVICE_GLOBAL_MEM_SIZE] = bytes(cl_ulong{1} << 30);
  return device;
}

void set_extensions(FakeDevice& device, const std::string& extensions) {
  device.values[CL_DEVICE_EXTENSIONS] = extensions + '\0';
}

void set_uuid(FakeDevice& device, char fill) {
  set_extensions(device, "cl_khr_fp64 cl_khr_device_uuid cl_khr_pci_bus_info");
  device.values[opencl::kDeviceUuidKhr] = std::string(16, fill);
}

void set_pci(FakeDevice& device, cl_uint bus) {
  set_extensions(device, "cl_khr_device_uuid cl_khr_pci_bus_info ");
  device.values[opencl::kPciBusInfoKhr] = bytes(std::array<cl_uint, 4>{0, bus, 0, 1});
}

std::vector<Device> describe(std::vector<FakeDevice*> devices) {
  return opencl::describe_platform(FakeCl{std::move(devices)}, platform());
}

}  // namespace

TEST_CASE("a device is known by UUID, else by address, else by name and number") {
  CHECK(device_key(kUuidA, "0000:65:00.0", "P", "N", 3) == std::string("uuid:") + kUuidA);
  CHECK(device_key("", "0000:65:00.0", "P", "N", 3) == "pci:0000:65:00.0");
  CHECK(device_key("", "", "P", "N", 3) == "name:P/N#3");
  CHECK(device_key("", "", "", "", 0) == "name:/#0");
  CHECK(device_key(std::string(32, '0'), "", "P", "N", 0) == "name:P/N#0");
  CHECK(device_key("xyz", "65:00", "P", "N", 0) == "name:P/N#0");
  CHECK(device_key("", "", "a\nb", "c/d\x80", 0) == "name:a\\nb/c\\x2fd\\x80#0");
  CHECK(device_key("", "", "a/b", "c", 0) != device_key("", "", "a", "b/c", 0));
}

TEST_CASE("long names keep their differences in keys of bounded length") {
  std::string a = std::string(400, 'n') + "a", b = std::string(400, 'n') + "b";
  CHECK(device_key("", "", "P", a, 0).size() == kMaxDeviceKey);
  CHECK(device_key("", "", "P", a, 0) != device_key("", "", "P", b, 0));
  CHECK(device_key("", "", "P", a, 0) != device_key("", "", "P", a, 1));
  CHECK(rc::check("keys are bounded and printable", [](const std::string& p, const std::string& n,
                                                       unsigned ordinal) {
    std::string key =
        device_key("", "", p + std::string(*rc::gen::inRange(0, 300), '\n'), n, ordinal);
    RC_ASSERT(key.size() <= kMaxDeviceKey);
    RC_ASSERT(std::all_of(key.begin(), key.end(), [](char c) { return c >= ' ' && c < 0x7f; }));
  }));
}

TEST_CASE("UUIDs and addresses have one form") {
  CHECK(is_device_uuid(kUuidB));
  CHECK(!is_device_uuid("0123456789ABCDEF0123456789abcdef"));
  CHECK(!is_device_uuid("0123"));
  CHECK(is_pci_address("0000:65:00.0"));
  CHECK(is_pci_address("10000:65:00.0") == false);
  CHECK(is_pci_address("00010000:65:00.0"));
  CHECK(!is_pci_address("0000:65:00.8"));
  CHECK(!is_pci_address(""));
}

TEST_CASE("facts are tidied") {
  FakeDevice device = fake("   Big  (R)\x1b GPU  ");
  auto devices = describe({&device});
  REQUIRE(devices.size() == 1);
  CHECK(devices[0].name == "Big (R)\\x1b GPU");
  CHECK(devices[0].platform == "Fake Platform");
  CHECK(devices[0].opencl_version == "OpenCL 3.0");
  CHECK(devices[0].vendor.empty());
  CHECK(devices[0].total_bytes == 1u << 30);
  CHECK(devices[0].key == "name:Fake Platform/Big (R)\\\\x1b GPU#0");
}

TEST_CASE("extensions decide which facts are asked for") {
  FakeDevice device = fake("G");
  device.values[opencl::kDeviceUuidKhr] = std::string(16, 'x');
  CHECK(describe({&device})[0].uuid.empty());  // the extension is not named
  set_extensions(device, "cl_khr_device_uuid_not");
  CHECK(describe({&device})[0].uuid.empty());
  set_uuid(device, 'x');
  CHECK(describe({&device})[0].key == "uuid:78787878787878787878787878787878");

  FakeDevice nvidia = fake("N");
  set_extensions(nvidia, "cl_nv_device_attribute_query");
  nvidia.values[opencl::kPciBusIdNv] = bytes(cl_uint{0x65});
  nvidia.values[opencl::kPciSlotIdNv] = bytes(cl_uint{0x1a});
  CHECK(describe({&nvidia})[0].key == "pci:0000:65:03.2");
  nvidia.values[opencl::kPciDomainIdNv] = bytes(cl_uint{2});
  CHECK(describe({&nvidia})[0].key == "pci:0002:65:03.2");

  FakeDevice amd = fake("A");
  set_extensions(amd, "cl_amd_device_attribute_query");
  std::string topology(24, '\0');
  topology[0] = 1;
  topology[21] = 3;
  CHECK((amd.values[opencl::kTopologyAmd] = topology, describe({&amd})[0].pci) == "0000:03:00.0");
}

TEST_CASE("two devices never share a key") {
  FakeDevice a = fake("G"), b = fake("G"), c = fake("G");
  auto plain = describe({&a, &b});
  CHECK(plain[0].key == "name:Fake Platform/G#0");
  CHECK(plain[1].key == "name:Fake Platform/G#1");

  for (FakeDevice* device : {&a, &b, &c}) set_pci(*device, 5);
  set_pci(c, 6);
  auto same_address = describe({&a, &b, &c});
  CHECK(same_address[0].key == "name:Fake Platform/G#0");
  CHECK(same_address[1].key == "name:Fake Platform/G#1");
  CHECK(same_address[2].key == "pci:0000:06:00.1");

  for (FakeDevice* device : {&a, &b, &c}) set_uuid(*device, 'u');
  auto same_uuid = describe({&a, &b, &c});
  CHECK(same_uuid[0].key == "name:Fake Platform/G#0");
  CHECK(same_uuid[2].key == "pci:0000:06:00.1");

  set_uuid(a, '\0');  // all zero: none
  CHECK(describe({&a})[0].key == "pci:0000:05:00.1");
}

TEST_CASE("the shim's question about one device gets the inventory's answer") {
  FakeDevice a = fake("G"), b = fake("G"), custom = fake("G", CL_DEVICE_TYPE_CUSTOM);
  FakeCl cl{{&custom, &a, &b}};
  auto all = opencl::describe_platform(cl, platform());
  REQUIRE(all.size() == 3);
  CHECK(all[2].type == DeviceType::kCustom);  // asked for apart, so last
  auto key_of = [&](FakeDevice& device) {
    return opencl::describe_device(cl, reinterpret_cast<cl_device_id>(&device)).key;
  };
  CHECK(key_of(a) == all[0].key);
  CHECK(key_of(b) == all[1].key);
  CHECK(key_of(custom) == all[2].key);

  FakeDevice part = fake("G part"), part_of_part = fake("G part");
  part.values[CL_DEVICE_PARENT_DEVICE] = bytes(&b);
  part_of_part.values[CL_DEVICE_PARENT_DEVICE] = bytes(&part);
  CHECK(key_of(part_of_part) == all[1].key);

  FakeDevice stranger = fake("G");
  CHECK(key_of(stranger).empty());
  stranger.values.erase(CL_DEVICE_PLATFORM);
  CHECK(key_of(stranger).empty());
}

TEST_CASE("a driver's error and its lack of devices are told apart") {
  cl_int status = CL_SUCCESS;
  CHECK(opencl::describe_platform(FakeCl{}, platform(), nullptr, &status).empty());
  CHECK(status == CL_SUCCESS);
  FakeCl broken{{}, CL_OUT_OF_HOST_MEMORY};
  CHECK(opencl::describe_platform(broken, platform(), nullptr, &status).empty());
  CHECK(status == CL_OUT_OF_HOST_MEMORY);
}

}  // namespace chronos
