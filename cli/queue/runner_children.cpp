// Supervisors: forked, adopted from an earlier runner, and put to rest where they died.
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <initializer_list>

#include "cli/output.hpp"
#include "cli/queue/attempt_file.hpp"
#include "cli/queue/runner.hpp"
#include "cli/queue/supervise.hpp"
#include "core/process.hpp"
#include "core/text.hpp"

namespace chronos::queue {
namespace {

constexpr std::uint64_t kFirstPause = kNanosPerSecond;
constexpr std::uint64_t kLongestPause = 60 * kNanosPerSecond;
constexpr int kKeptFd = 3;

std::uint64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * kNanosPerSecond +
         static_cast<std::uint64_t>(now.tv_nsec);
}

UniqueFd open_pidfd(pid_t pid) {
  return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

// What an earlier runner left: adopted if its supervisor lives, put to rest if not.
Result<void> Runner::recover() {
  auto active = store_.active();
  if (!active) return pass_on(active);
  for (const Job& job : *active) adopt(job);
  std::error_code ignored;
  for (const auto& file : std::filesystem::directory_iterator(place_.attempts(), ignored)) {
    const std::string name = file.path().filename().string();
    const bool needed = std::any_of(active->begin(), active->end(), [&](const Job& job) {
      return name == fmt::format("{}.{}", job.id, job.attempt);
    });
    if (!needed && !holder_of(file.path().string())) ::unlink(file.path().c_str());
  }
  return {};
}

void Runner::adopt(const Job& job) {
  if (job.boot_id != boot_text()) return settle(job);
  const auto holder = holder_of(place_.attempt_file(job.id, job.attempt));
  if (!holder || *holder <= 0) return settle(job);
  Child child;
  child.attempt = job.attempt;
  child.pid = *holder;
  child.is_ours = false;
  child.ended = open_pidfd(*holder);
  // Gone since, or its number is another's by now: whoever holds the file is looked for again.
  if (!child.ended || holder_of(place_.attempt_file(job.id, job.attempt)) != holder) {
    return settle(job);
  }
  auto spec = store_.spec_of(job.id);
  if (spec) child.jobs_per_gpu = spec->jobs_per_gpu;
  log_.write(
      fmt::format("job {} goes on (attempt {}, supervisor {})", job.id, job.attempt, child.pid));
  children_.insert_or_assign(job.id, std::move(child));
}

// Its supervisor is gone, and the database does not know how it ended.
void Runner::settle(const Job& seen) {
  look_again_ = true;
  auto now = store_.find(seen.id);
  if (!now) return;
  const Job& job = *now;
  // It may have ended as it should since it was seen.
  const bool active = job.state == JobState::kStarting || job.state == JobState::kRunning;
  if (job.attempt != seen.attempt || !active) return;
  const std::string file = place_.attempt_file(job.id, job.attempt);
  Result<bool> settled = true;
  if (auto outcome = left_behind(file)) {
    settled = store_.finish(job.id, job.attempt, *outcome);
  } else if (job.state == JobState::kStarting) {
    log_.write(fmt::format("job {} goes back into the line: attempt {} was never started", job.id,
                           job.attempt));
    settled = store_.give_back(job.id, job.attempt);
  } else {
    const bool rebooted = job.boot_id != boot_text();
    if (!rebooted) end_leftovers(job.token);
    const std::string why =
        rebooted ? "the machine was started anew" : "its supervisor ended without a word";
    log_.write(fmt::format("job {} is lost (attempt {}): {}", job.id, job.attempt, why));
    settled = store_.lose(job.id, job.attempt, why);
  }
  if (settled) {
    ::unlink(file.c_str());
  } else {
    hold_back(settled.error().message);
  }
}

void Runner::child_ended(JobId id) {
  auto found = children_.find(id);
  if (found == children_.end()) return;
  Child child = std::move(found->second);
  children_.erase(found);
  look_again_ = true;
  int status = 0;
  const bool reaped =
      child.is_ours && retry_eintr([&] { return ::waitpid(child.pid, &status, 0); }) == child.pid;
  if (in_line_ && in_line_->job == id) in_line_.reset();
  auto job = store_.find(id);
  if (!job) {
    // Cleared since, or the database cannot be read: then somebody looks again later.
    if (job.error().code != ErrorCode::kNotFound) hold_back(job.error().message);
    return;
  }
  const bool active = job->state == JobState::kStarting || job->state == JobState::kRunning;
  if (active) {
    adopt(*job);  // by another supervisor, or put to rest
  } else if (job->state == JobState::kPending && job->attempt < child.attempt && reaped &&
             !child.hand_over && !job->cancel && !job->held) {
    hold_back(fmt::format("job {} could not be started: its supervisor ended with status {}", id,
                          WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status)));
  } else if (is_over(job->state)) {
    log_.write(fmt::format("job {} {}{}{}", id, to_string(job->state),
                           job->reason.empty() ? "" : ": ", job->reason));
    hold_back_ns_ = 0;
  }
}

// This program anew, in a session of its own. `keep_fd` becomes descriptor 3; `identity` is told
// who it is, which exec does not change.
Result<pid_t> Runner::fork_self(const std::vector<std::string>& arguments, int keep_fd,
                                ProcessIdentity* identity) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    return fail(ErrorCode::kSystem, "pipe2: " + errno_text(errno));
  }
  UniqueFd told(ends[0]), telling(ends[1]);
  std::vector<std::string> words = {"chronosd"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers = pointers_to(words);
  const pid_t child = ::fork();
  if (child < 0) {
    return fail(ErrorCode::kSystem, "cannot start a process: " + errno_text(errno));
  }
  if (child == 0) {
    ::setsid();
    const ProcessIdentity self = this_process();
    [[maybe_unused]] ssize_t written = ::write(telling.get(), &self, sizeof self);
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(null, fd);
    if (keep_fd == kKeptFd) {
      ::fcntl(keep_fd, F_SETFD, 0);
    } else if (keep_fd >= 0) {
      ::dup2(keep_fd, kKeptFd);
    }
    ::closefrom(keep_fd >= 0 ? kKeptFd + 1 : kKeptFd);  // what somebody has left us open
    inherited_.restore();
    ::execv("/proc/self/exe", pointers.data());
    ::_exit(cli::kNotFoundToExecute);
  }
  telling.reset();
  ProcessIdentity self;
  if (retry_eintr([&] { return ::read(told.get(), &self, sizeof self); }) !=
      static_cast<ssize_t>(sizeof self)) {
    self = {child, 0, 0};
  }
  if (identity != nullptr) *identity = self;
  return child;
}

