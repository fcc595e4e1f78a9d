// The driver's objects. A loader reads the dispatch table from the first word of each, or its own
// data from the second.
//
// Ownership: every object counts its references; what refers to another object holds one (a buffer
// its context and its parent, an event its queue, a queued command what it uses). Platform and root
// devices live for ever.
#pragma once

#include <CL/cl.h>
#include <CL/cl_icd.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "tests/fake_driver/config.hpp"

namespace chronos::fake {

enum class Kind : std::uint32_t {
  kFreed = 0,
  kPlatform = 0x46504c54,
  kDevice,
  kContext,
  kQueue,
  kMem,
  kEvent,
};

template <Kind kKind>
struct Object {
  Object();
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  ~Object() { kind = Kind::kFreed; }

  cl_icd_dispatch* dispatch;
  void* dispatch_data;  // the loader's, if it manages the tables: what the platform has
  Kind kind = kKind;
  std::atomic<cl_uint> references{1};

  static constexpr Kind own_kind = kKind;
};

template <class T>
bool valid(const T* object) {
  return object != nullptr && object->kind == T::own_kind;
}

template <class T>
T* retain(T* object) {
  object->references.fetch_add(1, std::memory_order_relaxed);
  return object;
}
// True for the caller that must destroy the object.
template <class T>
bool drop(T* object) {
  return object->references.fetch_sub(1, std::memory_order_acq_rel) == 1;
}

void release(cl_context context);
void release(cl_mem mem);
void release(cl_event event);
void release(cl_command_queue queue);
void release(cl_device_id device);

struct Command {
  std::function<void()> run;  // may be empty
  std::vector<cl_mem> uses;
  std::vector<cl_event> waits;
  cl_event event = nullptr;
  bool flushed = false;
};

struct EventCallback {
  cl_int status;
  void(CL_CALLBACK* notify)(cl_event, cl_int, void*);
  void* user_data;
};

}  // namespace chronos::fake

struct _cl_platform_id : chronos::fake::Object<chronos::fake::Kind::kPlatform> {};

struct _cl_device_id : chronos::fake::Object<chronos::fake::Kind::kDevice> {
  const chronos::fake::DeviceConfig* config = nullptr;
  std::uint32_t index = 0;        // of the root device: where its memory is counted
  cl_device_id parent = nullptr;  // of a sub-device
  cl_uint compute_units = 0;
  std::vector<cl_device_partition_property> partition;
};

struct _cl_context : chronos::fake::Object<chronos::fake::Kind::kContext> {
  std::vector<cl_device_id> devices;
  std::vector<std::uint32_t> charged;  // each root device once
  std::vector<cl_context_properties> properties;
  std::mutex mutex;  // guards what follows
  std::vector<std::pair<void(CL_CALLBACK*)(cl_context, void*), void*>> callbacks;
  std::set<cl_command_queue> queues;
};

namespace chronos::fake {

struct ImageShape {
  cl_image_format format = {};
  std::size_t element_size = 0;
  std::size_t width = 0;
  std::size_t height = 0;  // this and what follows: 0 where the kind of image has none
  std::size_t depth = 0;
  std::size_t array_size = 0;
  std::size_t row_pitch = 0;
  std::size_t slice_pitch = 0;
};

struct PipeShape {
  cl_uint packet_size = 0;
  cl_uint max_packets = 0;
};

}  // namespace chronos::fake

struct _cl_mem : chronos::fake::Object<chronos::fake::Kind::kMem> {
  cl_context context = nullptr;
  cl_mem_object_type type = CL_MEM_OBJECT_BUFFER;
  cl_mem parent = nullptr;  // whose memory this is a view of
  cl_mem_flags flags = 0;
  std::size_t size = 0;
  std::size_t origin = 0;
  void* host_ptr = nullptr;
  bool over_svm = false;         // its memory is counted as SVM
  std::uint32_t generation = 0;  // of the witness, when it was charged
  chronos::fake::ImageShape image;
  chronos::fake::PipeShape pipe;
  std::atomic<cl_uint> map_count{0};
  std::atomic<char*> storage{nullptr};
  std::vector<cl_mem_properties> properties;
  std::mutex mutex;  // guards `callbacks`
  std::vector<std::pair<void(CL_CALLBACK*)(cl_mem, void*), void*>> callbacks;
};

struct _cl_command_queue : chronos::fake::Object<chronos::fake::Kind::kQueue> {
  cl_context context = nullptr;
  cl_device_id device = nullptr;
  cl_command_queue_properties properties = 0;
  std::vector<cl_queue_properties> given;
  std::mutex mutex;  // guards what follows
  std::deque<chronos::fake::Command> commands;
  bool running = false;
};

struct _cl_event : chronos::fake::Object<chronos::fake::Kind::kEvent> {
  cl_context context = nullptr;
  cl_command_queue queue = nullptr;  // NULL: a user event
  cl_command_type type = 0;
  std::atomic<cl_int> status{CL_QUEUED};
  std::atomic<cl_ulong> times[4] = {};  // queued, submitted, started, ended
  std::mutex mutex;                     // guards `callbacks`
  std::vector<chronos::fake::EventCallback> callbacks;
};
