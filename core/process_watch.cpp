#include "core/process_watch.hpp"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

namespace chronos {

int ProcessWatch::fd() {
  if (!epoll_) epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  return epoll_.get();
}

bool ProcessWatch::set(const std::vector<ProcessIdentity>& processes) {
  // What has ended would wake us for ever.
  std::erase_if(watched_, [&](const Watched& one) {
    pollfd ended{one.ended.get(), POLLIN, 0};
    return ::poll(&ended, 1, 0) != 0 ||
           std::find(processes.begin(), processes.end(), one.process) == processes.end();
  });
  bool all = true;
  for (const ProcessIdentity& process : processes) {
    const bool known = std::any_of(watched_.begin(), watched_.end(),
                                   [&](const Watched& one) { return one.process == process; });
    if (!known) all = add(process) && all;
  }
  return all;
}

bool ProcessWatch::add(const ProcessIdentity& process) {
  if (process.pid <= 0 || fd() < 0) return false;
  UniqueFd ended(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0)));
  // Opened first, looked at second: what we watch is what was meant.
  if (!ended || liveness_of(process) != Liveness::kAlive) return false;
  epoll_event event{EPOLLIN, {}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, ended.get(), &event) != 0) return false;
  watched_.push_back({process, std::move(ended)});
  return true;
}

}  // namespace chronos
