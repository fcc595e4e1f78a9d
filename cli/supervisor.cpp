#include "cli/supervisor.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>

#include "cli/output.hpp"
#include "cli/process_tree.hpp"
#include "core/text.hpp"
#include "core/units.hpp"

namespace chronos::cli {
namespace {

constexpr std::uint64_t kLookEvery = kNanosPerSecond;
// How long the kernel may take over processes that have been killed before we stop waiting.
constexpr std::uint64_t kKillPatience = 30 * kNanosPerSecond;

std::uint64_t boottime_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * kNanosPerSecond +
         static_cast<std::uint64_t>(now.tv_nsec);
}

timespec to_timespec(std::uint64_t nanos) {
  return {static_cast<time_t>(nanos / kNanosPerSecond), static_cast<long>(nanos % kNanosPerSecond)};
}

tl::unexpected<Error> system_error(const char* what) {
  return fail(ErrorCode::kSystem, fmt::format("{}: {}", what, errno_text(errno)));
}

std::vector<char*> pointers_to(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  // execve() takes char*, and leaves what they point to alone.
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// Only with a terminal is there somebody who continues a job that has stopped itself.
bool has_terminal() {
  return static_cast<bool>(UniqueFd(::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)));
}

// execvpe() says EACCES also where it only met a folder in PATH that it may not look into.
bool is_in_path(const std::string& program) {
  if (program.find('/') != std::string::npos) return true;
  const char* path = std::getenv("PATH");
  std::string_view rest = path == nullptr ? "" : path;
  while (!rest.empty()) {
    std::size_t end = std::min(rest.find(':'), rest.size());
    std::string file = fmt::format("{}/{}", end == 0 ? "." : rest.substr(0, end), program);
    if (::access(file.c_str(), F_OK) == 0) return true;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return false;
}

// Left out where it would have to wait: a stopped terminal or a pipe that nobody reads must not
// hold up the end of a partition.
void say(const std::string& line) {
  pollfd ready{STDERR_FILENO, POLLOUT, 0};
  if (::poll(&ready, 1, 0) == 1) print_warning_line(line);
}

// A child that continues its parent at `wake_ns`: while we are stopped nobody else can see that the
// time is up.
pid_t fork_waker(std::uint64_t wake_ns) {
  pid_t parent = ::getpid();
  pid_t waker = ::fork();
  if (waker != 0) return waker;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::setpgid(0, 0);  // not stopped along with the job
  timespec when = to_timespec(wake_ns);
  while (::clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &when, nullptr) == EINTR) {
  }
  if (::getppid() == parent) ::kill(parent, SIGCONT);
  ::_exit(0);
}

}  // namespace

Supervisor::Supervisor(Expiry expiry, const ExpiryPolicy& policy, const InheritedSignals& signals,
                       const std::string& watch_directory, std::vector<std::string> tokens)
    : expiry_(std::move(expiry)),
      policy_(policy),
      signals_(signals),
      watch_directory_(watch_directory),
      tokens_(std::move(tokens)) {}

Result<void> Supervisor::prepare() {
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) return system_error("prctl");
  sigfillset(&blocked_);
  for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS}) {
    sigdelset(&blocked_, fault);
  }
  ::sigprocmask(SIG_SETMASK, &blocked_, nullptr);
  sigset_t wanted = blocked_;
  sigdelset(&wanted, SIGPIPE);
  signal_fd_.reset(::signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signal_fd_) return system_error("signalfd");
  timer_fd_.reset(::timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!timer_fd_) return system_error("timerfd_create");
  // A machine may have no watch left to give; the look each second is then all there is.
  watch_fd_.reset(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (watch_fd_ && ::inotify_add_watch(
                       watch_fd_.get(), watch_directory_.c_str(),
                       IN_MODIFY | IN_CLOSE_WRITE | IN_DELETE | IN_MOVED_FROM | IN_ONLYDIR) < 0) {
    watch_fd_.reset();
  }
  return {};
}

// In the child. Reports a failed exec through `report_fd`, which a successful one closes.
void Supervisor::become(const ChildCommand& command, int report_fd) const {
  std::vector<char*> arguments = pointers_to(command.arguments);
  std::vector<char*> environment = pointers_to(command.environment);
  if (command.die_with_parent) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent_) ::_exit(kNotFoundToExecute);
  }
  signals_.restore();
  ::execvpe(arguments[0], arguments.data(), environment.data());
  int error = errno;
  [[maybe_unused]] ssize_t written = ::write(report_fd, &error, sizeof error);
  ::_exit(kNotFoundToExecute);
}

