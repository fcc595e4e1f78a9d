// Reservation: waiting in line, without polling and without a daemon.
//
// Who may be served next watches the state directory (inotify) and the clock, because room appears
// by somebody's file being written, closed or removed, or by a deadline. Who waits for one device
// behind another such watches only the ticket of the one before, so that what happens wakes one
// process and not all. A look
// each second covers what nothing tells: bytes freed in a partition whose time is up, and somebody
// in line who does not take their turn. The end of a process that a partition was made for is
// watched for, where that process can be seen.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <ctime>

#include "core/clock.hpp"
#include "core/crash_point.hpp"
#include "core/partition_files.hpp"
#include "core/process_watch.hpp"
#include "core/registry_line.hpp"
#include "core/registry_lock.hpp"
#include "core/reservation.hpp"
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

using Made = std::vector<PartitionInfo>;

}  // namespace

class Reservation::Waiter {
 public:
  Waiter(Registry& registry, ReserveRequest request, uid_t owner, WaitOptions options)
      : registry_(registry),
        request_(std::move(request)),
        owner_(owner),
        options_(std::move(options)) {
    if (options_.timeout_ns) give_up_at_ = now_ns() + *options_.timeout_ns;
  }

  Result<void> prepare();
  Result<void> join();
  Result<std::optional<Made>> look();
  Result<Made> wait();
  int fd() const { return epoll_.get(); }
  const WaitState& state() const { return state_; }

 private:
  bool take_events();
  bool watch_event(const inotify_event& event) const;
  Result<std::optional<Made>> look_now();
  Result<std::optional<Made>> try_my_turn(Registry::Line line);
  void forget_those_gone();
  bool may_begin(const Registry::Look& seen);
  void note(const Registry::Look& seen);
  void watch(const Waiting* before);
  const Waiting* last_for_our_device() const;
  Result<void> arm(const Registry::Look& seen, bool room_was_there);
  Result<void> arm_at(std::optional<std::uint64_t> due);
  Error no_capacity(const std::string& why) const;

  const StateDir& directory() const { return registry_.state_; }
  bool concerns(const std::string& device_key) const {
    return std::any_of(request_.candidates.begin(), request_.candidates.end(),
                       [&](const Device& one) { return one.key == device_key; });
  }

  Registry& registry_;
  const ReserveRequest request_;
  const uid_t owner_;
  const WaitOptions options_;
  std::optional<std::uint64_t> give_up_at_;

  struct Predecessor {
    Waiting ticket;
    bool concerns_us = false;  // waits for one of our devices, too
    std::optional<Clock::time_point> could_begin_since;
  };
  std::optional<Made> made_;  // by join()
  std::optional<Ticket> ticket_;
  std::vector<Predecessor> ahead_;  // in line when we joined, and still
  UniqueFd epoll_, watch_, timer_;
  ProcessWatch holders_;             // of held partitions on our devices
  std::optional<FileName> watched_;  // whose ticket `watch_` is on; none: on the directory
  WaitState state_;
  std::optional<std::pair<std::size_t, std::string>> told_;
  // Until the next look without an event. A dying process closes its files a moment before its
  // locks are gone and it counts as dead: after an event we look again soon, then less often.
  std::uint64_t pause_ns_ = kLookEvery;
};

Error Reservation::Waiter::no_capacity(const std::string& why) const {
  std::vector<int> numbers;
  for (const Device& device : request_.candidates) numbers.push_back(device.index);
  std::string asked = format_bytes(state_.asked_bytes);
  if (numbers.size() > 1) asked += fmt::format(" on {} of them", request_.count);
  return {ErrorCode::kNoCapacity,
          fmt::format("Not enough available memory on device{} {}", numbers.size() == 1 ? "" : "s",
                      fmt::join(numbers, ", ")),
          fmt::format("asked {}; {}", asked, why)};
}

