// An ICD loader in a few lines, which can do what a real one cannot: change from call to call
// between no layer, one layer and another, and between a driver's own table and the patched one.
// So the same objects of the same driver in the same process are timed each way in turn.
//
// Threads: while calls are made, open_doors() is not called.
#pragma once

#include <string>

#include "core/device.hpp"
#include "shim/opencl.hpp"

namespace chronos::bench {

using shim::Table;

enum class Layer { kNone, kEmpty, kCallback, kShim };

class MiniLoader {
 public:
  // Ends the program with a message when something is missing.
  MiniLoader(const std::string& driver, const std::string& shim, const std::string& empty_layer,
             const std::string& callback_layer);

  // From here on calls go through these.
  void open_doors(Layer layer, bool driver_door);

  // As the shim identifies it.
  const Device& device() const { return device_; }

  // The driver's own, made before any door was opened.
  cl_platform_id platform() const { return platform_; }
  cl_context context() const { return context_; }
  cl_command_queue queue() const { return queue_; }
  // What stood in the driver's table before it was patched.
  const Table& bare() const { return bare_; }

  // Where a call for this object goes first, as ocl-icd and the Khronos loader have it.
  const Table& entries(const void* object) const {
    return first_layer_ != nullptr ? *first_layer_ : table_of(object);
  }

  static Table& table_of(const void* object) { return **static_cast<Table* const*>(object); }

 private:
  const Table* first_layer_ = nullptr;
  const Table* empty_layer_ = nullptr;
  const Table* callback_layer_ = nullptr;
  const Table* shim_layer_ = nullptr;
  Table* driver_ = nullptr;  // the driver's own, in place
  Table bare_{};             // what stood in it
  Table patched_{};          // what the driver door makes of it
  Device device_;
  cl_platform_id platform_ = nullptr;
  cl_context context_ = nullptr;
  cl_command_queue queue_ = nullptr;
};

}  // namespace chronos::bench
