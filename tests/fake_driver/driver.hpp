// What one process has of the driver: built at the first call, never destroyed (destructors of
// other libraries may still call OpenCL at exit).
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "tests/fake_driver/config.hpp"
#include "tests/fake_driver/objects.hpp"
#include "tests/fake_driver/witness.hpp"

namespace chronos::fake {

struct Driver {
  explicit Driver(const Config& configuration) : config(configuration), witness(configuration) {}

  const Config& config;
  Witness witness;
  cl_icd_dispatch* table = nullptr;
  std::atomic<void*> dispatch_data{nullptr};  // cl_khr_icd 2.0
  std::unique_ptr<_cl_platform_id> platform;
  std::vector<std::unique_ptr<_cl_device_id>> devices;
};

// NULL if the configuration is unusable.
const Config* driver_config();
// NULL if the configuration or the witness is unusable. Objects exist only where it is not NULL.
Driver* driver();

// The dispatch table as `config` wants it; NULL after a line on stderr.
cl_icd_dispatch* make_dispatch_table(const Config& config);

template <Kind kKind>
Object<kKind>::Object()
    : dispatch(driver()->table), dispatch_data(driver()->dispatch_data.load()) {}

}  // namespace chronos::fake
