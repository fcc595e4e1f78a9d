#include "shim/extensions.hpp"

#include <array>
#include <atomic>

#include "shim/guard.hpp"

namespace chronos::shim {
namespace {

constexpr std::size_t kExtensions = static_cast<std::size_t>(Extension::kCount);
constexpr std::size_t kDrivers = 16;

constexpr std::array<const char*, kExtensions> kNames = {
#define CHRONOS_EXTENSION(name) #name,
#include "shim/extensions.def"
};

// What a driver, known by its dispatch table, answered. `driver` is set last.
struct Answer {
  std::atomic<void*> function{nullptr};
  std::atomic<const void*> driver{nullptr};
};
std::array<std::array<Answer, kDrivers>, kExtensions> answers;
std::array<std::atomic<void*>, kExtensions> remembered;

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
  void* function = nullptr;
  if (real.clGetExtensionFunctionAddressForPlatform != nullptr) {
    if (cl_platform_id platform = platform_of(real, context)) {
      function = real.clGetExtensionFunctionAddressForPlatform(platform, kNames[extension]);
    }
  }
  return function != nullptr ? function : remembered[extension].load();
}

}  // namespace

void remember_extension(Extension extension, void* function) {
  void* none = nullptr;
  remembered[static_cast<std::size_t>(extension)].compare_exchange_strong(none, function);
}

void* real_extension(const Table& real, cl_context context, Extension extension) {
  const auto index = static_cast<std::size_t>(extension);
  if (context == nullptr) return remembered[index].load();
  const void* driver = *reinterpret_cast<const void* const*>(context);
  for (const Answer& answer : answers[index]) {
    if (answer.driver.load(std::memory_order_acquire) == driver) return answer.function.load();
  }
  void* function = ask(real, context, index);
  if (function == nullptr) return nullptr;
  for (Answer& answer : answers[index]) {
    void* none = nullptr;
    // Two threads that ask at once keep the answer twice: no harm.
    if (answer.function.compare_exchange_strong(none, function)) {
      answer.driver.store(driver, std::memory_order_release);
      break;
    }
  }
  return function;
}

cl_context context_of(const Table& real, cl_command_queue queue) {
  cl_context context = nullptr;
  if (queue != nullptr) {
    real.clGetCommandQueueInfo(queue, CL_QUEUE_CONTEXT, sizeof context, &context, nullptr);
  }
  return context;
}

}  // namespace chronos::shim
