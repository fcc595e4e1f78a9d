// Signals while a command waits. One thread, one at a time.
#pragma once

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "core/posix.hpp"

namespace chronos::cli {

// Signals that end a program, taken as a descriptor: who waits leaves the line properly. What the
// caller ignores stays ignored.
class EndingSignals {
 public:
  EndingSignals() {
    sigemptyset(&set_);
    for (int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) {
      struct sigaction action {};
      if (::sigaction(number, nullptr, &action) == 0 && action.sa_handler != SIG_IGN) {
        sigaddset(&set_, number);
      }
    }
    ::sigprocmask(SIG_BLOCK, &set_, &before_);
    fd_.reset(::signalfd(-1, &set_, SFD_CLOEXEC | SFD_NONBLOCK));
  }
  ~EndingSignals() { ::sigprocmask(SIG_SETMASK, &before_, nullptr); }
  EndingSignals(const EndingSignals&) = delete;
  EndingSignals& operator=(const EndingSignals&) = delete;

  int fd() const { return fd_.get(); }

  // What came is let through: it ends this process as it would have without us.
  void deliver() {
    signalfd_siginfo came{};
    if (::read(fd_.get(), &came, sizeof came) != sizeof came) return;
    ::raise(static_cast<int>(came.ssi_signo));
    ::sigprocmask(SIG_SETMASK, &before_, nullptr);
  }

 private:
  sigset_t set_{}, before_{};
  UniqueFd fd_;
};

}  // namespace chronos::cli
