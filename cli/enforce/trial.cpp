#include "cli/enforce/trial.hpp"

#include <fmt/format.h>
#include <grp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string_view>
#include <vector>

#include "core/enforce/files.hpp"
#include "core/enforce/places.hpp"
#include "core/paths.hpp"
#include "core/posix.hpp"
#include "core/spawn.hpp"
#include "core/text.hpp"

namespace chronos::cli {
namespace {

constexpr std::chrono::milliseconds kPatience{20'000};
constexpr std::size_t kMostOutput = 1 << 20;
constexpr uid_t kNobody = 65534;
// Starts a shell that starts a program, each by fork and exec, and hands the statuses on.
constexpr char kForks[] = "(exit 3); [ $? = 3 ] && sh -c 'cat /proc/self/maps; exit 4'; [ $? = 4 ]";

struct Attempt {
  std::string what;
  Command command;
  bool shows_maps = false;  // prints /proc/self/maps of itself, or of a child
};

Attempt make(std::string what, std::string program, std::vector<std::string> arguments,
             const std::string& preload, bool shows_maps) {
  Attempt attempt{std::move(what), {std::move(program), std::move(arguments), {}}, shows_maps};
  attempt.command.environment = {"PATH=/usr/bin:/bin", "LC_ALL=C"};
  if (!preload.empty()) attempt.command.environment.push_back("LD_PRELOAD=" + preload);
  return attempt;
}

std::vector<Attempt> attempts(const std::string& preload) {
  std::vector<Attempt> all = {
      make("/bin/true", "/bin/true", {}, preload, false),
      make("/bin/cat", "/bin/cat", {"/proc/self/maps"}, preload, true),
      make("a shell that starts programs", "/bin/sh", {"-c", kForks}, preload, true),
      make("chronos", command_path(), {"--version"}, preload, false)};
  constexpr char kPython[] = "/usr/bin/python3";
  if (::access(kPython, X_OK) == 0) {
    all.push_back(make("python3", kPython, {"-S", "-c", "import ctypes"}, preload, false));
  }
  return all;
}

tl::unexpected<Error> failed(const std::string& what, const std::string& how) {
  return fail(ErrorCode::kDamaged,
              fmt::format("with the library preloaded, {} {}: nothing was switched on", what, how),
              "install Chronos again; `chronos doctor` may tell more");
}

Result<void> judge(const Attempt& attempt, const Captured& run, const std::string& mapped) {
  if (run.start_error != 0) {
    return failed(attempt.what, "cannot be started: " + errno_text(run.start_error));
  }
  if (run.timed_out) return failed(attempt.what, "does not come to an end");
  if (run.status_known && WIFSIGNALED(run.status)) {
    return failed(attempt.what, fmt::format("is killed by signal {}", WTERMSIG(run.status)));
  }
  if (run.status_known && WEXITSTATUS(run.status) != 0) {
    return failed(attempt.what, fmt::format("fails with status {}", WEXITSTATUS(run.status)));
  }
  if (attempt.shows_maps && run.output.find(mapped) == run.output.npos) {
    return failed(attempt.what, "starts without it");
  }
  return {};
}

Result<void> try_all(const std::vector<Attempt>& all, const std::string& mapped) {
  std::vector<Command> commands;
  commands.reserve(all.size());
  for (const Attempt& attempt : all) commands.push_back(attempt.command);
  const std::vector<Captured> runs = run_and_capture(commands, kPatience, kMostOutput);
  for (std::size_t i = 0; i < all.size(); ++i) {
    auto good = judge(all[i], runs[i], mapped);
    if (!good) return good;
  }
  return {};
}

// ---- In a mount namespace of its own -----------------------------------------------------------

enum Answer : int { kGood = 0, kBad = 1, kNotTried = 2 };

bool copy_file(const char* from, const char* to, mode_t mode) {
  std::string bytes;
  if (!read_small_file(from, bytes, std::size_t{64} << 20)) return false;
  UniqueFd fd(::open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  return fd && pwrite_all(fd.get(), bytes.data(), bytes.size(), 0) && ::fchmod(fd.get(), mode) == 0;
}

// An /etc that has nothing but what programs need to start.
bool furnish(const std::string& text) {
  if (::unshare(CLONE_NEWNS) != 0 ||
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return false;
  }
  std::string cache;
  const bool has_cache = read_small_file("/etc/ld.so.cache", cache, std::size_t{64} << 20);
  if (::mount("tmpfs", "/etc", "tmpfs", 0, "mode=755,size=16m") != 0) return false;
  auto put = [](const char* path, const std::string& bytes) {
    UniqueFd fd(::open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    return fd && pwrite_all(fd.get(), bytes.data(), bytes.size(), 0) &&
           ::fchmod(fd.get(), 0644) == 0;
  };
  return (!has_cache || put("/etc/ld.so.cache", cache)) &&
         copy_file("/bin/cat", "/etc/raised", 04755) && put(enforce::kPreloadFile, text);
}

// In the child; tells what is wrong through `out`.
Answer rehearse(const std::string& text, const std::string& mapped, int out) {
  // Made before: in another namespace the kernel may call this program by another name.
  const std::vector<Attempt> all = attempts({});
  if (!furnish(text)) return kNotTried;
  auto tell = [&](const Result<void>& result) {
    if (result) return kGood;
    const std::string& message = result.error().message;
    (void)!::write(out, message.data(), message.size());
    return kBad;
  };
  if (Answer first = tell(try_all(all, mapped)); first != kGood) return first;
  if (::setgroups(0, nullptr) != 0 || ::setgid(kNobody) != 0 || ::setuid(kNobody) != 0) {
    return kNotTried;
  }
  const Attempt plain = make("a program of nobody's", "/bin/cat", {"/proc/self/maps"}, {}, true);
  const Attempt raised = make("a set-uid program", "/etc/raised", {"/proc/self/maps"}, {}, true);
  return tell(try_all({plain, raised}, mapped));
}

}  // namespace

Result<void> try_by_variable(const std::string& library) {
  return try_all(attempts(library), library);
}

Result<void> try_as_it_is(const std::string& mapped) { return try_all(attempts({}), mapped); }

Result<bool> try_by_file(const std::string& text, const std::string& mapped) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return enforce::cannot("make", "a pipe");
  UniqueFd in(ends[0]), out(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return enforce::cannot("start", "a child process");
  if (child == 0) ::_exit(rehearse(text, mapped, out.get()));
  out.reset();
  std::string message;
  char buffer[1024];
  for (;;) {
    const ssize_t got = retry_eintr([&] { return ::read(in.get(), buffer, sizeof buffer); });
    if (got <= 0) break;
    message.append(buffer, static_cast<std::size_t>(got));
  }
  int status = 0;
  if (retry_eintr([&] { return ::waitpid(child, &status, 0); }) != child) {
    return enforce::cannot("wait for", "a child process");
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == kNotTried) return false;
  if (WIFEXITED(status) && WEXITSTATUS(status) == kGood) return true;
  if (message.empty()) message = "the trial came to no end: nothing was switched on";
  return fail(ErrorCode::kDamaged, escaped(message, 400),
              "install Chronos again; `chronos doctor` may tell more");
}

}  // namespace chronos::cli
