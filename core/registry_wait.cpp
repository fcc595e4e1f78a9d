// Registry::create_when_free(): waiting in line, without polling and without a daemon.
//
// Who is first in line watches the state directory (inotify) and the clock, because room appears by
// somebody's file being written, closed or removed, or by a deadline. Everybody else watches only
// the ticket of the one before them, so that what happens wakes one process and not all. A look
// each second covers what no file tells: bytes freed in a partition whose time is up, the end of a
// process that a partition was made for, and somebody in line who does not take their turn.
#include <fmt/format.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <ctime>

#include "core/crash_point.hpp"
#include "core/partition_files.hpp"
#include "core/registry.hpp"
#include "core/registry_lock.hpp"
#include "core/ticket.hpp"
#include "core/units.hpp"

namespace chronos {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::uint64_t kLookEvery = kNanosPerSecond;
constexpr std::uint64_t kLookSoon = kNanosPerSecond / 1000;
// Longer than those who look each second need to see that it is their turn.
constexpr std::chrono::seconds kTurn{3};

// The relative waits of this file count the time that the machine sleeps, as deadlines do.
std::uint64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * kNanosPerSecond +
         static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace

class Registry::Wait {
 public:
  Wait(Registry& registry, const CreateRequest& request, uid_t owner, const WaitOptions& options)
      : registry_(registry), request_(request), owner_(owner), options_(options) {
    if (options.timeout_ns) give_up_at_ = now_ns() + *options.timeout_ns;
  }

  Result<PartitionInfo> run();

 private:
  enum class Woken { kLook, kTimeIsUp, kCancelled };

  Result<std::optional<PartitionInfo>> join();
  Result<std::optional<PartitionInfo>> look();
  Result<std::optional<PartitionInfo>> try_my_turn();
  void forget_those_gone();
  bool all_ahead_dawdle(std::uint64_t available);
  void report(const std::vector<PartitionInfo>& partitions, const DeviceUse& use);
  void watch(bool first);
  Result<void> arm(const std::vector<PartitionInfo>& partitions, bool first);
  Woken sleep();
  Error no_capacity(const std::string& why) const;

  const StateDir& state() const { return registry_.state_; }
  std::uint64_t bytes() const { return request_.memory.on(request_.device.total_bytes); }

  Registry& registry_;
  const CreateRequest& request_;
  uid_t owner_;
  const WaitOptions& options_;
  std::optional<std::uint64_t> give_up_at_;