Result<void> Reservation::Waiter::prepare() {
  for (const Device& device : request_.candidates) {
    state_.asked_bytes = std::max(state_.asked_bytes, request_.memory.on(device.total_bytes));
  }
  const auto large_enough = std::count_if(
      request_.candidates.begin(), request_.candidates.end(), [&](const Device& device) {
        return request_.memory.on(device.total_bytes) <= device.total_bytes;
      });
  if (static_cast<std::size_t>(large_enough) < request_.count) {
    return tl::unexpected<Error>(
        no_capacity("the device has less, so there is nothing to wait for"));
  }
  epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  timer_.reset(::timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK));
  epoll_event event{EPOLLIN, {}};
  if (!epoll_ || !timer_ || ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, timer_.get(), &event) != 0) {
    return fail(ErrorCode::kSystem, "cannot wait: " + errno_text(errno));
  }
  // Without it the look each second is all there is.
  if (holders_.fd() >= 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, holders_.fd(), &event);
  return {};
}

// Gets the partitions at once where there is room and nobody in line, else a place in it.
Result<void> Reservation::Waiter::join() {
  auto lock = RegistryLock::acquire(directory());
  if (!lock) return pass_on(lock);
  Registry::Line line;
  auto made = registry_.admit(request_, owner_, line);
  if (made) {
    made_ = std::move(*made);
    return arm_at(1);
  }
  if (made.error().code != ErrorCode::kNoCapacity) return pass_on(made);
  auto names = scan(directory());
  if (!names) return pass_on(names);
  std::uint64_t last = 0;
  for (Waiting& waiting : read_tickets(directory(), *names)) {
    last = std::max(last, waiting.number);
    const auto& wishes = waiting.claim.wishes;
    const bool concerns_us = std::any_of(
        wishes.begin(), wishes.end(), [&](const auto& wish) { return concerns(wish.device_key); });
    ahead_.push_back({std::move(waiting), concerns_us, {}});
  }
  Claim claim{{}, request_.count, request_.duration_ns};
  for (const Device& device : request_.candidates) {
    claim.wishes.push_back({device.key, request_.memory.on(device.total_bytes)});
  }
  auto ticket = Ticket::take(directory(), claim, last);
  if (!ticket) return pass_on(ticket);
  ticket_.emplace(std::move(*ticket));
  CHRONOS_POINT(wait_joined);
  return arm_at(1);
}

void Reservation::Waiter::forget_those_gone() {
  std::erase_if(ahead_,
                [&](const Predecessor& one) { return !is_waiting(directory(), one.ticket.file); });
}

// Whether it looks like our turn. Who could have begun for a while and has not is passed over:
// stopped, or worse.
bool Reservation::Waiter::may_begin(const Registry::Look& seen) {
  std::vector<Waiting> ahead;
  for (const Predecessor& one : ahead_) ahead.push_back(one.ticket);
  Registry::Judged judged = registry_.weigh(request_, owner_, seen, ahead);
  const Clock::time_point now = Clock::now();
  const std::vector<bool> could = judged.pass([&](std::size_t i) {
    const auto& since = ahead_[i].could_begin_since;
    return since && now - *since >= kTurn;
  });
  for (std::size_t i = 0; i < could.size(); ++i) {
    auto& since = ahead_[i].could_begin_since;
    if (!could[i]) {
      since.reset();
    } else if (!since) {
      since = now;
    }
  }
  const Turn turn = turn_of(judged.outlook, judged.claim, request_.choice, judged.ahead);
  state_.with_room = turn.with_room;
  return turn.chosen.size() == request_.count;
}

Result<std::optional<Made>> Reservation::Waiter::try_my_turn(Registry::Line line) {
  auto lock = RegistryLock::acquire(directory());
  if (!lock) {
    // Whoever holds it for so long will let go or die; there is nothing to lose by waiting on.
    if (lock.error().code == ErrorCode::kBusy) return std::optional<Made>();
    return pass_on(lock);
  }
  CHRONOS_POINT(wait_my_turn);
  auto made = registry_.admit(request_, owner_, line);
  CHRONOS_POINT(wait_tried);
  if (made) return std::optional(std::move(*made));
  if (made.error().code == ErrorCode::kNoCapacity) return std::optional<Made>();
  return pass_on(made);
}

