// The signal state that `chronos` was started with, so that a wrapped program gets exactly that.
//
// Used by main() once, before anything else. Not for threads: `chronos` has one.
#pragma once

#include <signal.h>

namespace chronos::cli {

class InheritedSignals {
 public:
  // Remembers, then makes this process fit for our own work: a closed pipe is an error of write(),
  // and children can be waited for even where the parent ignored SIGCHLD.
  static InheritedSignals take_over();

  // In a forked child, right before exec: everything as it was at our own start.
  void restore() const;

  const sigset_t& mask() const { return mask_; }

 private:
  sigset_t mask_{};
  struct sigaction child_ {
  }, pipe_{};
};

}  // namespace chronos::cli
