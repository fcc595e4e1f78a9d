#include "cli/queue/link.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <vector>

#include "core/paths.hpp"
#include "core/report.hpp"
#include "core/state_dir.hpp"
#include "core/text.hpp"

namespace chronos::queue {
namespace {

constexpr int kAnswerMs = 10'000;
constexpr int kReadyMs = 30'000;

struct flock whole_file() {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

std::optional<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) return std::nullopt;
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

bool is_own(int connection) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return ::getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
         (peer.uid == ::geteuid() || peer.uid == 0);
}

Json runner_record(const Place& place) {
  std::string text;
  if (!read_small_file(place.runner_file().c_str(), text)) return Json();
  return Json::parse(text, nullptr, false);
}

std::string socket_of(const Json& record) {
  if (!record.is_object() || !record.contains("socket") || !record["socket"].is_string()) return {};
  return record["socket"].get<std::string>();
}

bool is_on_demand(const Json& record) {
  return record.is_object() && record.contains("on_demand") && record["on_demand"] == true;
}

// In a child whose parent is waiting for its child: nobody's child, in a session of its own.
[[noreturn]] void become_runner(const std::string& program, int ready_fd) {
  ::setsid();
  if (::fork() != 0) ::_exit(0);
  const int null = ::open("/dev/null", O_RDWR);
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(null, fd);
  // What the caller has open, a lock or a pipe that somebody reads to its end, is not for us to
  // keep.
  constexpr int kReadyFd = 3;
  if (ready_fd != kReadyFd) ::dup2(ready_fd, kReadyFd);
  ::fcntl(kReadyFd, F_SETFD, 0);
  ::closefrom(kReadyFd + 1);
  if (::chdir("/") != 0) ::_exit(127);
  ::execl(program.c_str(), "chronosd", "--on-demand", "--ready-fd", "3", nullptr);
  ::_exit(127);
}

Result<void> start_runner() {
  const std::string program = runner_path();
  if (program.empty()) {
    return fail(ErrorCode::kSystem, "chronosd is missing from this installation",
                "it belongs beside chronos; install Chronos again");
  }
  // The runner works in another folder than the command that starts it.
  const char* state = trusted_env("CHRONOS_STATE_DIR");
  char resolved[PATH_MAX];
  if (state != nullptr && ::realpath(state, resolved) != nullptr) {
    ::setenv("CHRONOS_STATE_DIR", resolved, 1);
  }
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    return fail(ErrorCode::kSystem, "pipe2: " + errno_text(errno));
  }
  UniqueFd ready(ends[0]), theirs(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) {
    return fail(ErrorCode::kSystem, "cannot start chronosd: " + errno_text(errno));
  }
  if (child == 0) become_runner(program, theirs.get());
  theirs.reset();
  retry_eintr([&] { return ::waitpid(child, nullptr, 0); });
  pollfd wait{ready.get(), POLLIN, 0};
  retry_eintr([&] { return ::poll(&wait, 1, kReadyMs); });
  return {};
}

}  // namespace