  struct Predecessor {
    Waiting ticket;
    std::optional<Clock::time_point> could_go_since;
  };
  std::optional<Ticket> ticket_;
  std::vector<Predecessor> ahead_;  // in line before us when we joined, and still
  UniqueFd watch_, timer_;
  std::optional<FileName> watched_;  // whose ticket `watch_` is on; none: on the directory
  std::optional<std::pair<std::size_t, std::string>> told_;
  // Until the next look without an event. A dying process closes its files a moment before its
  // locks are gone and it counts as dead: after an event we look again soon, then less often.
  std::uint64_t pause_ns_ = kLookEvery;
};

Error Registry::Wait::no_capacity(const std::string& why) const {
  return {ErrorCode::kNoCapacity,
          fmt::format("Not enough available memory on device {}", request_.device.index),
          fmt::format("asked {}; {}", format_bytes(bytes()), why)};
}

// Gets the partition at once where there is room and nobody in line, else a place in it.
Result<std::optional<PartitionInfo>> Registry::Wait::join() {
  auto lock = RegistryLock::acquire(state());
  if (!lock) return pass_on(lock);
  Line line;
  auto made = registry_.admit(request_, owner_, line);
  if (made) return std::optional(std::move(*made));
  if (made.error().code != ErrorCode::kNoCapacity) return pass_on(made);
  auto names = scan(state());
  if (!names) return pass_on(names);
  std::uint64_t last = 0;
  for (Waiting& waiting : read_tickets(state(), *names)) {
    last = std::max(last, waiting.number);
    if (waiting.device_key == request_.device.key) ahead_.push_back({std::move(waiting), {}});
  }
  auto ticket = Ticket::take(state(), request_.device.key, bytes(), last);
  if (!ticket) return pass_on(ticket);
  ticket_.emplace(std::move(*ticket));
  CHRONOS_POINT(wait_joined);
  return std::optional<PartitionInfo>();
}

void Registry::Wait::forget_those_gone() {
  std::erase_if(ahead_,
                [&](const Predecessor& one) { return !is_waiting(state(), one.ticket.file); });
}

// Whether everybody before us has had room for a while and has not taken it: stopped, or worse.
bool Registry::Wait::all_ahead_dawdle(std::uint64_t available) {
  bool all = true;
  for (Predecessor& one : ahead_) {
    if (one.ticket.bytes > available) {
      one.could_go_since.reset();
    } else if (!one.could_go_since) {
      one.could_go_since = Clock::now();
    }
    all = all && one.could_go_since && Clock::now() - *one.could_go_since >= kTurn;
  }
  return all;
}

Result<std::optional<PartitionInfo>> Registry::Wait::try_my_turn() {
  auto lock = RegistryLock::acquire(state());
  if (!lock) {
    // Whoever holds it for so long will let go or die; there is nothing to lose by waiting on.
    if (lock.error().code == ErrorCode::kBusy) return std::optional<PartitionInfo>();
    return pass_on(lock);
  }
  Line line;
  CHRONOS_POINT(wait_my_turn);
  line.is_first = true;
  auto made = registry_.admit(request_, owner_, line);
  CHRONOS_POINT(wait_tried);
  if (made) return std::optional(std::move(*made));
  if (made.error().code == ErrorCode::kNoCapacity) return std::optional<PartitionInfo>();
  return pass_on(made);
}

// One look at how things stand: the partition if it is our turn and there is room.
Result<std::optional<PartitionInfo>> Registry::Wait::look() {
  forget_those_gone();
  // Watched first, looked at second: what happens in between wakes us.
  watch(ahead_.empty());
  CHRONOS_POINT(wait_watching);
  forget_those_gone();
  if (ahead_.empty() && watched_) watch(true);
  auto partitions = registry_.list();
  if (!partitions) return pass_on(partitions);
  const DeviceUse use = use_of(request_.device, *partitions);
  bool room_was_there = false;
  const bool my_turn = ahead_.empty() || all_ahead_dawdle(use.available_bytes);
  if (my_turn && bytes() <= use.available_bytes) {
    auto made = try_my_turn();
    if (!made || *made) return made;
    room_was_there = true;
  }
  report(*partitions, use);
  CHRONOS_POINT(wait_looked);
  auto armed = arm(*partitions, ahead_.empty() && !room_was_there);
  if (!armed) return pass_on(armed);
  return std::optional<PartitionInfo>();
}

void Registry::Wait::report(const std::vector<PartitionInfo>& partitions, const DeviceUse& use) {
  if (!options_.on_change) return;
  WaitState now;
  now.ahead = ahead_.size();
  now.asked_bytes = bytes();
  now.available_bytes = use.available_bytes;
  for (const PartitionInfo& partition : partitions) {
    if (partition.device_key != request_.device.key || partition.state != PartitionState::kActive) {
      continue;
    }
    if (!now.next_to_end || partition.remaining_ns < now.next_to_end->remaining_ns) {
      now.next_to_end = partition;
    }
  }
  std::pair<std::size_t, std::string> news{now.ahead,
                                           now.next_to_end ? now.next_to_end->token : ""};
  if (told_ == news) return;
  told_ = std::move(news);
  options_.on_change(now);
}

void Registry::Wait::watch(bool first) {
  std::optional<FileName> wanted;
  if (!first) wanted = ahead_.back().ticket.file;
  if (watch_ && (wanted ? watched_ && watched_->token == wanted->token : !watched_)) return;
  watch_.reset(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  watched_ = wanted;
  // A machine may have no watch left to give; the look each second is then all there is.
  if (!watch_) return;
  const std::string path = fmt::format("/proc/self/fd/{}{}{}", state().fd(), wanted ? "/" : "/.",
                                       wanted ? wanted->text() : "");
  constexpr std::uint32_t kTicket = IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE_SELF | IN_DONT_FOLLOW;
  constexpr std::uint32_t kFolder =
      IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE | IN_MOVED_FROM | IN_ONLYDIR;
  if (::inotify_add_watch(watch_.get(), path.c_str(), wanted ? kTicket : kFolder) < 0) {
    // Without procfs by its path; a ticket that has just gone is noticed by the next look.
    const std::string plain = state().path() + (wanted ? "/" + wanted->text() : "");
    if (::inotify_add_watch(watch_.get(), plain.c_str(), wanted ? kTicket : kFolder) < 0) {
      watch_.reset();
    }
  }
}

Result<void> Registry::Wait::arm(const std::vector<PartitionInfo>& partitions, bool first) {
  if (!timer_) timer_.reset(::timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!timer_) return fail(ErrorCode::kSystem, "timerfd_create: " + errno_text(errno));
  const std::uint64_t now = now_ns();
  std::optional<std::uint64_t> due;
  auto at = [&](std::uint64_t when) { due = std::min(due.value_or(when), when); };
  if (give_up_at_) at(*give_up_at_);
  bool silent = false;  // room may come without a word
  for (const PartitionInfo& partition : partitions) {
    if (partition.device_key != request_.device.key) continue;
    silent = silent || partition.held || partition.state == PartitionState::kDraining;
    if (first && partition.state == PartitionState::kActive) at(now + partition.remaining_ns);
  }
  if (!first || silent || !watch_) at(now + pause_ns_);
  pause_ns_ = std::min(2 * pause_ns_, kLookEvery);
  itimerspec when{};
  if (due) {
    const std::uint64_t ns = std::max(*due, std::uint64_t{1});
    when.it_value = {static_cast<time_t>(ns / kNanosPerSecond),
                     static_cast<long>(ns % kNanosPerSecond)};
  }
  if (::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr) != 0) {
    return fail(ErrorCode::kSystem, "timerfd_settime: " + errno_text(errno));
  }
  return {};
}

Registry::Wait::Woken Registry::Wait::sleep() {
  for (;;) {
    std::array<pollfd, 3> waits = {pollfd{timer_.get(), POLLIN, 0}, pollfd{watch_.get(), POLLIN, 0},
                                   pollfd{options_.cancel_fd, POLLIN, 0}};
    if (::poll(waits.data(), waits.size(), -1) < 0) continue;  // a signal of the program's own
    if (waits[2].revents != 0) return Woken::kCancelled;
    if (give_up_at_ && now_ns() >= *give_up_at_) return Woken::kTimeIsUp;
    bool look = false;
    std::uint64_t count = 0;
    if (waits[0].revents != 0 && ::read(timer_.get(), &count, sizeof count) > 0) look = true;
    if (waits[1].revents != 0) {
      alignas(inotify_event) char buffer[4096];
      ssize_t got = 0;
      while ((got = ::read(watch_.get(), buffer, sizeof buffer)) > 0) {
        pause_ns_ = kLookSoon;
        for (const char* event = buffer; event < buffer + got;) {
          const auto* header = reinterpret_cast<const inotify_event*>(event);
          // Those behind us come and go, counters move: only grants and ledgers make room.
          auto name = FileName::parse(header->len > 0 ? header->name : "");
          look = look || watched_ ||
                 (name && (name->kind == FileKind::kGrant || name->kind == FileKind::kLedger)) ||
                 (header->mask & IN_Q_OVERFLOW) != 0;
          event += sizeof(inotify_event) + header->len;
        }
      }
    }
    CHRONOS_POINT(wait_woken);
    if (look) return Woken::kLook;
  }
}

Result<PartitionInfo> Registry::Wait::run() {
  if (bytes() > request_.device.total_bytes) {
    return tl::unexpected<Error>(
        no_capacity("the device has less, so there is nothing to wait for"));
  }
  auto made = join();
  for (;;) {
    if (!made) return pass_on(made);
    if (*made) return std::move(**made);
    made = look();
    if (!made || *made) continue;
    switch (sleep()) {
      case Woken::kLook:
        break;
      case Woken::kTimeIsUp:
        return tl::unexpected<Error>(no_capacity("waited " + format_duration(*options_.timeout_ns) +
                                                 (ahead_.empty() ? "" : ", others are before it")));
      case Woken::kCancelled:
        return fail(ErrorCode::kCancelled, "gave up waiting");
    }
  }
}

Result<PartitionInfo> Registry::create_when_free(const CreateRequest& request,
                                                 const WaitOptions& options) {
  auto owner = check(request);
  if (!owner) return pass_on(owner);
  return Wait(*this, request, *owner, options).run();
}

}  // namespace chronos
