// Which jobs are started, and where: one look at the queue and at the memory of all users.
#include <fmt/format.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "cli/devices.hpp"
#include "cli/queue/runner.hpp"
#include "core/policy.hpp"
#include "core/text.hpp"

namespace chronos::queue {
namespace {

// How far behind the head is looked for jobs that can go first.
constexpr std::size_t kDepth = 500;
constexpr std::uint64_t kDrains = kNanosPerSecond;
constexpr std::uint64_t kSoonest = kNanosPerSecond / 100;
constexpr std::string_view kPrefix = "job-";

std::uint64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * kNanosPerSecond +
         static_cast<std::uint64_t>(now.tv_nsec);
}

// The job that a partition is of, by its name: "job-12", "job-12.3"; 0: of none of ours.
JobId job_of(const PartitionInfo& partition) {
  const std::string_view name = partition.name;
  if (!partition.is_mine || !name.starts_with(kPrefix)) return 0;
  JobId id = 0;
  std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), id);
  return id;
}

// Without an end of its own a job lasts as long as it may.
std::uint64_t longest_duration() {
  std::uint64_t longest = kMaxDurationSeconds * kNanosPerSecond;
  if (::geteuid() == 0) return longest;
  const Policy policy = Policy::load();
  for (const UserLimits& limits : policy.for_caller().limits) {
    if (limits.duration_ns) longest = std::min(longest, limits.duration_ns->value);
  }
  return longest;
}

}  // namespace

bool Runner::has_devices() {
  if (!devices_.empty()) return true;
  auto inventory = load_inventory(registry_.state());
  if (!inventory) {
    hold_back(inventory.error().message);
    return false;
  }
  devices_ = std::move(inventory->devices);
  return true;
}

std::vector<DeviceLoad> Runner::loads(const std::vector<PartitionInfo>& partitions,
                                      const std::map<JobId, unsigned>& jobs_per_gpu) {
  std::vector<DeviceLoad> result;
  for (const Device& device : devices_) {
    const DeviceUse use = Registry::use_of(device, partitions);
    DeviceLoad load{device.index, device.total_bytes, use.available_bytes, 0, {}};
    for (const PartitionInfo& one : partitions) {
      if (one.device_key != device.key) continue;
      auto counted = jobs_per_gpu.find(job_of(one));
      const bool slot = counted != jobs_per_gpu.end() && counted->second > 0;
      if (one.state == PartitionState::kActive) {
        if (slot) ++load.slots;
        load.endings.push_back({one.remaining_ns, one.limit_bytes, slot});
      }
    }
    if (use.draining_bytes > 0) load.endings.push_back({kDrains, use.draining_bytes, false});
    result.push_back(std::move(load));
  }
  return result;
}

Candidate Runner::candidate_of(const Store::InLine& one) const {
  Candidate candidate;
  candidate.id = one.job.id;
  candidate.memory = one.spec.memory;
  candidate.gpus = one.spec.gpus;
  candidate.devices = one.spec.devices;
  candidate.duration_ns = one.spec.duration_ns;
  candidate.jobs_per_gpu = one.spec.jobs_per_gpu;
  return candidate;
}

