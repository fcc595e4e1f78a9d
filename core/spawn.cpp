#include "core/spawn.hpp"

#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <mutex>

#include "core/posix.hpp"

namespace chronos {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// How long a killed process may take to go. Only one that sits in a system call of a driver that
// cannot be interrupted takes longer.
constexpr milliseconds kDeathTime{500};
constexpr milliseconds kPollStep{10};  // where the kernel has no pidfd

// Processes that outlived even SIGKILL: reaped by a later call instead of waited for.
std::mutex undead_mutex;
std::vector<pid_t>& undead() {
  static auto* pids = new std::vector<pid_t>;  // never destroyed: threads may outlive exit()
  return *pids;
}

void reap_undead() {
  std::lock_guard lock(undead_mutex);
  auto gone = [](pid_t pid) { return ::waitpid(pid, nullptr, WNOHANG) != 0; };
  undead().erase(std::remove_if(undead().begin(), undead().end(), gone), undead().end());
}

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> out;
  out.reserve(strings.size() + 1);
  for (const std::string& s : strings) out.push_back(const_cast<char*>(s.c_str()));
  out.push_back(nullptr);
  return out;
}

int start(const Command& command, int output, pid_t& pid) {
  std::vector<std::string> words{command.program};
  words.insert(words.end(), command.arguments.begin(), command.arguments.end());

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  if (int error = ::posix_spawn_file_actions_init(&actions)) return error;
  if (int error = ::posix_spawnattr_init(&attributes)) {
    ::posix_spawn_file_actions_destroy(&actions);
    return error;
  }
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  int error = ::posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  for (int fd : {STDIN_FILENO, STDERR_FILENO}) {
    if (!error) error = ::posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
  }
  if (!error) error = ::posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
  if (!error) error = ::posix_spawnattr_setpgroup(&attributes, 0);
  if (!error) error = ::posix_spawnattr_setsigmask(&attributes, &none);
  if (!error) error = ::posix_spawnattr_setsigdefault(&attributes, &all);
  if (!error) {
    error = ::posix_spawnattr_setflags(
        &attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  if (!error) {
    error = ::posix_spawn(&pid, command.program.c_str(), &actions, &attributes,
                          pointers(words).data(), pointers(command.environment).data());
  }
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  return error;
}

class Child {
 public:
  Child(const Command& command, std::size_t limit) : limit_(limit) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
      result.start_error = errno;
      return;
    }
    pipe_.reset(ends[0]);
    UniqueFd write_end(ends[1]);
    // The child's end blocks: O_NONBLOCK is the reader's, but pipe2() sets both.
    ::fcntl(write_end.get(), F_SETFL, 0);
    // dup2 of the descriptor onto itself would leave it to chance (stdout may be closed here).
    if (write_end.get() <= STDERR_FILENO) {
      write_end.reset(::fcntl(write_end.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
    }
    result.start_error = start(command, write_end.get(), pid_);
    if (result.start_error != 0) return;
    running_ = true;
    pidfd_.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
  }

  bool running() const { return running_; }
  bool has_pidfd() const { return static_cast<bool>(pidfd_); }
  int pipe() const { return pipe_.get(); }
  int pidfd() const { return pidfd_.get(); }

  void read_output() {
    char buffer[16384];
    while (pipe_) {
      ssize_t got = retry_eintr([&] { return ::read(pipe_.get(), buffer, sizeof buffer); });
      if (got < 0 && errno == EAGAIN) return;
      if (got <= 0) {
        pipe_.reset();
        return;
      }
      std::size_t room = limit_ - result.output.size();
      result.output.append(buffer, std::min(static_cast<std::size_t>(got), room));
      if (static_cast<std::size_t>(got) > room) {
        result.too_much = true;
        pipe_.reset();
        kill_group();
        return;
      }
    }
  }

  // Notices the end of the process; what it started in its group goes with it.
  void check_end() {
    siginfo_t info{};
    int found = retry_eintr([&] {
      return ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT);
    });
    if (found == 0 && info.si_pid == 0) return;
    running_ = false;
    if (found == 0) {
      // While it is not reaped its number, and so that of its group, cannot be another's.
      kill_group();
      result.status_known = retry_eintr([&] { return ::waitpid(pid_, &result.status, 0); }) == pid_;
    }
    read_output();
  }

  void kill_group() const { ::kill(-pid_, SIGKILL); }

  void give_up() {
    if (!running_) return;
    running_ = false;
    std::lock_guard lock(undead_mutex);
    undead().push_back(pid_);
  }

  Captured result;

 private:
  std::size_t limit_;
  pid_t pid_ = -1;
  UniqueFd pipe_, pidfd_;
  bool running_ = false;
};

// Reads and waits until all have ended or `deadline` is reached. False in the latter case.
bool wait_for(std::vector<Child>& children, Clock::time_point deadline) {
  for (;;) {
    std::vector<pollfd> fds;
    bool all_pidfds = true, any = false;
    for (const Child& child : children) {
      if (!child.running()) continue;
      any = true;
      if (child.pipe() >= 0) fds.push_back({child.pipe(), POLLIN, 0});
      if (child.has_pidfd()) fds.push_back({child.pidfd(), POLLIN, 0});
      all_pidfds = all_pidfds && child.has_pidfd();
    }
    if (!any) return true;
    auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) return false;
    if (!all_pidfds) left = std::min(left, kPollStep);
    ::poll(fds.data(), fds.size(), static_cast<int>(std::min<long>(left.count(), 60'000)));
    for (Child& child : children) {
      if (!child.running()) continue;
      child.read_output();
      child.check_end();
    }
  }
}

}  // namespace

std::vector<Captured> run_and_capture(const std::vector<Command>& commands, milliseconds timeout,
                                      std::size_t limit) {
  reap_undead();
  const Clock::time_point deadline = Clock::now() + timeout;
  std::vector<Child> children;
  children.reserve(commands.size());
  for (const Command& command : commands) children.emplace_back(command, limit);

  if (!wait_for(children, deadline)) {
    for (Child& child : children) {
      if (!child.running()) continue;
      child.result.timed_out = true;
      child.kill_group();
    }
    wait_for(children, Clock::now() + kDeathTime);
  }
  std::vector<Captured> results;
  for (Child& child : children) {
    child.give_up();
    results.push_back(std::move(child.result));
  }
  return results;
}

}  // namespace chronos
