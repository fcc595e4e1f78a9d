// What programs hold on devices: their variables in global memory, known once they are built
// (CL_PROGRAM_BUILD_GLOBAL_VARIABLE_TOTAL_SIZE, OpenCL 2.0). OpenCL has no callback that tells when
// a program is gone (clSetProgramReleaseCallback is for destructors of such variables, and drivers
// refuse it), so references are counted here: the program's own, and those of its kernels, which
// keep it. The bytes come back with the last of them. Any thread.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "shim/gate.hpp"
#include "shim/opencl.hpp"

namespace chronos::shim {

using Receipts = std::vector<Receipt>;
inline void give_back(const Receipts& receipts) {
  for (const Receipt& receipt : receipts) give_back(receipt);
}

// A program was made: its first reference.
void note_program(cl_program program);

// Whether `program` is counted; counts it from now on if its context is charged and its making was
// not seen.
bool adopt_program(const Table& real, cl_program program);

// Before a build whose end is told to a callback.
void note_build(cl_program program);

// Charges each device's partition for what the driver now says that the program holds there, or
// gives all of it back and refuses the program. Waits for the end of a build that is under way: to
// be called again then. False: refused.
bool settle_program(const Table& real, cl_program program);

// Whether kernels can be made and the build counts as failed, because its bytes were refused.
// Settles a build whose callback has yet to come.
bool is_program_refused(const Table& real, cl_program program);

// Around the driver's own calls; what is released before them is to be given back after them.
void note_program_retain(cl_program program);
[[nodiscard]] Receipts note_program_release(cl_program program);
void note_kernel(cl_kernel kernel, cl_program program);
void note_clone(cl_kernel kernel, cl_kernel source);
void note_kernel_retain(cl_kernel kernel);
[[nodiscard]] Receipts note_kernel_release(cl_kernel kernel);

namespace detail {
extern std::atomic<bool> any_program;
}
// Whether any program is counted, so that the calls above matter.
inline bool counting_programs() { return detail::any_program.load(std::memory_order_acquire); }

using BuildCallback = void(CL_CALLBACK*)(cl_program, void*);

// The program's own callback for a build, with what has to happen before it. A driver may call it
// at any time, also before the call that it was given to returns.
class BuildNotice {
 public:
  BuildNotice(const Table& real, BuildCallback notify, void* user_data)
      : real_(real), notify_(notify), user_data_(user_data) {}

  // To be given to the driver with on_built. Not freed if the driver never calls it: one that
  // fails may still call it later.
  static void* word(const std::shared_ptr<BuildNotice>& notice);
  static void CL_CALLBACK on_built(cl_program program, void* word);

  // For a program that the very call makes: counts it, once.
  void note_new(cl_program program);
  void expect_new() { is_new_.store(true); }

 private:
  const Table& real_;
  BuildCallback notify_;
  void* user_data_;
  std::atomic<bool> is_new_{false};
};

// In a forked child: what is inherited is the parent's.
void forget_programs_in_child();

}  // namespace chronos::shim
