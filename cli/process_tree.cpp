#include "cli/process_tree.hpp"

#include <dirent.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "core/posix.hpp"
#include "core/procfs.hpp"
#include "core/units.hpp"

namespace chronos::cli {
namespace {

template <class Number>
std::optional<Number> number_of(std::string_view text) {
  Number value{};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<Process> read_process(pid_t pid) {
  std::string text;
  if (!read_small_file(fmt::format("/proc/{}/stat", pid).c_str(), text, 1024)) return std::nullopt;
  // "pid (name) state ppid ...": a name may hold blanks and parentheses.
  std::size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::string_view rest = std::string_view(text).substr(name_end + 1);
  std::vector<std::string_view> fields;
  while (!rest.empty() && fields.size() < 20) {
    std::size_t start = rest.find_first_not_of(' ');
    if (start == rest.npos) break;
    std::size_t end = std::min(rest.find(' ', start), rest.size());
    fields.push_back(rest.substr(start, end - start));
    rest.remove_prefix(end);
  }
  if (fields.size() < 20 || fields[0].size() != 1) return std::nullopt;
  auto parent = number_of<pid_t>(fields[1]);
  auto threads = number_of<long>(fields[17]);
  auto started = number_of<std::uint64_t>(fields[19]);
  if (!parent || !threads || !started) return std::nullopt;
  return Process{pid, *parent, fields[0][0], *threads, *started};
}

// The children of one process, as the kernel lists them for each of its threads. Nothing where it
// does not (CONFIG_PROC_CHILDREN) or where the process is gone.
std::optional<std::vector<pid_t>> children_of(pid_t pid) {
  constexpr std::size_t kMaxList = std::size_t{1} << 20;
  const std::string tasks = fmt::format("/proc/{}/task", pid);
  std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(tasks.c_str()), ::closedir);
  if (!folder) return std::nullopt;
  std::optional<std::vector<pid_t>> children;
  std::string text;
  while (const dirent* entry = ::readdir(folder.get())) {
    if (entry->d_name[0] == '.') continue;
    const std::string path = fmt::format("{}/{}/children", tasks, entry->d_name);
    if (!read_small_file(path.c_str(), text, kMaxList)) continue;
    if (!children) children.emplace();
    std::string_view rest = text;
    while (!rest.empty()) {
      const std::size_t end = std::min(rest.find(' '), rest.size());
      if (auto child = number_of<pid_t>(rest.substr(0, end))) children->push_back(*child);
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }
  return children;
}

// The living descendants of the caller. From child to child: to read all of /proc instead takes
// milliseconds, and when many partitions end at once it is the machine that has no time left.
//
// The kernel may leave out one child while another is being collected. Whoever calls this looks
// until nothing new turns up, and what kill_tree() leaves has waitpid()'s word for being the last.
std::vector<Process> own_descendants(const Spared& spared) {
  if (!proc_is_ours()) return {};
  const pid_t left_alone = spared ? spared() : 0;
  auto open = children_of(::getpid());
  if (!open) {
    std::vector<Process> all = all_processes();
    std::erase_if(all, [&](const Process& one) { return one.pid == left_alone; });
    return descendants_of(::getpid(), all);
  }
  std::vector<Process> found;
  std::unordered_set<pid_t> visited{::getpid(), left_alone};
  while (!open->empty()) {
    const pid_t pid = open->back();
    open->pop_back();
    if (!visited.insert(pid).second) continue;
    const std::optional<Process> process = read_process(pid);
    if (!process || process->is_dead()) continue;  // the dead have no children
    found.push_back(*process);
    if (auto children = children_of(pid)) {
      open->insert(open->end(), children->begin(), children->end());
    }
  }
  return found;
}

// Collects dead children. False when there is no child left, and so no descendant.
bool reap_all() {
  for (;;) {
    pid_t pid = retry_eintr([] { return ::waitpid(-1, nullptr, WNOHANG); });
    if (pid == 0) return true;
    if (pid < 0) return false;
  }
}

std::uint64_t monotonic_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * kNanosPerSecond +
         static_cast<std::uint64_t>(now.tv_nsec);
}

void wait_for_a_child(std::uint64_t at_most_ns) {
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  timespec limit{static_cast<time_t>(at_most_ns / kNanosPerSecond),
                 static_cast<long>(at_most_ns % kNanosPerSecond)};
  ::sigtimedwait(&child, nullptr, &limit);
}

// Stops every descendant. A stopped process cannot fork, and a fork that meets the signal starts
// over, so once a look finds nobody new nobody can be born any more.
void freeze_tree(const Spared& spared) {
  constexpr int kMaxRounds = 1000;  // against children of another user, who cannot be stopped
  std::unordered_set<pid_t> seen;
  for (int round = 0; round < kMaxRounds; ++round) {
    bool anybody_new = false;
    for (const Process& process : own_descendants(spared)) {
      if (!seen.insert(process.pid).second) continue;
      anybody_new = true;
      signal_process(process, SIGSTOP);
    }
    if (!anybody_new) return;
  }
}

}  // namespace

std::vector<Process> all_processes() {
  std::vector<Process> processes;
  if (!proc_is_ours()) return processes;
  std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir("/proc"), ::closedir);
  if (!folder) return processes;
  while (const dirent* entry = ::readdir(folder.get())) {
    auto pid = number_of<pid_t>(entry->d_name);
    if (!pid) continue;
    if (auto process = read_process(*pid)) processes.push_back(*process);
  }
  return processes;
}

