#include "cli/signals.hpp"

namespace chronos::cli {

InheritedSignals InheritedSignals::take_over() {
  InheritedSignals inherited;
  ::sigprocmask(SIG_SETMASK, nullptr, &inherited.mask_);
  struct sigaction ours {};
  ours.sa_handler = SIG_DFL;
  ::sigaction(SIGCHLD, &ours, &inherited.child_);
  ours.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &ours, &inherited.pipe_);
  return inherited;
}

void InheritedSignals::restore() const {
  ::sigaction(SIGCHLD, &child_, nullptr);
  ::sigaction(SIGPIPE, &pipe_, nullptr);
  ::sigprocmask(SIG_SETMASK, &mask_, nullptr);
}

}  // namespace chronos::cli