int runner_pid(const Place& place) {
  UniqueFd fd(::open(place.runner_file().c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return 0;
  struct flock lock = whole_file();
  if (::fcntl(fd.get(), F_GETLK, &lock) != 0 || lock.l_type == F_UNLCK) return 0;
  return lock.l_pid;
}

UniqueFd call_runner(const Place& place, const char* word) {
  auto address = address_of(socket_of(runner_record(place)));
  if (!address) return {};
  UniqueFd connection(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!connection ||
      ::connect(connection.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) !=
          0 ||
      !is_own(connection.get())) {
    return {};
  }
  const std::string line = fmt::format("{}\n", word);
  if (::send(connection.get(), line.data(), line.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(line.size())) {
    return {};
  }
  pollfd wait{connection.get(), POLLIN, 0};
  char answer[8];
  if (retry_eintr([&] { return ::poll(&wait, 1, kAnswerMs); }) != 1 ||
      ::recv(connection.get(), answer, sizeof answer, 0) < 3) {
    return {};
  }
  return connection;
}

Result<bool> tell_runner(const Place& place) {
  return static_cast<bool>(call_runner(place, "changed"));
}

Result<void> ensure_runner(const Place& place) {
  // A runner may leave in the moment in which it is called; the next one finds the queue.
  for (int tries = 0; tries < 3; ++tries) {
    if (*tell_runner(place)) return {};
    auto started = start_runner();
    if (!started) return started;
  }
  if (*tell_runner(place)) return {};
  return fail(ErrorCode::kSystem, "chronosd does not start, or ends at once",
              "run `chronosd` by hand to see why; " + place.runner_log() + " may say more");
}

Result<RunnerLink> RunnerLink::take(const Place& place, bool on_demand, int patience_ms) {
  UniqueFd fd(::open(place.runner_file().c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) {
    return fail(
        ErrorCode::kSystem,
        fmt::format("cannot open {}: {}", chronos::quoted(place.runner_file()), errno_text(errno)));
  }
  struct flock lock = whole_file();
  bool asked = false;
  for (int waited = 0; ::fcntl(fd.get(), F_SETLK, &lock) != 0; waited += 10) {
    if (errno != EAGAIN && errno != EACCES && errno != EINTR) {
      return fail(ErrorCode::kSystem, "cannot lock the queue: " + errno_text(errno));
    }
    // Read through the descriptor that we have: to close another one of the file drops locks.
    char text[4096];
    const ssize_t got = ::pread(fd.get(), text, sizeof text, 0);
    const Json record = Json::parse(
        std::string(text, static_cast<std::size_t>(std::max<ssize_t>(got, 0))), nullptr, false);
    if (!on_demand && !asked && is_on_demand(record)) {
      asked = static_cast<bool>(call_runner(place, "leave"));
    }
    if (waited >= patience_ms || (!on_demand && !asked)) {
      return fail(ErrorCode::kInUse,
                  fmt::format("another chronosd of yours is running (pid {})", runner_pid(place)),
                  "one is enough: it serves the whole queue");
    }
    timespec pause{0, 10'000'000};
    ::nanosleep(&pause, nullptr);
  }
  RunnerLink link(place, on_demand, std::move(fd));
  auto listening = link.listen();
  if (!listening) return pass_on(listening);
  return link;
}

Result<void> RunnerLink::listen() {
  UniqueFd made(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!made) return fail(ErrorCode::kSystem, "socket: " + errno_text(errno));
  // A place for each queue; the second where the first does not do.
  struct stat folder {};
  ::stat(place_.folder.c_str(), &folder);
  std::vector<std::string> paths;
  const char* runtime = trusted_env("XDG_RUNTIME_DIR");
  struct stat status {};
  if (runtime != nullptr && runtime[0] == '/' && ::stat(runtime, &status) == 0 &&
      status.st_uid == ::geteuid() && (status.st_mode & 0077) == 0) {
    paths.push_back(
        fmt::format("{}/chronos-queue-{:x}-{:x}", runtime, folder.st_dev, folder.st_ino));
  }
  paths.push_back(place_.folder + "/runner.socket");
  paths.push_back(
      fmt::format("/tmp/chronos-queue-{}-{:x}-{:x}", ::geteuid(), folder.st_dev, folder.st_ino));
  int error = ENAMETOOLONG;
  for (const std::string& path : paths) {
    auto address = address_of(path);
    if (!address) continue;
    ::unlink(path.c_str());  // of a runner that is dead: we have its lock
    const mode_t before = ::umask(0177);
    const int bound =
        ::bind(made.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address);
    error = errno;
    ::umask(before);
    if (bound != 0 || ::listen(made.get(), 64) != 0) continue;
    Json record;
    record["pid"] = ::getpid();
    record["socket"] = path;
    record["on_demand"] = on_demand_;
    const std::string text = json_text(record) + "\n";
    if (::ftruncate(lock_.get(), 0) != 0 || !pwrite_all(lock_.get(), text.data(), text.size(), 0)) {
      return fail(ErrorCode::kSystem,
                  "cannot write " + place_.runner_file() + ": " + errno_text(errno));
    }
    socket_ = path;
    listener_ = std::move(made);
    return {};
  }
  return fail(ErrorCode::kSystem, "no place for the runner's socket: " + errno_text(error),
              "set XDG_RUNTIME_DIR to a folder of yours with a short name");
}

UniqueFd RunnerLink::accept() const {
  UniqueFd made(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (made && !is_own(made.get())) made.reset();
  return made;
}

void RunnerLink::stop_listening() {
  if (!socket_.empty()) ::unlink(socket_.c_str());
  socket_.clear();
  listener_.reset();
}

}  // namespace chronos::queue