std::vector<Process> descendants_of(pid_t ancestor, const std::vector<Process>& processes) {
  std::unordered_multimap<pid_t, const Process*> children;
  for (const Process& process : processes) children.emplace(process.parent, &process);
  std::vector<Process> found;
  std::unordered_set<pid_t> visited{ancestor};  // a torn look at /proc may show a circle
  std::vector<pid_t> open{ancestor};
  while (!open.empty()) {
    auto [begin, end] = children.equal_range(open.back());
    open.pop_back();
    for (auto it = begin; it != end; ++it) {
      const Process& process = *it->second;
      if (!visited.insert(process.pid).second) continue;
      open.push_back(process.pid);
      if (!process.is_dead()) found.push_back(process);
    }
  }
  return found;
}

bool signal_process(const Process& process, int signal) {
  UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0)));
  if (!fd && errno != ENOSYS && errno != EINVAL) return false;
  // With the descriptor open the pid cannot pass to another process between look and signal.
  std::optional<Process> now = read_process(process.pid);
  if (!now || now->started != process.started) return false;
  if (!fd) return ::kill(process.pid, signal) == 0;  // a kernel before 5.3
  return ::syscall(SYS_pidfd_send_signal, fd.get(), signal, nullptr, 0) == 0;
}

void signal_tree(int signal, pid_t told, const Spared& spared) {
  constexpr int kMaxRounds = 10;  // what is born faster than this is left to kill_tree()
  std::unordered_set<pid_t> seen;
  for (int round = 0; round < kMaxRounds; ++round) {
    bool anybody_new = false;
    for (const Process& process : own_descendants(spared)) {
      if (!seen.insert(process.pid).second) continue;
      anybody_new = true;
      if (process.pid != told) signal_process(process, signal);
      if (process.state == 'T') signal_process(process, SIGCONT);
    }
    if (!anybody_new) return;
  }
}

std::vector<Process> kill_tree(std::uint64_t patience_ns, pid_t child, const Spared& spared) {
  constexpr std::uint64_t kLookAgain = 20'000'000;
  freeze_tree(spared);
  if (child > 0 && !proc_is_ours()) ::kill(child, SIGKILL);
  std::uint64_t since = monotonic_ns();
  std::size_t left = 0;
  int empty_looks = 0;
  for (;;) {
    std::vector<Process> tree = own_descendants(spared);
    for (const Process& process : tree) signal_process(process, SIGKILL);
    if (!reap_all()) return {};
    // Somebody who is spared is a child, too; then there is no such word.
    empty_looks = tree.empty() && spared && spared() != 0 ? empty_looks + 1 : 0;
    if (empty_looks == 3) return {};
    std::uint64_t now = monotonic_ns();
    if (tree.size() != left) since = now;
    left = tree.size();
    if (now - since > patience_ns) return tree;
    wait_for_a_child(kLookAgain);
  }
}

}  // namespace chronos::cli
