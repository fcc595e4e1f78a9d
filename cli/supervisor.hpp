// Runs one program, passes signals and the terminal through, and ends its whole process tree when
// its partition's time is up and the policy says so.
//
// The caller becomes a subreaper. One thread, one Supervisor at a time; while it runs, signals are
// blocked and read from a descriptor, and they stay blocked after it, so that the caller can tidy
// up. State changes of partitions are noticed through inotify where
// they touch a file, and at the latest with a look each second.
#pragma once

#include <signal.h>
#include <sys/signalfd.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cli/expiry.hpp"
#include "cli/process_tree.hpp"
#include "cli/signals.hpp"
#include "core/posix.hpp"
#include "core/result.hpp"

namespace chronos::cli {

struct ChildCommand {
  std::vector<std::string> arguments;    // [0] is looked for in PATH
  std::vector<std::string> environment;  // NAME=value
  bool die_with_parent = false;          // killed if the supervisor is gone
};

class Supervisor {
 public:
  // `watch_directory` holds the files of the partitions, whose names contain one of `tokens`.
  Supervisor(Expiry expiry, const ExpiryPolicy& policy, const InheritedSignals& signals,
             const std::string& watch_directory, std::vector<std::string> tokens);
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  // Called now and then while the program runs, and once when it has ended and what it has left
  // behind may still run.
  void set_observer(std::function<void()> observer) { observer_ = std::move(observer); }

  // This signal is not passed on: it ends the program and its whole tree, as the end of the time
  // does with OnExpiry::kTerminate.
  void set_end_signal(int number) { end_signal_ = number; }
  // Not part of the program's tree, though it descends from it.
  void set_spared(Spared spared) { spared_ = std::move(spared); }
  bool was_told_to_end() const { return told_to_end_; }
  // The program's own exit status once it has ended, whatever run() said; none: it was killed.
  std::optional<int> program_status() const;
  // Why the program could not be started, where run() said 126 or 127 for that; else empty.
  const std::string& start_error() const { return start_error_; }

  // The exit status for the whole command: the program's own (128 + n for signal n), 124 if it was
  // ended because the time was up, 126 or 127 if it could not be started (has been reported).
  // Errors: kSystem, nothing has been started.
  Result<int> run(const ChildCommand& command);

 private:
  Result<void> prepare();
  Result<void> spawn(const ChildCommand& command);
  int await_exec(int report_fd);
  [[noreturn]] void become(const ChildCommand& command, int report_fd) const;

  void arm_timer();
  void read_signals();
  std::vector<int> take_pending_signals();
  void forward(const signalfd_siginfo& signal);
  void pass(int number);
  bool read_watch();
  void reap();
  void stop_with_child();
  enum class Stop { kNotStopped, kContinued, kTimeIsUp };
  Stop stop_self(std::optional<std::uint64_t> wake_ns);
  void advance(bool look_at_all);
  void begin_ending(OnExpiry how);
  int finish_ending();

  Expiry expiry_;
  std::function<void()> observer_;
  ExpiryPolicy policy_;
  InheritedSignals signals_;
  std::string watch_directory_;
  std::vector<std::string> tokens_;

  UniqueFd signal_fd_, timer_fd_, watch_fd_;
  sigset_t blocked_{};
  pid_t child_ = 0, parent_ = 0;
  std::optional<int> child_status_;  // as waitpid() gives it, once the program has ended
  bool child_stopped_ = false;
  bool any_child_left_ = true;
  int end_signal_ = 0;  // none
  Spared spared_;
  bool told_to_end_ = false;
  std::string start_error_;
  std::optional<std::uint64_t> kill_at_ns_;  // set once the program is being ended
};

}  // namespace chronos::cli