Result<void> Supervisor::spawn(const ChildCommand& command) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return system_error("pipe2");
  UniqueFd from_child(ends[0]), to_parent(ends[1]);
  // What came before there was a program, Ctrl-C included, did not reach it.
  std::vector<int> early = take_pending_signals();
  parent_ = ::getpid();
  child_ = ::fork();
  if (child_ < 0) return system_error("cannot start a process");
  if (child_ == 0) become(command, to_parent.get());
  to_parent.reset();
  int error = await_exec(from_child.get());
  if (error == 0) {
    for (int number : early) pass(number);
    return {};
  }
  retry_eintr([&] { return ::waitpid(child_, nullptr, 0); });
  child_ = 0;
  if (error == EACCES && !is_in_path(command.arguments[0])) error = ENOENT;
  child_status_ = (error == ENOENT ? kNotFoundToExecute : kCannotExecute) << 8;
  start_error_ = fmt::format("cannot execute {}: {}", chronos::quoted(command.arguments[0]),
                             errno_text(error));
  print_error_line("chronos: " + start_error_);
  return {};
}

// 0 once the program runs, else why it does not. The child can be stopped or ended before its exec,
// so its signals are looked after here too.
int Supervisor::await_exec(int report_fd) {
  for (;;) {
    std::array<pollfd, 2> waits = {pollfd{report_fd, POLLIN, 0},
                                   pollfd{signal_fd_.get(), POLLIN, 0}};
    ::poll(waits.data(), waits.size(), -1);
    if (waits[0].revents != 0) {
      int error = 0;
      ssize_t got = retry_eintr([&] { return ::read(report_fd, &error, sizeof error); });
      return got == static_cast<ssize_t>(sizeof error) ? error : 0;
    }
    if (waits[1].revents != 0) read_signals();
  }
}

Result<int> Supervisor::run(const ChildCommand& command) {
  Result<void> prepared = prepare();
  if (!prepared) return pass_on(prepared);
  Result<void> spawned = spawn(command);
  if (!spawned) return pass_on(spawned);

  // Looks at once: what the caller saw of the partitions is some time ago.
  if (!child_status_ && !kill_at_ns_) advance(true);
  while (!child_status_ || kill_at_ns_) {
    if (kill_at_ns_ && (!any_child_left_ || *kill_at_ns_ <= boottime_ns())) return finish_ending();
    arm_timer();
    std::array<pollfd, 3> waits = {pollfd{signal_fd_.get(), POLLIN, 0},
                                   pollfd{timer_fd_.get(), POLLIN, 0},
                                   pollfd{watch_fd_.get(), POLLIN, 0}};
    if (::poll(waits.data(), waits.size(), -1) < 0 && errno != EINTR) {
      return system_error("poll");
    }
    bool look_at_all = false;
    if (waits[1].revents != 0) {
      std::uint64_t count = 0;
      look_at_all = ::read(timer_fd_.get(), &count, sizeof count) > 0;
    }
    if (waits[2].revents != 0) look_at_all = read_watch() || look_at_all;
    if (waits[0].revents != 0) read_signals();
    if (observer_) observer_();
    if (!child_status_ && !kill_at_ns_) advance(look_at_all);
  }
  return *program_status();
}

std::optional<int> Supervisor::program_status() const {
  if (!child_status_) return std::nullopt;
  const int status = *child_status_;
  return WIFSIGNALED(status) ? kSignalled + WTERMSIG(status) : WEXITSTATUS(status);
}

void Supervisor::arm_timer() {
  std::uint64_t now = boottime_ns();
  std::uint64_t due = kill_at_ns_.value_or(now + kLookEvery);
  if (!kill_at_ns_) {
    std::optional<std::uint64_t> next = expiry_.next_ns();
    due = next ? std::min(due, std::max(*next, now + 1)) : 0;  // 0 disarms
  }
  itimerspec when{};
  when.it_value = to_timespec(due);
  ::timerfd_settime(timer_fd_.get(), TFD_TIMER_ABSTIME, &when, nullptr);
}

void Supervisor::read_signals() {
  signalfd_siginfo signal{};
  bool child_changed = false;
  while (::read(signal_fd_.get(), &signal, sizeof signal) == sizeof signal) {
    if (signal.ssi_signo == SIGCHLD) {
      child_changed = true;
    } else {
      forward(signal);
    }
  }
  if (child_changed) reap();
}

std::vector<int> Supervisor::take_pending_signals() {
  std::vector<int> numbers;
  signalfd_siginfo signal{};
  while (::read(signal_fd_.get(), &signal, sizeof signal) == sizeof signal) {
    if (signal.ssi_signo != SIGCHLD) numbers.push_back(static_cast<int>(signal.ssi_signo));
  }
  return numbers;
}

void Supervisor::forward(const signalfd_siginfo& signal) {
  auto number = static_cast<int>(signal.ssi_signo);
  if (child_ == 0 || child_status_) return;
  // The terminal's own signals reach the whole process group, the program included. Not so a
  // hang-up, which may be for the leader of the session alone.
  if (signal.ssi_code == SI_KERNEL && number != SIGHUP) return;
  // The program signalled its group: it has had its share.
  if (signal.ssi_code == SI_USER && static_cast<pid_t>(signal.ssi_pid) == child_) return;
  pass(number);
}