void Runner::pass() {
  wake_at_.reset();
  trouble_.clear();
  const std::uint64_t now = now_ns();
  if (held_back_until_ <= now) held_back_until_ = 0;
  auto trouble = [&](const Error& error) { hold_back(error.message); };
  auto hopeless = store_.cancel_hopeless();
  if (!hopeless) return trouble(hopeless.error());
  auto active = store_.active();
  if (!active) return trouble(active.error());
  // Claimed only now by a supervisor that an earlier runner gave its partitions; or one that could
  // not store how its job ended.
  for (const Job& job : *active) {
    if (!children_.contains(job.id)) adopt(job);
  }
  end_cancelled(*active);
  start_hooks();
  auto paused = store_.is_paused();
  if (!paused) return trouble(paused.error());
  auto line = store_.line(kDepth);
  if (!line) return trouble(line.error());
  std::erase_if(*line, [&](const Store::InLine& one) {
    const auto child = children_.find(one.job.id);
    // Given its memory, and about to claim the job.
    return child != children_.end() && !child->second.hand_over;
  });
  auto counts = store_.counts();
  if (!counts) return trouble(counts.error());
  work_left_ = counts->active > 0 || (counts->pending > 0 && !*paused);
  if (work_left_ || !children_.empty()) idle_since_ = now;
  if (line->empty() || *paused) {
    leave_line();
    watch_memory(false);
    soon_ns_ = 0;
    if (held_back_until_ == 0) (void)store_.set_trouble({});
    return;
  }
  if (held_back_until_ > 0 || !has_devices()) return;

  watch_memory(true);  // before the look: what changes in between wakes us
  auto partitions = registry_.list();
  if (!partitions) return trouble(partitions.error());
  cli::use_current_numbers(registry_, *partitions);
  std::map<JobId, unsigned> jobs_per_gpu;
  for (const auto& [id, child] : children_) jobs_per_gpu[id] = child.jobs_per_gpu;
  std::vector<Candidate> candidates;
  for (const Store::InLine& one : *line) candidates.push_back(candidate_of(one));
  const Plan plan = make_plan(candidates, loads(*partitions, jobs_per_gpu));
  auto by_id = [&](JobId id) -> const Store::InLine& {
    return *std::find_if(line->begin(), line->end(),
                         [&](const Store::InLine& one) { return one.job.id == id; });
  };
  const bool waits_on =
      in_line_ && (plan.head == in_line_->job ||
                   std::any_of(plan.starts.begin(), plan.starts.end(),
                               [&](const Start& one) { return one.id == in_line_->job; }));
  if (!waits_on) leave_line();
  if (!plan.impossible.empty()) {
    trouble_ =
        fmt::format("job {} asks for more than the devices here have", plan.impossible.front());
  }
  for (const Start& one : plan.starts) {
    if (!start(by_id(one.id), one.devices)) break;
  }
  if (held_back_until_ == 0) (void)store_.set_trouble(trouble_);
  if (!plan.head) {
    soon_ns_ = 0;
    return;
  }
  if (others_are_in_the_way(*partitions, by_id(*plan.head)) && !in_line_) {
    stand_in_line(by_id(*plan.head));
  }
  wake_when_there_is_room(*partitions, now);
}

// Whether the head waits for memory that is not this queue's to give back.
bool Runner::others_are_in_the_way(const std::vector<PartitionInfo>& partitions,
                                   const Store::InLine& head) const {
  const std::vector<int>& devices = head.spec.devices;
  return std::any_of(partitions.begin(), partitions.end(), [&](const PartitionInfo& one) {
    const bool usable = devices.empty() || std::find(devices.begin(), devices.end(),
                                                     one.device_index) != devices.end();
    return usable && job_of(one) == 0;
  });
}

// Room comes when a supervisor ends, a partition's file changes, a deadline passes or the process
// ends that somebody's partition lasts with. Of what drains nothing tells, nor of a process that
// cannot be seen.
void Runner::wake_when_there_is_room(const std::vector<PartitionInfo>& partitions,
                                     std::uint64_t now) {
  bool silent = false;
  std::vector<ProcessIdentity> holders;
  for (const PartitionInfo& one : partitions) {
    if (one.state != PartitionState::kActive) {
      silent = true;
      continue;
    }
    const std::uint64_t due = now + std::max(one.remaining_ns, kSoonest);
    wake_at_ = std::min(wake_at_.value_or(due), due);
    const bool is_child = std::any_of(children_.begin(), children_.end(), [&](const auto& child) {
      return child.second.pid == one.holder.pid;
    });
    if (one.held && !is_child) holders.push_back(one.holder);
  }
  silent = !holders_.set(holders) || silent || !watch_;
  if (silent && soon_ns_ == 0) soon_ns_ = kNanosPerSecond;
  if (!silent && soon_ns_ >= kNanosPerSecond) soon_ns_ = 0;
}

