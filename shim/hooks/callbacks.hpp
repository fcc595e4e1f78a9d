// Callbacks of the program's own that a driver may run inside a call that is being handled (the
// last release of a memory object takes its context along): what they allocate is the program's.
#pragma once

#include <memory>

#include "shim/guard.hpp"
#include "shim/opencl.hpp"

namespace chronos::shim {

template <class Object>
struct LiftedCallback {
  using Notify = void(CL_CALLBACK*)(Object, void*);

  // `set` is called as set(notify, user_data) and registers with the driver.
  template <class Set>
  static cl_int wrap(Notify notify, void* user_data, Set set) {
    if (notify == nullptr || Guard::inside()) return set(notify, user_data);
    auto own = std::make_unique<LiftedCallback>(LiftedCallback{notify, user_data});
    Guard guard;  // not a second time at an inner door
    const cl_int status = set(run, own.get());
    if (status == CL_SUCCESS) static_cast<void>(own.release());
    return status;
  }

  Notify notify;
  void* user_data;

 private:
  static void CL_CALLBACK run(Object object, void* data) {
    std::unique_ptr<LiftedCallback> own(static_cast<LiftedCallback*>(data));
    Guard::Lifted lifted;
    own->notify(object, own->user_data);
  }
};

template <class Door>
struct CallbackHooks {
  static cl_int CL_API_CALL clSetProgramReleaseCallback(
      cl_program program, void(CL_CALLBACK* notify)(cl_program, void*), void* user_data) {
    return LiftedCallback<cl_program>::wrap(notify, user_data, [&](auto run, void* data) {
      return Door::real(program).clSetProgramReleaseCallback(program, run, data);
    });
  }

  static cl_int CL_API_CALL clSetContextDestructorCallback(
      cl_context context, void(CL_CALLBACK* notify)(cl_context, void*), void* user_data) {
    return LiftedCallback<cl_context>::wrap(notify, user_data, [&](auto run, void* data) {
      return Door::real(context).clSetContextDestructorCallback(context, run, data);
    });
  }
};

}  // namespace chronos::shim
