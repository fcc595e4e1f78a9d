// When the memory of an object is free again. By default the driver says so, with a destructor
// callback that is registered first and so runs last (OpenCL 3.0 section 5.5.1): after queued
// commands have finished and sub-buffers are gone. Where a driver has no such callback (OpenCL
// 1.0), or with CHRONOS_LIFETIME=counts, references are counted here, which frees the bytes when
// the last reference is dropped; only if the driver shows then that queued commands hold the object
// is it asked, where it can be, to say when they are done.
#pragma once

#include <atomic>

#include "shim/gate.hpp"
#include "shim/opencl.hpp"

namespace chronos::shim {

namespace detail {
extern std::atomic<bool> any_counted;
extern std::atomic<bool> callbacks_asked_for;  // false until CHRONOS_LIFETIME was read
void CL_CALLBACK on_destroyed(cl_mem object, void* receipt);
bool follow_slowly(const Table& real, cl_mem object, Receipt receipt, bool counted);
}  // namespace detail

// Gives `receipt` back when `object` is gone; `counted` as Assignment has it: a loader's table has
// an entry for callbacks though the driver's may be too short for it. False if it cannot be
// arranged. Any thread.
inline bool follow(const Table& real, cl_mem object, Receipt receipt, bool counted) {
  const auto call_back = real.clSetMemObjectDestructorCallback;
  if (!counted && call_back != nullptr &&
      detail::callbacks_asked_for.load(std::memory_order_relaxed)) {
    return call_back(object, detail::on_destroyed, receipt.word()) == CL_SUCCESS;
  }
  return detail::follow_slowly(real, object, receipt, counted);
}

using DestructorCallback = void(CL_CALLBACK*)(cl_mem, void*);

// Registers a callback of the program's own. It may run inside a call that is being handled (a
// driver frees what it had put off), and what it allocates then is the program's all the same.
cl_int set_program_callback(const Table& real, cl_mem object, DestructorCallback notify,
                            void* user_data);

// `object` keeps the memory of `parent` (a sub-buffer, an image made from a buffer). Any thread.
void follow_child(cl_mem object, cl_mem parent);

// To be called around the driver's own calls, for objects whose references are counted.
void note_retain(cl_mem object);
struct Released {
  cl_mem last = nullptr;    // the object that is charged, if this was its last reference
  Receipt receipt;          // what for; empty if it lives on
  bool calls_back = false;  // its driver has destructor callbacks
};
// Before the driver's, because the address may be reused after it.
[[nodiscard]] Released note_release(cl_mem object);
// Between the two: whether the driver gives the receipt back later. If not it is to be given back
// after the driver's release of `object`, because only then the memory is free.
[[nodiscard]] bool follow_commands(const Table& real, cl_mem object, const Released& released);

// Whether any object's references are counted, so that the calls above matter.
inline bool counting() { return detail::any_counted.load(std::memory_order_acquire); }

// In a forked child: inherited objects are the parent's to give back, and a thread that does not
// exist here may have held a lock.
void forget_counts_in_child();

}  // namespace chronos::shim