void Supervisor::pass(int number) {
  if (number != end_signal_) {
    ::kill(child_, number);
    return;
  }
  told_to_end_ = true;
  if (!kill_at_ns_) begin_ending(OnExpiry::kTerminate);
}

// True if something happened to a file of ours.
bool Supervisor::read_watch() {
  alignas(inotify_event) char buffer[4096];
  bool ours = false;
  for (;;) {
    ssize_t got = ::read(watch_fd_.get(), buffer, sizeof buffer);
    if (got <= 0) return ours;
    for (const char* at = buffer; at < buffer + got;) {
      const auto* event = reinterpret_cast<const inotify_event*>(at);
      std::string_view name = event->len > 0 ? event->name : "";
      ours = ours || std::any_of(tokens_.begin(), tokens_.end(), [&](const std::string& token) {
               return name.find(token) != name.npos;
             });
      at += sizeof(inotify_event) + event->len;
    }
  }
}

void Supervisor::reap() {
  for (;;) {
    int status = 0;
    pid_t pid = retry_eintr([&] { return ::waitpid(-1, &status, WNOHANG | WUNTRACED); });
    if (pid <= 0) {
      any_child_left_ = pid == 0;
      break;
    }
    if (pid != child_) continue;  // an orphan of the program's
    if (WIFSTOPPED(status)) {
      child_stopped_ = true;
    } else {
      child_status_ = status;
      child_stopped_ = false;
    }
  }
  if (std::exchange(child_stopped_, false) && !child_status_ && !kill_at_ns_) stop_with_child();
}

// The shell knows only us: it must see the job stop, and continue it through us.
void Supervisor::stop_with_child() {
  if (!has_terminal()) return;
  for (;;) {
    Stop stop = stop_self(expiry_.action_ns());
    if (stop == Stop::kNotStopped) return;
    if (stop == Stop::kContinued) break;
    advance(true);
    if (kill_at_ns_) return;
  }
  ::kill(child_, SIGCONT);
}

Supervisor::Stop Supervisor::stop_self(std::optional<std::uint64_t> wake_ns) {
  pid_t waker = wake_ns ? fork_waker(*wake_ns) : -1;
  // SIGTSTP, not SIGSTOP: in a group that no shell looks after the kernel ignores it, and we do not
  // stop for good.
  struct sigaction stop {
  }, before{};
  stop.sa_handler = SIG_DFL;
  ::sigaction(SIGTSTP, &stop, &before);
  ::raise(SIGTSTP);  // takes back a SIGCONT that pends
  sigset_t unblocked = blocked_;
  sigdelset(&unblocked, SIGTSTP);
  ::sigprocmask(SIG_SETMASK, &unblocked, nullptr);  // here we stop, and here we go on
  ::sigprocmask(SIG_SETMASK, &blocked_, nullptr);
  ::sigaction(SIGTSTP, &before, nullptr);
  if (waker > 0) {
    ::kill(waker, SIGKILL);
    retry_eintr([&] { return ::waitpid(waker, nullptr, 0); });
  }
  sigset_t continued;
  sigemptyset(&continued);
  sigaddset(&continued, SIGCONT);
  siginfo_t by{};
  timespec now{};
  if (::sigtimedwait(&continued, &by, &now) != SIGCONT) return Stop::kNotStopped;
  return waker > 0 && by.si_pid == waker ? Stop::kTimeIsUp : Stop::kContinued;
}

void Supervisor::advance(bool look_at_all) {
  Expiry::Step step = expiry_.advance(boottime_ns(), look_at_all);
  for (const std::string& line : step.lines) say(line);
  if (step.act && policy_.action != OnExpiry::kRefuse) begin_ending(policy_.action);
}

void Supervisor::begin_ending(OnExpiry how) {
  kill_at_ns_ = boottime_ns();
  // The program itself is told at once; finding the rest of its tree takes a moment.
  if (how == OnExpiry::kTerminate) {
    *kill_at_ns_ += policy_.grace_ns;
    if (!child_status_) ::kill(child_, SIGTERM);  // else its number may be another's by now
    signal_tree(SIGTERM, child_, spared_);
  } else if (!child_status_) {
    ::kill(child_, SIGKILL);
  }
}

int Supervisor::finish_ending() {
  std::vector<Process> stuck =
      any_child_left_ ? kill_tree(kKillPatience, child_status_ ? 0 : child_, spared_)
                      : std::vector<Process>();
  for (const Process& process : stuck) {
    print_error_line(fmt::format("chronos: process {} could not be ended (state {})", process.pid,
                                 process.state));
  }
  return kPartitionEnded;
}

}  // namespace chronos::cli
