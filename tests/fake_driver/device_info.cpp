#include <CL/cl_ext.h>

#include <algorithm>
#include <cstdio>
#include <string>

#include "tests/fake_driver/call.hpp"
#include "tests/fake_driver/device_features.hpp"
#include "tests/fake_driver/driver.hpp"
#include "tests/fake_driver/entries.hpp"
#include "tests/fake_driver/info.hpp"

namespace chronos::fake {
namespace {

std::vector<std::string> extensions(const DeviceConfig& config) {
  std::vector<std::string> names{"cl_khr_byte_addressable_store", "cl_khr_image2d_from_buffer",
                                 "cl_intel_unified_shared_memory",
                                 "cl_intel_create_buffer_with_properties",
                                 "cl_arm_shared_virtual_memory"};
  if (config.uuid) names.emplace_back("cl_khr_device_uuid");
  if (config.pci) names.emplace_back("cl_khr_pci_bus_info");
  return names;
}

std::string extension_text(const DeviceConfig& config) {
  std::string text;
  for (const std::string& name : extensions(config)) text += (text.empty() ? "" : " ") + name;
  return text;
}

std::vector<cl_name_version> extension_versions(const DeviceConfig& config) {
  std::vector<cl_name_version> versions;
  for (const std::string& name : extensions(config)) {
    cl_name_version entry{CL_MAKE_VERSION(1, 0, 0), {}};
    std::snprintf(entry.name, sizeof entry.name, "%s", name.c_str());
    versions.push_back(entry);
  }
  return versions;
}

std::vector<cl_name_version> c_versions() {
  std::vector<cl_name_version> versions;
  for (const cl_version version : {CL_MAKE_VERSION(1, 0, 0), CL_MAKE_VERSION(1, 1, 0),
                                   CL_MAKE_VERSION(1, 2, 0), CL_MAKE_VERSION(3, 0, 0)}) {
    versions.push_back({version, "OpenCL C"});
  }
  return versions;
}

std::uint64_t max_alloc(const DeviceConfig& config) {
  return config.max_alloc_bytes != 0 ? config.max_alloc_bytes : config.memory_bytes;
}

// AMD answers in KiB. The extension (cl_amd_device_attribute_query) is not in the list of
// extensions: clinfo would ask for twenty other values of it. The answer: what is free, and the
// largest block.
std::vector<std::size_t> free_memory_amd(const _cl_device_id& device) {
  const std::uint64_t held = driver()->witness.total(device.index);
  const std::uint64_t free =
      device.config->memory_bytes - std::min(held, device.config->memory_bytes);
  return {free / 1024, std::min(free, max_alloc(*device.config)) / 1024};
}

cl_int identity_info(const _cl_device_id& device, cl_device_info name, const Answer& answer,
                     std::size_t capacity) {
  const DeviceConfig& config = *device.config;
  switch (name) {
    case CL_DEVICE_UUID_KHR:
      return config.uuid ? answer.value(*config.uuid) : CL_INVALID_VALUE;
    case CL_DRIVER_UUID_KHR: {
      static constexpr std::array<cl_uchar, CL_UUID_SIZE_KHR> kDriver{'c', 'h', 'r', 'o', 'n', 'o'};
      return config.uuid ? answer.value(kDriver) : CL_INVALID_VALUE;
    }
    case CL_DEVICE_LUID_VALID_KHR:
      return config.uuid ? answer.value<cl_bool>(CL_FALSE) : CL_INVALID_VALUE;
    case CL_DEVICE_LUID_KHR: {
      static constexpr std::array<cl_uchar, CL_LUID_SIZE_KHR> kNone{};
      return config.uuid ? answer.value(kNone) : CL_INVALID_VALUE;
    }
    case CL_DEVICE_NODE_MASK_KHR:
      return config.uuid ? answer.value<cl_uint>(0) : CL_INVALID_VALUE;
    case CL_DEVICE_PCI_BUS_INFO_KHR:
      return config.pci ? answer.value(*config.pci) : CL_INVALID_VALUE;
    case CL_DEVICE_GLOBAL_FREE_MEMORY_AMD: {
      if (!config.free_memory_amd) return CL_INVALID_VALUE;
      std::vector<std::size_t> free = free_memory_amd(device);
      if (capacity != 0 && capacity < 2 * sizeof(std::size_t)) free.pop_back();
      return answer.list(free);
    }
    default:
      return CL_INVALID_VALUE;
  }
}

cl_int partition_info(const _cl_device_id& device, cl_device_info name, const Answer& answer) {
  switch (name) {
    case CL_DEVICE_PARENT_DEVICE:
      return answer.value(device.parent);
    case CL_DEVICE_PARTITION_MAX_SUB_DEVICES:
      return answer.value(device.compute_units);
    case CL_DEVICE_PARTITION_PROPERTIES:
      return answer.value<cl_device_partition_property>(CL_DEVICE_PARTITION_EQUALLY);
    case CL_DEVICE_PARTITION_AFFINITY_DOMAIN:
      return answer.value<cl_device_affinity_domain>(0);
    case CL_DEVICE_PARTITION_TYPE:
      return answer.list(device.partition);
    case CL_DEVICE_REFERENCE_COUNT:
      return answer.value<cl_uint>(device.parent != nullptr ? device.references.load() : 1);
    default:
      return CL_INVALID_VALUE;
  }
}

cl_int memory_info(const DeviceConfig& config, cl_device_info name, const Answer& answer) {
  switch (name) {
    case CL_DEVICE_GLOBAL_MEM_SIZE:
      return answer.value<cl_ulong>(config.memory_bytes);
    case CL_DEVICE_MAX_MEM_ALLOC_SIZE:
      return answer.value<cl_ulong>(max_alloc(config));
    case CL_DEVICE_MAX_CONSTANT_BUFFER_SIZE:
      return answer.value<cl_ulong>(std::min<std::uint64_t>(65536, config.memory_bytes));
    case CL_DEVICE_MAX_GLOBAL_VARIABLE_SIZE:
    case CL_DEVICE_GLOBAL_VARIABLE_PREFERRED_TOTAL_SIZE:
      return answer.value<std::size_t>(config.global_variable_bytes);
    case CL_DEVICE_GLOBAL_MEM_CACHE_TYPE:
      return answer.value<cl_device_mem_cache_type>(CL_READ_WRITE_CACHE);
    case CL_DEVICE_GLOBAL_MEM_CACHELINE_SIZE:
      return answer.value<cl_uint>(64);
    case CL_DEVICE_GLOBAL_MEM_CACHE_SIZE:
      return answer.value<cl_ulong>(4 << 20);
    case CL_DEVICE_LOCAL_MEM_TYPE:
      return answer.value<cl_device_local_mem_type>(CL_LOCAL);
    case CL_DEVICE_LOCAL_MEM_SIZE:
      return answer.value<cl_ulong>(65536);
    case CL_DEVICE_MAX_CONSTANT_ARGS:
      return answer.value<cl_uint>(8);
    case CL_DEVICE_MAX_PARAMETER_SIZE:
      return answer.value<std::size_t>(1024);
    case CL_DEVICE_PRINTF_BUFFER_SIZE:
      return answer.value<std::size_t>(1 << 20);
    case CL_DEVICE_HOST_UNIFIED_MEMORY:
      return answer.value<cl_bool>(config.type == CL_DEVICE_TYPE_CPU);
    case CL_DEVICE_MEM_BASE_ADDR_ALIGN:
      return answer.value<cl_uint>(1024);
    case CL_DEVICE_MIN_DATA_TYPE_ALIGN_SIZE:
      return answer.value<cl_uint>(128);
    default:
      return CL_INVALID_VALUE;
  }
}

cl_int text_info(const DeviceConfig& config, cl_device_info name, const Answer& answer) {
  switch (name) {
    case CL_DEVICE_NAME:
      return answer.text(config.name);
    case CL_DEVICE_VENDOR:
      return answer.text(driver()->config.platform_vendor);
    case CL_DRIVER_VERSION:
      return answer.text("1.0");
    case CL_DEVICE_PROFILE:
      return answer.text("FULL_PROFILE");
    case CL_DEVICE_VERSION:
      return answer.text(driver()->config.platform_version);
    case CL_DEVICE_OPENCL_C_VERSION:
      return answer.text("OpenCL C 1.2 fake");
    case CL_DEVICE_EXTENSIONS:
      return answer.text(extension_text(config));
    case CL_DEVICE_BUILT_IN_KERNELS:
    case CL_DEVICE_IL_VERSION:
    case CL_DEVICE_LATEST_CONFORMANCE_VERSION_PASSED:
      return answer.text("");
    case CL_DEVICE_NUMERIC_VERSION:
      return answer.value<cl_version>(CL_MAKE_VERSION(3, 0, 0));
    case CL_DEVICE_EXTENSIONS_WITH_VERSION:
      return answer.list(extension_versions(config));
    case CL_DEVICE_OPENCL_C_ALL_VERSIONS:
      return answer.list(c_versions());
    case CL_DEVICE_OPENCL_C_FEATURES:
    case CL_DEVICE_ILS_WITH_VERSION:
    case CL_DEVICE_BUILT_IN_KERNELS_WITH_VERSION:
      return answer.list(std::vector<cl_name_version>{});
    default:
      return CL_INVALID_VALUE;
  }
}

cl_int capability_info(const _cl_device_id& device, cl_device_info name, const Answer& answer) {
  switch (name) {
    case CL_DEVICE_TYPE:
      return answer.value(device.config->type);
    case CL_DEVICE_VENDOR_ID:
      return answer.value<cl_uint>(0xfa4e);
    case CL_DEVICE_PLATFORM:
      return answer.value<cl_platform_id>(driver()->platform.get());
    case CL_DEVICE_MAX_COMPUTE_UNITS:
      return answer.value(device.compute_units);
    case CL_DEVICE_MAX_WORK_ITEM_DIMENSIONS:
      return answer.value<cl_uint>(3);
    case CL_DEVICE_MAX_WORK_ITEM_SIZES:
      return answer.list(std::vector<std::size_t>{1024, 1024, 1024});
    case CL_DEVICE_MAX_WORK_GROUP_SIZE:
      return answer.value<std::size_t>(1024);
    case CL_DEVICE_PREFERRED_WORK_GROUP_SIZE_MULTIPLE:
      return answer.value<std::size_t>(32);
    case CL_DEVICE_PREFERRED_VECTOR_WIDTH_CHAR:
    case CL_DEVICE_PREFERRED_VECTOR_WIDTH_SHORT:
    case CL_DEVICE_PREFERRED_VECTOR_WIDTH_INT:
    case CL_DEVICE_PREFERRED_VECTOR_WIDTH_LONG:
    case CL_DEVICE_PREFERRED_VECTOR_WIDTH_FLOAT:
    case CL_DEVICE_NATIVE_VECTOR_WIDTH_CHAR:
    case CL_DEVICE_NATIVE_VECTOR_WIDTH_SHORT:
    case CL_DEVICE_NATIVE_VECTOR_WIDTH_INT:
    case CL_DEVICE_NATIVE_VECTOR_WIDTH_LONG:
    case CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT:
      return answer.value<cl_uint>(1);
    case CL_DEVICE_PREFERRED_VECTOR_WIDTH_DOUBLE:
    case CL_DEVICE_PREFERRED_VECTOR_WIDTH_HALF:
    case CL_DEVICE_NATIVE_VECTOR_WIDTH_DOUBLE:
    case CL_DEVICE_NATIVE_VECTOR_WIDTH_HALF:
      return answer.value<cl_uint>(0);  // not supported
    case CL_DEVICE_MAX_CLOCK_FREQUENCY:
      return answer.value<cl_uint>(1000);
    case CL_DEVICE_ADDRESS_BITS:
      return answer.value<cl_uint>(64);
    case CL_DEVICE_SINGLE_FP_CONFIG:
      return answer.value<cl_device_fp_config>(CL_FP_ROUND_TO_NEAREST | CL_FP_INF_NAN);
    case CL_DEVICE_DOUBLE_FP_CONFIG:
    case CL_DEVICE_HALF_FP_CONFIG:
      return answer.value<cl_device_fp_config>(0);
    case CL_DEVICE_EXECUTION_CAPABILITIES:
      return answer.value<cl_device_exec_capabilities>(CL_EXEC_KERNEL);
    case CL_DEVICE_QUEUE_ON_HOST_PROPERTIES:
      return answer.value<cl_command_queue_properties>(CL_QUEUE_PROFILING_ENABLE |
                                                       CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE);
    case CL_DEVICE_QUEUE_ON_DEVICE_PROPERTIES:
      return answer.value<cl_command_queue_properties>(0);
    case CL_DEVICE_ATOMIC_MEMORY_CAPABILITIES:
    case CL_DEVICE_ATOMIC_FENCE_CAPABILITIES:
      return answer.value<cl_device_atomic_capabilities>(CL_DEVICE_ATOMIC_ORDER_RELAXED |
                                                         CL_DEVICE_ATOMIC_SCOPE_WORK_GROUP);
    case CL_DEVICE_PROFILING_TIMER_RESOLUTION:
      return answer.value<std::size_t>(1);
    case CL_DEVICE_AVAILABLE:
    case CL_DEVICE_ENDIAN_LITTLE:
    case CL_DEVICE_PREFERRED_INTEROP_USER_SYNC:
      return answer.value<cl_bool>(CL_TRUE);
    default:
      return CL_INVALID_VALUE;
  }
}

// What this driver lacks: compiler, device queues, sub-groups. All are numbers.
cl_int absent_info(cl_device_info name, const Answer& answer) {
  switch (name) {
    case CL_DEVICE_DEVICE_ENQUEUE_CAPABILITIES:
      return answer.value<cl_device_device_enqueue_capabilities>(0);
    case CL_DEVICE_ERROR_CORRECTION_SUPPORT:
    case CL_DEVICE_COMPILER_AVAILABLE:
    case CL_DEVICE_LINKER_AVAILABLE:
    case CL_DEVICE_SUB_GROUP_INDEPENDENT_FORWARD_PROGRESS:
    case CL_DEVICE_NON_UNIFORM_WORK_GROUP_SUPPORT:
    case CL_DEVICE_WORK_GROUP_COLLECTIVE_FUNCTIONS_SUPPORT:
    case CL_DEVICE_GENERIC_ADDRESS_SPACE_SUPPORT:
    case CL_DEVICE_QUEUE_ON_DEVICE_PREFERRED_SIZE:
    case CL_DEVICE_QUEUE_ON_DEVICE_MAX_SIZE:
    case CL_DEVICE_MAX_ON_DEVICE_QUEUES:
    case CL_DEVICE_MAX_ON_DEVICE_EVENTS:
    case CL_DEVICE_MAX_NUM_SUB_GROUPS:
    case CL_DEVICE_PREFERRED_PLATFORM_ATOMIC_ALIGNMENT:
    case CL_DEVICE_PREFERRED_GLOBAL_ATOMIC_ALIGNMENT:
    case CL_DEVICE_PREFERRED_LOCAL_ATOMIC_ALIGNMENT:
      return answer.value<cl_uint>(0);
    default:
      return CL_INVALID_VALUE;
  }
}

}  // namespace

cl_int clGetDeviceInfo(cl_device_id device, cl_device_info name, size_t capacity, void* out,
                       size_t* needed) {
  static CallSite site(__func__);
  if (const cl_int error = site.enter()) return error;
  if (!valid(device)) return CL_INVALID_DEVICE;
  const Answer answer(capacity, out, needed);
  // Each knows its own queries and answers CL_INVALID_VALUE to the rest.
  cl_int error = memory_info(*device->config, name, answer);
  if (error != CL_SUCCESS) error = text_info(*device->config, name, answer);
  if (error != CL_SUCCESS) error = capability_info(*device, name, answer);
  if (error != CL_SUCCESS) error = partition_info(*device, name, answer);
  if (error != CL_SUCCESS) error = identity_info(*device, name, answer, capacity);
  if (error != CL_SUCCESS) error = feature_info(name, answer);
  if (error != CL_SUCCESS) error = absent_info(name, answer);
  return error;
}

}  // namespace chronos::fake
