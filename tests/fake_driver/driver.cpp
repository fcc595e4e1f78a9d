#include "tests/fake_driver/driver.hpp"

#include <pthread.h>

#include <optional>

#include "tests/fake_driver/pointers.hpp"

namespace chronos::fake {
namespace {

Driver* building = nullptr;  // what the objects made during construction refer to

Driver* build() {
  const Config* config = driver_config();
  if (config == nullptr) return nullptr;
  auto made = std::make_unique<Driver>(*config);
#ifdef CHRONOS_FAKE_DIRECT
  // No loader reads an object of this one, and nobody else may.
  made->table = reinterpret_cast<cl_icd_dispatch*>(sizeof(void*));
#else
  made->table = make_dispatch_table(*config);
#endif
  if (made->table == nullptr || !made->witness.attach()) return nullptr;
  building = made.get();
  made->platform = std::make_unique<_cl_platform_id>();
  for (const DeviceConfig& device : config->devices) {
    auto object = std::make_unique<_cl_device_id>();
    object->config = &device;
    object->index = static_cast<std::uint32_t>(made->devices.size());
    object->compute_units = 16;
    made->devices.push_back(std::move(object));
  }
  pthread_atfork(lock_pointers, unlock_pointers, [] {
    unlock_pointers();
    building->witness.forget_in_child();
  });
  return made.release();
}

thread_local bool inside_build = false;

}  // namespace

const Config* driver_config() {
  static const auto* config = new std::optional<Config>(load_config());
  return config->has_value() ? &**config : nullptr;
}

Driver* driver() {
  if (inside_build) return building;
  static Driver* const instance = [] {
    inside_build = true;
    Driver* made = build();
    inside_build = false;
    return made;
  }();
  return instance;
}

}  // namespace chronos::fake
