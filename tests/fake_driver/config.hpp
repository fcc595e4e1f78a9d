// What the fake driver pretends to be. Read once, from the JSON file that CHRONOS_FAKE_DRIVER
// names; README.md lists the keys. Unknown keys are errors: a misspelt fault must not make a test
// pass.
#pragma once

#include <CL/cl.h>
#include <CL/cl_ext.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace chronos::fake {

struct DeviceConfig {
  std::string name = "Fake GPU 0";
  cl_device_type type = CL_DEVICE_TYPE_GPU;
  std::uint64_t memory_bytes = std::uint64_t{24} << 30;
  std::uint64_t max_alloc_bytes = 0;        // 0: as much as memory_bytes
  std::uint64_t witness_limit_bytes = 0;    // 0: the witness watches no limit
  std::uint64_t global_variable_bytes = 0;  // most of a program's global variables
  bool free_memory_amd = false;             // answers CL_DEVICE_GLOBAL_FREE_MEMORY_AMD
  std::optional<std::array<cl_uchar, CL_UUID_SIZE_KHR>> uuid;
  std::optional<cl_device_pci_bus_info_khr> pci;
};

struct Fault {
  std::string call;
  std::uint64_t after = 0;           // calls of this process that still go through
  std::uint64_t times = UINT64_MAX;  // calls that then fail
  cl_int error = CL_OUT_OF_RESOURCES;
};

struct Delay {
  std::string call;
  std::uint64_t microseconds = 0;
};

struct Config {
  std::string platform_name = "Chronos Fake Platform";
  std::string platform_vendor = "Chronos";
  std::string platform_version = "OpenCL 3.0 fake";
  std::string platform_suffix = "FAKE";  // some loaders know by it whose function a name is
  std::vector<DeviceConfig> devices{DeviceConfig{}};
  std::vector<Fault> faults;
  std::vector<Delay> delays;
  std::vector<std::string> crash_on;
  std::vector<std::string> hang_on;
  bool enforce_device_memory = true;
  bool back_memory = false;
  bool deferred = false;
  bool build_in_background = false;     // builds with a callback
  bool stale_reference_counts = false;  // of programs and memory objects: always 1
  bool hides_program_globals = false;   // as drivers of OpenCL 1.2
  std::uint64_t image_padding_bytes = 0;
  std::string witness;            // path of the shared file; empty: counted within the process only
  std::size_t table_entries = 0;  // an older driver's shorter dispatch table; 0: all entries
  bool table_read_only = false;
  bool table_managed = false;  // cl_khr_icd 2.0: the loader makes the tables
  bool table_empty = false;    // and the driver has none of its own for older loaders
};

inline constexpr std::size_t kMaxDevices = 64;
// Bounds what the witness's packed words must hold.
inline constexpr std::uint64_t kMaxMemoryBytes = std::uint64_t{1} << 43;

// The configuration of this process, or nothing after one line on stderr that says what is wrong.
std::optional<Config> load_config();

}  // namespace chronos::fake