ReserveRequest Runner::request_for(const Store::InLine& one, const std::vector<int>& devices,
                                   const Child& child) const {
  ReserveRequest request;
  for (const Device& device : devices_) {
    const bool named =
        devices.empty() || std::find(devices.begin(), devices.end(), device.index) != devices.end();
    if (named && request.candidates.size() < kMaxCandidates) request.candidates.push_back(device);
  }
  request.count = one.spec.gpus;
  request.memory = one.spec.memory;
  request.duration_ns = one.spec.duration_ns > 0 ? one.spec.duration_ns : longest_duration();
  request.name = fmt::format("{}{}", kPrefix, one.job.id);
  request.held = true;
  request.holder = child.identity;
  return request;
}

// False where nobody else should be tried now.
bool Runner::start(const Store::InLine& one, const std::vector<int>& devices) {
  if (in_line_ && in_line_->job == one.job.id) {
    look_at_line();  // its place is worth more than a new request
    return true;
  }
  auto child = fork_supervisor(one);
  if (!child) {
    hold_back(child.error().message);
    return false;
  }
  ReserveRequest request = request_for(one, devices, **child);
  auto given = registry_.reserve(request);
  if (!given && given.error().code == ErrorCode::kNameInUse) {
    request.name.clear();  // somebody has called a partition of theirs so
    given = registry_.reserve(request);
  }
  if (given) {
    hand_over(one.job.id, *given);
    return true;
  }
  dismiss(one.job.id);
  switch (given.error().code) {
    case ErrorCode::kNoCapacity:  // somebody was quicker, or is before us in line
      stand_in_line(one);
      return false;
    case ErrorCode::kInvalid:
    case ErrorCode::kPermission:  // the policy
      log_.write(fmt::format("job {} cannot start: {}", one.job.id, given.error().message));
      trouble_ = fmt::format("job {}: {}", one.job.id, given.error().message);
      return true;
    default:
      hold_back(given.error().message);
      return false;
  }
}

void Runner::stand_in_line(const Store::InLine& head) {
  if (in_line_ && in_line_->job == head.job.id) return;
  leave_line();
  auto child = fork_supervisor(head);
  if (!child) return hold_back(child.error().message);
  auto joined = Reservation::join(registry_, request_for(head, head.spec.devices, **child));
  if (!joined) {
    dismiss(head.job.id);
    log_.write(fmt::format("job {} cannot stand in line: {}", head.job.id, joined.error().message));
    return;
  }
  in_line_.emplace(InLineFor{head.job.id, std::move(*joined)});
  look_at_line();
}

void Runner::leave_line() {
  if (!in_line_) return;
  const JobId job = in_line_->job;
  in_line_.reset();
  dismiss(job);
}

void Runner::look_at_line() {
  if (!in_line_) return;
  auto given = in_line_->reservation.look();
  if (given && !*given) return;
  const JobId job = in_line_->job;
  in_line_.reset();
  look_again_ = true;
  if (given) {
    hand_over(job, **given);
  } else {
    log_.write(fmt::format("job {} lost its place in line: {}", job, given.error().message));
    dismiss(job);
  }
}

void Runner::watch_memory(bool wanted) {
  if (!wanted) {
    holders_.set({});
    return watch_.reset();
  }
  if (watch_) return;
  watch_.reset(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  constexpr std::uint32_t kChanges =
      IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE | IN_MOVED_FROM | IN_ONLYDIR;
  if (watch_ && ::inotify_add_watch(watch_.get(), registry_.state().path().c_str(), kChanges) < 0) {
    watch_.reset();
  }
}

}  // namespace chronos::queue