// One look at how things stand: the partitions if it is our turn and there is room.
Result<std::optional<Made>> Reservation::Waiter::look_now() {
  forget_those_gone();
  // Watched first, looked at second: what happens in between wakes us.
  watch(last_for_our_device());
  CHRONOS_POINT(wait_watching);
  forget_those_gone();
  if (watched_ && last_for_our_device() == nullptr) watch(nullptr);
  auto seen = registry_.look_and_tidy();
  if (!seen) return pass_on(seen);
  bool room_was_there = false;
  if (may_begin(*seen)) {
    Registry::Line line;
    line.ahead.emplace();
    for (const Predecessor& one : ahead_) {
      const bool passed = one.could_begin_since && Clock::now() - *one.could_begin_since >= kTurn;
      if (!passed) line.ahead->push_back(one.ticket);
    }
    auto made = try_my_turn(std::move(line));
    if (!made || *made) {
      ticket_.reset();
      return made;
    }
    room_was_there = true;
  }
  note(*seen);
  CHRONOS_POINT(wait_looked);
  auto armed = arm(*seen, room_was_there);
  if (!armed) return pass_on(armed);
  return std::optional<Made>();
}

void Reservation::Waiter::note(const Registry::Look& seen) {
  state_.ahead = static_cast<std::size_t>(std::count_if(
      ahead_.begin(), ahead_.end(), [](const Predecessor& one) { return one.concerns_us; }));
  state_.available_bytes = 0;
  state_.next_to_end.reset();
  for (const Device& device : request_.candidates) {
    state_.available_bytes = std::max(state_.available_bytes, seen.use_of(device).available_bytes);
  }
  const Registry::Entry* next = nullptr;
  for (const Registry::Entry& entry : seen.entries) {
    if (entry.over || !concerns(entry.grant.device_key)) continue;
    if (next == nullptr || entry.grant.deadline_ns < next->grant.deadline_ns) next = &entry;
  }
  if (next != nullptr) state_.next_to_end = next->info();
  if (!options_.on_change) return;
  std::pair<std::size_t, std::string> news{state_.ahead,
                                           next == nullptr ? "" : state_.next_to_end->token};
  if (told_ == news) return;
  told_ = std::move(news);
  options_.on_change(state_);
}

// Where we wait for one device, and somebody before us for the same one, nothing is to be had until
// they are gone.
const Waiting* Reservation::Waiter::last_for_our_device() const {
  if (request_.candidates.size() > 1) return nullptr;
  const Waiting* last = nullptr;
  for (const Predecessor& one : ahead_) {
    if (one.concerns_us && one.ticket.claim.is_for_one_device()) last = &one.ticket;
  }
  return last;
}

// The ticket of `before`; without one the directory.
void Reservation::Waiter::watch(const Waiting* before) {
  std::optional<FileName> wanted;
  if (before != nullptr) wanted = before->file;
  if (watch_ && (wanted ? watched_ && watched_->token == wanted->token : !watched_)) return;
  watch_.reset(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  watched_ = wanted;
  // A machine may have no watch left to give; the look each second is then all there is.
  if (!watch_) return;
  const std::string path = fmt::format("/proc/self/fd/{}{}{}", directory().fd(),
                                       wanted ? "/" : "/.", wanted ? wanted->text() : "");
  constexpr std::uint32_t kTicket = IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE_SELF | IN_DONT_FOLLOW;
  constexpr std::uint32_t kFolder =
      IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE | IN_MOVED_FROM | IN_ONLYDIR;
  // Without procfs by its path; a ticket that has just gone is noticed by the next look.
  const std::string plain = directory().path() + (wanted ? "/" + wanted->text() : "");
  epoll_event event{EPOLLIN, {}};
  const bool watching =
      (::inotify_add_watch(watch_.get(), path.c_str(), wanted ? kTicket : kFolder) >= 0 ||
       ::inotify_add_watch(watch_.get(), plain.c_str(), wanted ? kTicket : kFolder) >= 0) &&
      ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, watch_.get(), &event) == 0;
  if (!watching) watch_.reset();
}

Result<void> Reservation::Waiter::arm(const Registry::Look& seen, bool room_was_there) {
  const std::uint64_t boot = boot_now(), now = now_ns();
  const bool next = state_.ahead == 0 && !room_was_there;
  std::optional<std::uint64_t> due = give_up_at_;
  auto at = [&](std::uint64_t when) { due = std::min(due.value_or(when), when); };
  bool silent = false;  // room may come without a word
  std::vector<ProcessIdentity> holders;
  for (const Registry::Entry& entry : seen.entries) {
    if (!concerns(entry.grant.device_key)) continue;
    silent = silent || entry.over;
    if (entry.grant.held && !entry.over) holders.push_back(entry.grant.holder);
    const std::uint64_t deadline = entry.grant.deadline_ns;
    if (next && !entry.over) at(now + (deadline > boot ? deadline - boot : 0));
  }
  silent = !holders_.set(holders) || silent;
  if (!next || silent || !watch_) at(now + pause_ns_);
  pause_ns_ = std::min(2 * pause_ns_, kLookEvery);
  return arm_at(due);
}

