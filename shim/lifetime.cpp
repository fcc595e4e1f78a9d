#include "shim/lifetime.hpp"

#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "core/state_dir.hpp"
#include "shim/guard.hpp"

namespace chronos::shim {

constinit std::atomic<bool> detail::any_counted{false};

namespace {

void CL_CALLBACK on_destroyed(cl_mem, void* word) { give_back(Receipt(word)); }

struct ProgramCallback {
  DestructorCallback notify;
  void* user_data;
};

void CL_CALLBACK run_program_callback(cl_mem object, void* data) {
  std::unique_ptr<ProgramCallback> own(static_cast<ProgramCallback*>(data));
  Guard::Lifted lifted;
  own->notify(object, own->user_data);
}

// Objects by address, in shards so that threads rarely meet.
class Counts {
 public:
  void add(cl_mem object, Receipt receipt, cl_mem parent) {
    Shard& shard = shard_of(object);
    std::lock_guard lock(shard.mutex);
    shard.objects[object] = {1, receipt, parent};
    detail::any_counted.store(true, std::memory_order_release);
  }

  // False if the object is not known here.
  bool retain(cl_mem object) {
    Shard& shard = shard_of(object);
    std::lock_guard lock(shard.mutex);
    auto at = shard.objects.find(object);
    if (at == shard.objects.end()) return false;
    ++at->second.references;
    return true;
  }

  // Of an object and the parents that it kept, only the last one is charged.
  Receipt release(cl_mem object) {
    Counted gone;
    while (object != nullptr) {
      Shard& shard = shard_of(object);
      std::lock_guard lock(shard.mutex);
      auto at = shard.objects.find(object);
      if (at == shard.objects.end() || --at->second.references > 0) return {};
      gone = at->second;
      shard.objects.erase(at);
      object = gone.parent;
    }
    return gone.receipt;
  }

 private:
  struct Counted {
    unsigned references = 0;
    Receipt receipt;
    cl_mem parent = nullptr;
  };
  struct alignas(64) Shard {
    std::mutex mutex;
    std::unordered_map<cl_mem, Counted> objects;
  };
  Shard& shard_of(cl_mem object) {
    return shards_[(reinterpret_cast<std::uintptr_t>(object) >> 6) % std::size(shards_)];
  }
  Shard shards_[16];
};

// Never destroyed, like everything of the shim.
std::atomic<Counts*>& all_counts() {
  static constinit std::atomic<Counts*> all{nullptr};
  static const bool made = (all.store(new Counts), true);
  static_cast<void>(made);
  return all;
}
Counts& counts() { return *all_counts().load(std::memory_order_acquire); }

bool counts_asked_for() {
  static const bool asked = [] {
    const char* mode = trusted_env("CHRONOS_LIFETIME");
    return mode != nullptr && std::strcmp(mode, "counts") == 0;
  }();
  return asked;
}

}  // namespace

bool follow(const Table& real, cl_mem object, Receipt receipt, bool counted) {
  if (!counted && real.clSetMemObjectDestructorCallback != nullptr && !counts_asked_for()) {
    return real.clSetMemObjectDestructorCallback(object, on_destroyed, receipt.word()) ==
           CL_SUCCESS;
  }
  counts().add(object, receipt, nullptr);
  return true;
}

cl_int set_program_callback(const Table& real, cl_mem object, DestructorCallback notify,
                            void* user_data) {
  if (notify == nullptr) return real.clSetMemObjectDestructorCallback(object, notify, user_data);
  auto own = std::make_unique<ProgramCallback>(ProgramCallback{notify, user_data});
  Guard guard;  // not a second time at an inner door
  cl_int status = real.clSetMemObjectDestructorCallback(object, run_program_callback, own.get());
  if (status == CL_SUCCESS) static_cast<void>(own.release());
  return status;
}

void follow_child(cl_mem object, cl_mem parent) {
  if (counting() && counts().retain(parent)) counts().add(object, Receipt(), parent);
}

void note_retain(cl_mem object) { counts().retain(object); }
Receipt note_release(cl_mem object) { return counts().release(object); }

void forget_counts_in_child() {
  if (counting()) all_counts().store(new Counts);
}

}  // namespace chronos::shim
