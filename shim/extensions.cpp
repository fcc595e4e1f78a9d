#include "shim/extensions.hpp"

#include <array>
#include <atomic>

#include "shim/guard.hpp"

namespace chronos::shim {
namespace {

constexpr std::size_t kExtensions = static_cast<std::size_t>(Extension::kCount);
constexpr std::size_t kAnswers = 64;

constexpr char kNames[kExtensions][48] = {
#define CHRONOS_EXTENSION(name, ...) #name,
#define CHRONOS_ASKED(name, ...) #name,
#include "shim/extensions.def"
};

// What a driver, known by its dispatch table, answered at a door; for driver null what that door
// was handed by name. `door` is set last.
struct Answer {
  std::atomic<void*> function{nullptr};
  std::atomic<const void*> driver{nullptr};
  std::atomic<DoorId> door{nullptr};
};
std::array<std::array<Answer, kAnswers>, kExtensions> answers;

void* known_answer(DoorId door, const void* driver, std::size_t extension) {
  for (const Answer& answer : answers[extension]) {
    if (answer.function.load() == nullptr) break;
    if (answer.door.load(std::memory_order_acquire) == door && answer.driver.load() == driver) {
      return answer.function.load();
    }
  }
  return nullptr;
}

// Kept for a driver that has no such function, so that it is not asked each time.
constexpr char kNone = 0;
void* none() { return const_cast<char*>(&kNone); }

void keep_answer(DoorId door, const void* driver, std::size_t extension, void* function) {
  for (Answer& answer : answers[extension]) {
    void* none = nullptr;
    // Two threads that ask at once keep the answer twice: no harm.
    if (!answer.function.compare_exchange_strong(none, function)) continue;
    answer.driver.store(driver);
    answer.door.store(door, std::memory_order_release);
    return;
  }
}

cl_platform_id platform_of(const Table& real, cl_context context) {
  Guard guard;
  std::array<cl_device_id, 256> devices{};
  cl_platform_id platform = nullptr;
  if (real.clGetContextInfo(context, CL_CONTEXT_DEVICES, sizeof devices, devices.data(), nullptr) !=
      CL_SUCCESS) {
    return nullptr;
  }
  real.clGetDeviceInfo(devices[0], CL_DEVICE_PLATFORM, sizeof platform, &platform, nullptr);
  return platform;
}

void* ask(const Table& real, cl_context context, std::size_t extension) {
  if (real.clGetExtensionFunctionAddressForPlatform == nullptr) return nullptr;
  cl_platform_id platform = platform_of(real, context);
  if (platform == nullptr) return nullptr;
  return real.clGetExtensionFunctionAddressForPlatform(platform, kNames[extension]);
}

}  // namespace

void remember_extension(DoorId door, Extension extension, void* function) {
  const auto index = static_cast<std::size_t>(extension);
  if (known_answer(door, nullptr, index) == nullptr) keep_answer(door, nullptr, index, function);
}

void* real_extension(DoorId door, const Table& real, cl_context context, Extension extension) {
  const auto index = static_cast<std::size_t>(extension);
  const void* driver =
      context != nullptr ? *reinterpret_cast<const void* const*>(context) : nullptr;
  void* known = known_answer(door, driver, index);
  if (known == nullptr && context != nullptr) {
    known = ask(real, context, index);
    keep_answer(door, driver, index, known != nullptr ? known : none());
  }
  return known != nullptr && known != none() ? known : known_answer(door, nullptr, index);
}

cl_context context_of(const Table& real, cl_command_queue queue) {
  cl_context context = nullptr;
  if (queue != nullptr && real.clGetCommandQueueInfo != nullptr) {
    real.clGetCommandQueueInfo(queue, CL_QUEUE_CONTEXT, sizeof context, &context, nullptr);
  }
  return context;
}

}  // namespace chronos::shim
