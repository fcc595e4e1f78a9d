#include "shim/lifetime.hpp"

#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "core/state_dir.hpp"
#include "shim/guard.hpp"
#include "shim/once.hpp"

namespace chronos::shim {

constinit std::atomic<bool> detail::any_counted{false};
constinit std::atomic<bool> detail::callbacks_asked_for{false};

void CL_CALLBACK detail::on_destroyed(cl_mem, void* word) { give_back(Receipt(word)); }

namespace {

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
  void add(cl_mem object, Receipt receipt, cl_mem parent, bool calls_back) {
    Shard& shard = shard_of(object);
    std::lock_guard lock(shard.mutex);
    shard.objects[object] = {1, receipt, parent, calls_back};
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
  Released release(cl_mem object) {
    Counted gone;
    cl_mem last = nullptr;
    while (object != nullptr) {
      Shard& shard = shard_of(object);
      std::lock_guard lock(shard.mutex);
      auto at = shard.objects.find(object);
      if (at == shard.objects.end() || --at->second.references > 0) return {};
      gone = at->second;
      shard.objects.erase(at);
      last = object;
      object = gone.parent;
    }
    return {last, gone.receipt, gone.calls_back};
  }

 private:
  struct Counted {
    unsigned references = 0;
    Receipt receipt;
    cl_mem parent = nullptr;
    bool calls_back = false;
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
constinit std::atomic<Counts*> all_counts{nullptr};
Counts& counts() { return made_once(all_counts); }

// Asked for once: a program may change its environment. Threads that ask at once find the same.
bool counts_asked_for() {
  enum class Asked { kUnknown, kCallbacks, kCounts };
  static constinit std::atomic<Asked> asked{Asked::kUnknown};
  Asked known = asked.load(std::memory_order_acquire);
  if (known == Asked::kUnknown) {
    const char* mode = trusted_env("CHRONOS_LIFETIME");
    const bool counts = mode != nullptr && std::strcmp(mode, "counts") == 0;
    const Asked found = counts ? Asked::kCounts : Asked::kCallbacks;
    if (asked.compare_exchange_strong(known, found)) known = found;
    detail::callbacks_asked_for.store(known == Asked::kCallbacks);
  }
  return known == Asked::kCounts;
}

bool call_back(const Table& real, cl_mem object, Receipt receipt) {
  return real.clSetMemObjectDestructorCallback(object, detail::on_destroyed, receipt.word()) ==
         CL_SUCCESS;
}

// Drivers count the commands that they have queued (PoCL), or do not show it.
bool in_use(const Table& real, cl_mem object) {
  cl_uint references = 0;
  return real.clGetMemObjectInfo(object, CL_MEM_REFERENCE_COUNT, sizeof references, &references,
                                 nullptr) == CL_SUCCESS &&
         references > 1;
}

}  // namespace

bool detail::follow_slowly(const Table& real, cl_mem object, Receipt receipt, bool counted) {
  const bool calls_back = !counted && real.clSetMemObjectDestructorCallback != nullptr;
  if (calls_back && !counts_asked_for()) return call_back(real, object, receipt);
  counts().add(object, receipt, nullptr, calls_back);
  return true;
}

bool follow_commands(const Table& real, cl_mem object, const Released& released) {
  if (!released.receipt.is_charged() || !released.calls_back) return false;
  // What queued commands use of the parents that it kept is not seen here.
  if (released.last != object) return call_back(real, released.last, released.receipt);
  return in_use(real, object) && call_back(real, object, released.receipt);
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
  if (counting() && counts().retain(parent)) counts().add(object, Receipt(), parent, false);
}

void note_retain(cl_mem object) { counts().retain(object); }
Released note_release(cl_mem object) { return counts().release(object); }

void forget_counts_in_child() {
  if (counting()) all_counts.store(new Counts);
}

}  // namespace chronos::shim
