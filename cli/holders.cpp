#include "cli/holders.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "core/posix.hpp"

namespace chronos::cli {
namespace {

// glibc 2.36 declares its own wrappers without extern "C".
int open_process(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }

bool send_signal(const UniqueFd& process, int number) {
  return ::syscall(SYS_pidfd_send_signal, process.get(), number, nullptr, 0) == 0;
}

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kKillPatience{5};

struct Holder {
  pid_t pid = 0;
  UniqueFd process;  // a pidfd: names this process even when its number is given out again
  bool told = false;
};

Result<std::vector<ProcessUse>> holders_of(Registry& registry, const std::string& handle) {
  Result<PartitionInfo> partition = registry.find(handle);
  if (partition) return std::move(partition->processes);
  if (partition.error().code == ErrorCode::kNotFound) return std::vector<ProcessUse>();
  return pass_on(partition);
}

bool holds(const std::vector<ProcessUse>& processes, pid_t pid) {
  return std::any_of(processes.begin(), processes.end(),
                     [&](const ProcessUse& one) { return one.is_here && one.pid == pid; });
}

void wait_for_all(std::vector<Holder>& holders, Clock::time_point until) {
  while (!holders.empty()) {
    std::vector<pollfd> waits;
    for (const Holder& holder : holders) waits.push_back({holder.process.get(), POLLIN, 0});
    auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    if (::poll(waits.data(), waits.size(), static_cast<int>(std::max<std::int64_t>(left, 0))) < 0 &&
        errno != EINTR) {
      return;
    }
    std::size_t at = 0;
    std::erase_if(holders, [&](const Holder&) { return waits[at++].revents != 0; });
    if (left <= 0) return;
  }
}

void signal_all(std::vector<Holder>& holders, int number) {
  for (Holder& holder : holders) {
    holder.told = send_signal(holder.process, number);
    // A stopped process can do nothing about it.
    if (holder.told) send_signal(holder.process, SIGCONT);
  }
}

}  // namespace

Result<std::vector<ProcessUse>> end_holders(Registry& registry, const std::string& handle,
                                            std::uint64_t grace_ns) {
  auto seen = holders_of(registry, handle);
  if (!seen) return pass_on(seen);
  std::vector<Holder> holders;
  for (const ProcessUse& process : *seen) {
    if (!process.is_here) continue;
    UniqueFd fd(open_process(process.pid));
    if (fd) holders.push_back({process.pid, std::move(fd)});
  }
  // Look again: whoever still holds memory under a number did so when the number was looked up.
  seen = holders_of(registry, handle);
  if (!seen) return pass_on(seen);
  std::erase_if(holders, [&](const Holder& holder) { return !holds(*seen, holder.pid); });

  // Whatever ends the partition for new allocations has been done: nobody joins them.
  const auto grace = std::chrono::nanoseconds(
      std::min<std::uint64_t>(grace_ns, std::chrono::nanoseconds(std::chrono::hours(24)).count()));
  signal_all(holders, SIGTERM);
  std::erase_if(holders, [](const Holder& holder) { return !holder.told; });
  wait_for_all(holders, Clock::now() + grace);
  signal_all(holders, SIGKILL);
  wait_for_all(holders, Clock::now() + kKillPatience);
  return holders_of(registry, handle);
}

}  // namespace chronos::cli
