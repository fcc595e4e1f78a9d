#include "core/grant_writer.hpp"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <utility>

#include "core/crash_point.hpp"
#include "core/mapped_file.hpp"

namespace chronos {
namespace {

namespace ipc = boost::interprocess;

using Word = std::atomic<std::uint64_t>;

enum class Stored { kYes, kChanged, kFailed };

Stored store(Word& word, std::uint64_t expected, std::uint64_t value) {
  return word.compare_exchange_strong(expected, value) ? Stored::kYes : Stored::kChanged;
}

// The same on a file of somebody else's, who may truncate it at this very moment: that would kill
// us with SIGBUS, so a child of our own takes the risk. pwrite() is no way out, because the kernel
// may copy the word bytewise and a running program would see a mixture of old and new.
//
// The child is made by the bare system call: no fork handler of the host process runs, its end is
// no SIGCHLD (exit signal 0), and nobody else's wait() finds it.
Stored store_in_child(Word& word, std::uint64_t expected, std::uint64_t value) {
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);  // a Ctrl-C must not end the child alone
  const auto child = static_cast<pid_t>(::syscall(SYS_clone, 0L, 0L, 0L, 0L, 0L));
  if (child == 0) {
    struct sigaction give_up {};  // by default there would be a core dump
    give_up.sa_handler = [](int) { ::_exit(static_cast<int>(Stored::kFailed)); };
    ::sigaction(SIGBUS, &give_up, nullptr);
    sigset_t bus;
    sigemptyset(&bus);
    CHRONOS_POINT(word_child_began);
    sigaddset(&bus, SIGBUS);
    ::sigprocmask(SIG_UNBLOCK, &bus, nullptr);
    ::_exit(static_cast<int>(store(word, expected, value)));
  }
  int status = -1;
  if (child > 0) {
    CHRONOS_POINT(word_child_made);
    const pid_t ended = retry_eintr([&] { return ::waitpid(child, &status, __WALL); });
    if (ended != child) status = -1;
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (child < 0 || !WIFEXITED(status)) return Stored::kFailed;
  return static_cast<Stored>(WEXITSTATUS(status));
}

}  // namespace

GrantWriter::GrantWriter(OpenedGrant opened, std::unique_ptr<ipc::mapped_region> region)
    : fd_(std::move(opened.fd)),
      grant_(std::move(opened.grant)),
      words_(opened.words),
      region_(std::move(region)) {}

Result<GrantWriter> GrantWriter::open(const StateDir& state, const FileName& name) {
  auto opened = open_grant(state, name, O_RDWR);
  if (!opened) return pass_on(opened);
  auto region = map_file(opened->fd.get(), ipc::read_write, kGrantFileSize);
  if (!region) return pass_on(region);
  return GrantWriter(std::move(*opened), std::move(*region));
}

Result<void> GrantWriter::replace(std::size_t offset, std::uint64_t& known, std::uint64_t value) {
  if (known == value) return {};
  Word& word = *reinterpret_cast<Word*>(static_cast<char*>(region_->get_address()) + offset);
  const bool own = grant_.shown_creator == ::geteuid();
  const Stored stored = own ? store(word, known, value) : store_in_child(word, known, value);
  CHRONOS_POINT(word_stored);
  if (stored == Stored::kYes) {
    known = value;
    // What follows reads with system calls, which are no fence where a store and a load may pass
    // each other.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    return {};
  }
  return fail(ErrorCode::kSystem,
              stored == Stored::kChanged ? "the grant was changed by somebody else meanwhile"
                                         : "the grant cannot be written",
              "`chronos list` shows how it stands; try again");
}

Result<void> GrantWriter::set_limit(std::uint64_t value) {
  return replace(offsetof(GrantLayout, limit_bytes), words_.limit_bytes, value);
}

Result<void> GrantWriter::set_deadline(std::uint64_t value) {
  return replace(offsetof(GrantLayout, deadline_ns), words_.deadline_ns, value);
}

Result<void> GrantWriter::set_draining(std::uint64_t value) {
  return replace(offsetof(GrantLayout, draining_bytes), words_.draining_bytes, value);
}

}  // namespace chronos