Result<Runner::Child*> Runner::fork_supervisor(const Store::InLine& one) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    return fail(ErrorCode::kSystem, "pipe2: " + errno_text(errno));
  }
  UniqueFd theirs(ends[0]);
  Child child;
  child.hand_over.reset(ends[1]);
  child.attempt = one.job.attempt + 1;
  child.jobs_per_gpu = one.spec.jobs_per_gpu;
  auto pid = fork_self(
      {"--supervise", fmt::format("{}", one.job.id), "--attempt", fmt::format("{}", child.attempt)},
      theirs.get(), &child.identity);
  if (!pid) return pass_on(pid);
  child.pid = *pid;
  child.ended = open_pidfd(*pid);
  if (!child.ended) {
    ::kill(*pid, SIGKILL);
    retry_eintr([&] { return ::waitpid(*pid, nullptr, 0); });
    return fail(ErrorCode::kSystem, "pidfd_open: " + errno_text(errno));
  }
  return &children_.insert_or_assign(one.job.id, std::move(child)).first->second;
}

void Runner::hand_over(JobId id, const std::vector<PartitionInfo>& partitions) {
  Child& child = children_.at(id);
  std::vector<std::string> handles;
  std::string devices;
  for (const PartitionInfo& one : partitions) {
    handles.push_back(one.handle());
    devices += fmt::format("{}{}", devices.empty() ? "" : ",", one.device_index);
  }
  const std::string text = hand_over_text(handles);
  log_.write(fmt::format("job {} starts on device {} (attempt {}, supervisor {})", id, devices,
                         child.attempt, child.pid));
  // If it has died, its partitions have, too; its end tells us.
  [[maybe_unused]] ssize_t written =
      retry_eintr([&] { return ::write(child.hand_over.get(), text.data(), text.size()); });
  child.hand_over.reset();
}

// Not needed after all: it reads the end of its pipe.
void Runner::dismiss(JobId id) {
  auto found = children_.find(id);
  if (found == children_.end() || !found->second.hand_over) return;
  Child child = std::move(found->second);
  children_.erase(found);
  child.hand_over.reset();
  ::kill(child.pid, SIGKILL);  // it has nothing yet, and so nothing to lose
  retry_eintr([&] { return ::waitpid(child.pid, nullptr, 0); });
}

void Runner::end_cancelled(const std::vector<Job>& active) {
  for (const Job& job : active) {
    auto found = children_.find(job.id);
    if (!job.cancel || found == children_.end() || found->second.told_to_end) continue;
    found->second.told_to_end = true;
    log_.write(fmt::format("job {} is to end: it was cancelled", job.id));
    ::syscall(SYS_pidfd_send_signal, found->second.ended.get(), SIGTERM, nullptr, 0);
  }
}

// Of jobs that ended without a supervisor; a supervisor runs its own job's.
void Runner::start_hooks() {
  auto due = store_.hooks_due();
  if (!due) return;
  for (JobId id : *due) {
    if (children_.contains(id) || hooks_.contains(id)) continue;
    auto pid = fork_self({"--hook", fmt::format("{}", id)}, -1, nullptr);
    if (!pid) return hold_back(pid.error().message);
    hooks_[id] = {*pid, open_pidfd(*pid)};
  }
}

// Something is wrong with this machine, not with a job: not at once again.
void Runner::hold_back(const std::string& why) {
  hold_back_ns_ = std::clamp(2 * hold_back_ns_, kFirstPause, kLongestPause);
  held_back_until_ = now_ns() + hold_back_ns_;
  log_.write(fmt::format("nothing starts for {} s: {}", hold_back_ns_ / kNanosPerSecond, why));
  (void)store_.set_trouble(why);
}

}  // namespace chronos::queue
