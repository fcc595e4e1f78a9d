// One per entry point: carries out the crash, hang, delay and faults that the configuration asks of
// this call. Entries keep one as a function-local static; any thread may pass through it.
#pragma once

#include <CL/cl.h>

#include <atomic>
#include <cstdint>
#include <vector>

namespace chronos::fake {

class CallSite {
 public:
  explicit CallSite(const char* name);
  CallSite(const CallSite&) = delete;
  CallSite& operator=(const CallSite&) = delete;

  // CL_SUCCESS to go on, else the error that this call must return.
  cl_int enter() { return plain_ ? CL_SUCCESS : enter_configured(); }

 private:
  struct Rule {
    std::uint64_t after;
    std::uint64_t times;
    cl_int error;
  };

  cl_int enter_configured();

  bool plain_ = true;
  bool crash_ = false;
  bool hang_ = false;
  std::uint64_t microseconds_ = 0;
  std::vector<Rule> rules_;
  std::atomic<std::uint64_t> calls_{0};
};

// The end of every entry that creates an object: errcode_ret may be NULL (OpenCL 3.0, 5.2.1).
template <class Handle>
Handle give(Handle object, cl_int* errcode_ret, cl_int error) {
  if (errcode_ret != nullptr) *errcode_ret = error;
  return object;
}
template <class Handle>
Handle refuse(cl_int* errcode_ret, cl_int error) {
  return give<Handle>(nullptr, errcode_ret, error);
}

}  // namespace chronos::fake
