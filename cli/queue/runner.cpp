#include "cli/queue/runner.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <initializer_list>
#include <string_view>

#include "core/text.hpp"

namespace chronos::queue {
namespace {

constexpr std::size_t kMostClients = 512;
constexpr std::uint64_t kLookEvery = kNanosPerSecond;

std::uint64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * kNanosPerSecond +
         static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace

Runner::Runner(const Place& place, const RunnerOptions& options, Store store, Registry registry,
               RunnerLink link, const cli::InheritedSignals& signals)
    : place_(place),
      options_(options),
      store_(std::move(store)),
      registry_(std::move(registry)),
      link_(std::move(link)),
      inherited_(signals),
      log_(place.runner_log(), !options.on_demand) {}

Result<int> Runner::run(const Place& place, const RunnerOptions& options,
                        const cli::InheritedSignals& signals) {
  ::unsetenv(kTokenVariable);  // of a job that has started us
  auto link = RunnerLink::take(place, options.on_demand, options.on_demand ? 0 : 10'000);
  if (!link) return pass_on(link);
  auto store = Store::open(place);
  if (!store) return pass_on(store);
  auto registry = Registry::open();
  if (!registry) return pass_on(registry);
  Runner runner(place, options, std::move(*store), std::move(*registry), std::move(*link), signals);
  return runner.loop();
}

Result<int> Runner::loop() {
  sigset_t ours;
  ::sigemptyset(&ours);
  for (int number : {SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&ours, number);
  ::sigprocmask(SIG_BLOCK, &ours, nullptr);
  signals_.reset(::signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) return fail(ErrorCode::kSystem, "signalfd: " + errno_text(errno));
  log_.write(fmt::format("started (pid {})", ::getpid()));
  auto recovered = recover();
  if (!recovered) return pass_on(recovered);
  if (options_.ready_fd >= 0) ::close(options_.ready_fd);
  notifier_.say("READY=1\nSTATUS=Serving the queue");
  idle_since_ = now_ns();
  while (!leaving_) {
    if (look_again_) {
      look_again_ = false;
      pass();
    }
    if (may_leave()) break;
    sleep_and_react();
  }
  notifier_.say("STOPPING=1");
  link_.stop_listening();
  leave_line();
  // Those without partitions read the end of their pipes; all others go on without us.
  log_.write("ended; what runs goes on");
  return 0;
}

// An idle runner that nobody asked for by hand goes. What came in until the last moment is seen.
bool Runner::may_leave() {
  if (!options_.on_demand || work_left_ || !children_.empty() || !hooks_.empty() || look_again_) {
    return false;
  }
  if (now_ns() < idle_since_ + options_.idle_ns) return false;
  link_.stop_listening();
  auto counts = store_.counts();
  if (counts && counts->pending + counts->active == 0) return true;
  auto listening = link_.listen();
  if (!listening) return true;
  look_again_ = true;
  return false;
}

std::optional<std::uint64_t> Runner::next_wake_ns() const {
  std::optional<std::uint64_t> wake = wake_at_;
  auto at = [&](std::uint64_t when) { wake = std::min(wake.value_or(when), when); };
  if (soon_ns_ > 0) at(now_ns() + soon_ns_);
  if (held_back_until_ > 0) at(held_back_until_);
  if (options_.on_demand && !work_left_ && children_.empty() && hooks_.empty())
    at(idle_since_ + options_.idle_ns);
  return wake;
}

void Runner::sleep_and_react() {
  std::vector<pollfd> waits = {{signals_.get(), POLLIN, 0},
                               {link_.fd(), POLLIN, 0},
                               {watch_.get(), POLLIN, 0},
                               {in_line_ ? in_line_->reservation.fd() : -1, POLLIN, 0},
                               {holders_.fd(), POLLIN, 0}};
  const std::size_t first_client = waits.size();
  for (const UniqueFd& client : clients_) waits.push_back({client.get(), POLLIN, 0});
  const std::size_t first_child = waits.size();
  std::vector<JobId> ids;
  for (const auto& [id, child] : children_) {
    ids.push_back(id);
    waits.push_back({child.ended.get(), POLLIN, 0});
  }
  const std::size_t first_hook = waits.size();
  std::vector<JobId> hook_ids;
  for (const auto& [id, hook] : hooks_) {
    hook_ids.push_back(id);
    waits.push_back({hook.ended.get(), POLLIN, 0});
  }
  const auto wake = next_wake_ns();
  timespec timeout{};
  if (wake) {
    const std::uint64_t now = now_ns(), left = *wake > now ? *wake - now : 0;
    timeout = {static_cast<time_t>(left / kNanosPerSecond),
               static_cast<long>(left % kNanosPerSecond)};
  }
  const int ready = ::ppoll(waits.data(), waits.size(), wake ? &timeout : nullptr, nullptr);
  if (ready < 0) return;  // a signal that is not ours
  if (ready == 0) {
    soon_ns_ = soon_ns_ == 0 ? 0 : std::min(2 * soon_ns_, kLookEvery);
    look_again_ = true;
    return;
  }
  if (waits[0].revents != 0) react_to_signals();
  if (waits[2].revents != 0 && read_watch()) {
    // A dying process closes its files a moment before it counts as dead.
    soon_ns_ = kLookEvery / 100;
    look_again_ = true;
  }
  if (waits[3].revents != 0) look_at_line();
  if (waits[4].revents != 0) {
    holders_.set({});  // the next look sets it anew, if it comes that far
    look_again_ = true;
  }
  for (std::size_t place = 0; place < ids.size(); ++place) {
    if (waits[first_child + place].revents != 0) child_ended(ids[place]);
  }
  for (std::size_t place = 0; place < hook_ids.size(); ++place) {
    if (waits[first_hook + place].revents == 0) continue;
    retry_eintr([&] { return ::waitpid(hooks_[hook_ids[place]].pid, nullptr, 0); });
    hooks_.erase(hook_ids[place]);
  }
  for (std::size_t place = first_child - first_client; place-- > 0;) {
    if (waits[first_client + place].revents != 0) serve(place);
  }
  if (waits[1].revents != 0) accept_clients();
}

void Runner::react_to_signals() {
  signalfd_siginfo came{};
  while (::read(signals_.get(), &came, sizeof came) == sizeof came) {
    if (came.ssi_signo == SIGHUP) {
      devices_.clear();  // looked for again
      look_again_ = true;
    } else {
      leaving_ = true;
    }
  }
}

void Runner::accept_clients() {
  for (;;) {
    UniqueFd client = link_.accept();
    if (!client) return;
    if (clients_.size() < kMostClients) clients_.push_back(std::move(client));
  }
}

// "changed", or from a runner that is to stay: "leave". Whoever says anything else is not one of
// ours.
void Runner::serve(std::size_t place) {
  char text[64];
  const ssize_t got = ::recv(clients_[place].get(), text, sizeof text, 0);
  const std::string_view word(text, static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  const bool known = word == "changed\n" || word == "leave\n";
  if (!known || ::send(clients_[place].get(), "ok\n", 3, MSG_NOSIGNAL) != 3) {
    clients_.erase(clients_.begin() + static_cast<std::ptrdiff_t>(place));
    return;
  }
  look_again_ = true;
  if (word == "leave\n") leaving_ = true;
}

// True if a partition has changed, which may have made room.
bool Runner::read_watch() {
  alignas(inotify_event) char buffer[4096];
  bool changed = false;
  for (;;) {
    const ssize_t got = ::read(watch_.get(), buffer, sizeof buffer);
    if (got <= 0) return changed;
    for (const char* at = buffer; at < buffer + got;) {
      const auto* event = reinterpret_cast<const inotify_event*>(at);
      const std::string_view name = event->len > 0 ? event->name : "";
      changed = changed || (event->mask & IN_Q_OVERFLOW) != 0 || name.ends_with(".grant") ||
                name.ends_with(".ledger") || name.ends_with(".ticket");
      at += sizeof(inotify_event) + event->len;
    }
  }
}

}  // namespace chronos::queue
