// Of the doors that fire for one call, the outermost acts and the inner ones pass it through.
// A driver that calls OpenCL itself inside an allocation is not charged a second time either.
#pragma once

namespace chronos::shim {

class Guard {
 public:
  Guard() { ++depth_; }
  ~Guard() { --depth_; }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

  // Whether this thread is inside a call that is already being handled.
  static bool inside() { return depth_ > 0; }

  // Within its life the thread is in the program's code again: a callback of the program runs.
  class Lifted {
   public:
    Lifted() : depth_before_(depth_) { depth_ = 0; }
    ~Lifted() { depth_ = depth_before_; }
    Lifted(const Lifted&) = delete;
    Lifted& operator=(const Lifted&) = delete;

   private:
    int depth_before_;
  };

 private:
  static thread_local int depth_;
};

inline thread_local int Guard::depth_ = 0;

}  // namespace chronos::shim