Result<void> Reservation::Waiter::arm_at(std::optional<std::uint64_t> due) {
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

// Whether something may have made room: those behind us come and go, counters move.
bool Reservation::Waiter::watch_event(const inotify_event& event) const {
  if (watched_ || (event.mask & IN_Q_OVERFLOW) != 0) return true;
  const auto name = FileName::parse(event.len > 0 ? event.name : "");
  if (!name) return false;
  if (name->kind == FileKind::kGrant || name->kind == FileKind::kLedger) return true;
  return std::any_of(ahead_.begin(), ahead_.end(),
                     [&](const Predecessor& one) { return one.ticket.file.token == name->token; });
}

// Empties what fd() says can be read. Whether it is time for a look.
bool Reservation::Waiter::take_events() {
  std::uint64_t count = 0;
  bool look = ::read(timer_.get(), &count, sizeof count) > 0;
  pollfd ended{holders_.fd(), POLLIN, 0};
  look = ::poll(&ended, 1, 0) == 1 || look;
  alignas(inotify_event) char buffer[4096];
  ssize_t got = 0;
  while (watch_ && (got = ::read(watch_.get(), buffer, sizeof buffer)) > 0) {
    pause_ns_ = kLookSoon;
    for (const char* at = buffer; at < buffer + got;) {
      const auto* event = reinterpret_cast<const inotify_event*>(at);
      look = watch_event(*event) || look;
      at += sizeof(inotify_event) + event->len;
    }
  }
  CHRONOS_POINT(wait_woken);
  return look;
}

Result<std::optional<Made>> Reservation::Waiter::look() {
  const bool look = take_events();
  if (made_) return std::exchange(made_, std::nullopt);
  const bool time_is_up = give_up_at_ && now_ns() >= *give_up_at_;
  if (look) {
    auto found = look_now();
    if (!found || *found) return found;
  }
  if (!time_is_up) return std::optional<Made>();
  ticket_.reset();
  return tl::unexpected<Error>(no_capacity("waited " + format_duration(*options_.timeout_ns) +
                                           (state_.ahead == 0 ? "" : ", others are before it")));
}

Result<Made> Reservation::Waiter::wait() {
  for (;;) {
    auto found = look();
    if (!found) return pass_on(found);
    if (*found) return std::move(**found);
    std::array<pollfd, 2> waits = {pollfd{epoll_.get(), POLLIN, 0},
                                   pollfd{options_.cancel_fd, POLLIN, 0}};
    // Signals of the program's own end no wait.
    while (::poll(waits.data(), waits.size(), -1) < 0) continue;
    if (waits[1].revents != 0) {
      ticket_.reset();
      return fail(ErrorCode::kCancelled, "gave up waiting");
    }
  }
}

Reservation::Reservation(std::unique_ptr<Waiter> waiter) : waiter_(std::move(waiter)) {}
Reservation::Reservation(Reservation&&) noexcept = default;
Reservation& Reservation::operator=(Reservation&&) noexcept = default;
Reservation::~Reservation() = default;

Result<Reservation> Reservation::join(Registry& registry, ReserveRequest request,
                                      WaitOptions options) {
  auto owner = registry.check(request);
  if (!owner) return pass_on(owner);
  auto waiter = std::make_unique<Waiter>(registry, std::move(request), *owner, std::move(options));
  auto joined = waiter->prepare();
  if (joined) joined = waiter->join();
  if (!joined) return pass_on(joined);
  return Reservation(std::move(waiter));
}

int Reservation::fd() const { return waiter_->fd(); }
Result<std::optional<std::vector<PartitionInfo>>> Reservation::look() { return waiter_->look(); }
Result<std::vector<PartitionInfo>> Reservation::wait() { return waiter_->wait(); }
const WaitState& Reservation::state() const { return waiter_->state(); }

}  // namespace chronos
