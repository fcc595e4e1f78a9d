#include "cli/queue/log_pump.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "core/text.hpp"

namespace chronos::queue {
namespace {

constexpr std::size_t kChunk = 65536;  // what a pipe holds

}  // namespace

struct LogPump::Work {
  explicit Work(RotatedLog to) : log(std::move(to)) {}

  RotatedLog log;  // the thread's, until it is joined
  UniqueFd read_end, write_end, stop;
  std::thread thread;

  void run();
};

// Until it is told to stop, and then what is in the pipe.
void LogPump::Work::run() {
  std::vector<char> buffer(kChunk);
  std::optional<std::size_t> left;  // once it is told to stop
  while (!left || *left > 0) {
    std::array<pollfd, 2> waits = {pollfd{read_end.get(), POLLIN, 0},
                                   pollfd{stop.get(), POLLIN, 0}};
    if (!left && ::poll(waits.data(), waits.size(), -1) < 0 && errno != EINTR) break;
    if (!left && waits[1].revents != 0) {
      // Not more: somebody who could not be ended may go on for ever.
      left = static_cast<std::size_t>(std::max(::fcntl(read_end.get(), F_GETPIPE_SZ), 0));
    }
    const ssize_t got =
        retry_eintr([&] { return ::read(read_end.get(), buffer.data(), buffer.size()); });
    if (got > 0) {
      log.write({buffer.data(), static_cast<std::size_t>(got)});
      if (left) *left -= std::min(*left, static_cast<std::size_t>(got));
    } else if (left || got == 0) {
      break;
    }
  }
  log.end();
}

LogPump::LogPump(std::unique_ptr<Work> work) : work_(std::move(work)) {}
LogPump::LogPump(LogPump&&) noexcept = default;
LogPump::~LogPump() {
  if (work_) finish();
}

int LogPump::fd() const { return work_->write_end.get(); }

Result<LogPump> LogPump::start(RotatedLog log) {
  auto work = std::make_unique<Work>(std::move(log));
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    return fail(ErrorCode::kSystem, "pipe2: " + errno_text(errno));
  }
  work->read_end.reset(ends[0]);
  work->write_end.reset(ends[1]);
  work->stop.reset(::eventfd(0, EFD_CLOEXEC));
  // Ours alone: the flag belongs to the end, and a program wants its own to block.
  if (!work->stop || ::fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0) {
    return fail(ErrorCode::kSystem, "eventfd: " + errno_text(errno));
  }
  // Signals are the supervisor's, which waits for them on a descriptor.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = 0;
  try {
    work->thread = std::thread([raw = work.get()] { raw->run(); });
  } catch (const std::system_error& failed) {
    error = failed.code().value();
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) return fail(ErrorCode::kSystem, "cannot start a thread: " + errno_text(error));
  return LogPump(std::move(work));
}

const RotatedLog& LogPump::finish() {
  if (work_->thread.joinable()) {
    const std::uint64_t one = 1;
    [[maybe_unused]] ssize_t told = ::write(work_->stop.get(), &one, sizeof one);
    work_->thread.join();
    work_->read_end.reset();
    work_->write_end.reset();
  }
  return work_->log;
}

}  // namespace chronos::queue
