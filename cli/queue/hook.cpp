// Finish hooks, and what a dead supervisor leaves behind.
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <string_view>

#include "cli/queue/log_pump.hpp"
#include "cli/queue/prepare.hpp"
#include "cli/queue/supervise.hpp"

namespace chronos::queue {
namespace {

constexpr int kHookTimeoutMs = 600'000;
constexpr int kRounds = 50;

int open_pidfd(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

std::vector<std::string> hook_environment(const Job& job, const JobSpec& spec,
                                          std::vector<std::string> environment) {
  for (const auto& [name, value] : spec.env) {
    environment = overlaid(std::move(environment), {{name, value}});
  }
  // Where the job was added by another job, that one's: the hook is not what is left of it.
  std::erase_if(environment, [](const std::string& entry) {
    return entry.starts_with(std::string(kTokenVariable) + "=");
  });
  return overlaid(std::move(environment),
                  {{"CHRONOS_JOB_ID", fmt::format("{}", job.id)},
                   {"CHRONOS_JOB_NAME", job.name},
                   {"CHRONOS_JOB_COMMAND", job.command},
                   {"CHRONOS_JOB_STATE", to_string(job.state)},
                   {"CHRONOS_JOB_EXIT_STATUS",
                    job.exit_status ? fmt::format("{}", *job.exit_status) : std::string()},
                   {"CHRONOS_JOB_REASON", job.reason},
                   {"CHRONOS_JOB_ATTEMPT", fmt::format("{}", job.attempt)},
                   {"CHRONOS_JOB_DEVICES", job.devices},
                   {"CHRONOS_JOB_LOG", job.log}});
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// The end of the job's log, if there is one.
class LogEnd {
 public:
  LogEnd(const Job& job, const LogLimits& limits) {
    if (!job.log.empty()) {
      fd_.reset(::open(job.log.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC | O_NONBLOCK));
    }
    struct stat status {};
    if (!fd_ || ::fstat(fd_.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
      fd_.reset(::open("/dev/null", O_WRONLY | O_CLOEXEC));
    } else if (limits.bytes > 0) {
      if (auto pump = LogPump::start({job.log, std::move(fd_), limits})) {
        pump_.emplace(std::move(*pump));
      }
    }
  }
  int fd() const { return pump_ ? pump_->fd() : fd_.get(); }

 private:
  UniqueFd fd_;
  std::optional<LogPump> pump_;
};

// Waits for the group's leader; a hook that hangs is ended.
void await(pid_t child) {
  UniqueFd ended(open_pidfd(child));
  pollfd wait{ended.get(), POLLIN, 0};
  const int came = retry_eintr([&] { return ::poll(&wait, 1, kHookTimeoutMs); });
  if (came <= 0) ::kill(-child, SIGKILL);
  retry_eintr([&] { return ::waitpid(child, nullptr, 0); });
}

// The process's environment holds `entry`, and it is ours.
bool carries(const std::string& pid, std::string_view entry) {
  std::string environment;
  if (!read_small_file(fmt::format("/proc/{}/environ", pid).c_str(), environment, 1 << 20)) {
    return false;
  }
  const std::size_t at = environment.find(entry);
  return at != environment.npos && (at == 0 || environment[at - 1] == '\0') &&
         environment[at + entry.size()] == '\0';
}

}  // namespace

void run_hook(Store& store, JobId id) {
  auto taken = store.take_hook(id);
  if (!taken || !*taken) return;
  auto job = store.find(id);
  auto spec = store.spec_of(id);
  auto environment = store.environment_of(id);
  if (!job || !spec || !environment) return;
  std::vector<std::string> variables =
      hook_environment(*job, *spec, split_environment(*environment));
  std::vector<std::string> words = {shell_path(), "-c", spec->on_finish};
  std::vector<char*> arguments = pointers_to(words), entries = pointers_to(variables);
  const LogEnd log(*job, spec->log_limits);
  const pid_t child = ::fork();
  if (child < 0) return;
  if (child == 0) {
    ::setpgid(0, 0);
    ::dup2(log.fd(), STDOUT_FILENO);
    ::dup2(log.fd(), STDERR_FILENO);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::signal(SIGPIPE, SIG_DFL);
    if (::chdir(spec->directory.c_str()) != 0 && ::chdir("/") != 0) ::_exit(126);
    ::execve(arguments[0], arguments.data(), entries.data());
    ::_exit(127);
  }
  await(child);
}

void end_leftovers(const std::string& token) {
  if (token.empty()) return;
  const std::string entry = std::string(kTokenVariable) + "=" + token;
  // Each round also meets what was born during the last.
  for (int round = 0; round < kRounds; ++round) {
    DIR* processes = ::opendir("/proc");
    if (processes == nullptr) return;
    bool any = false;
    while (const dirent* one = ::readdir(processes)) {
      const std::string name = one->d_name;
      pid_t pid = 0;
      auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
      if (error != std::errc() || *end != '\0' || pid == ::getpid()) continue;
      // Opened first, looked at second: what we signal is what we saw.
      UniqueFd process(open_pidfd(pid));
      if (!process || !carries(name, entry)) continue;
      any = ::syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0) == 0 || any;
      pollfd gone{process.get(), POLLIN, 0};
      ::poll(&gone, 1, 1000);
    }
    ::closedir(processes);
    if (!any) return;
  }
}

}  // namespace chronos::queue
