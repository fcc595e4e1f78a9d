// Whether this is a container, and whether the machine's state directory has been shared into it.
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "core/doctor/findings.hpp"
#include "core/posix.hpp"
#include "core/process.hpp"
#include "core/state_dir.hpp"

namespace chronos::doctor {
namespace {

// The kind of container that its maker says it is. podman(1): /run/.containerenv;
// systemd.io/CONTAINER_INTERFACE: the environment of pid 1.
std::string marked_as() {
  if (::access("/run/.containerenv", F_OK) == 0) return "podman";
  if (::access("/.dockerenv", F_OK) == 0) return "docker";
  std::string block;
  if (!read_small_file("/run/systemd/container", block, 64) || block.empty()) {
    constexpr std::string_view kName = "container=";
    if (!read_small_file("/proc/1/environ", block)) return {};
    block.insert(block.begin(), '\0');
    const std::size_t at = block.find('\0' + std::string(kName));
    if (at == block.npos) return {};
    block.erase(0, at + 1 + kName.size());
  }
  block.resize(std::min(block.find_first_of(std::string_view("\0\n", 2)), block.size()));
  return block;
}

}  // namespace

std::optional<Mount> mount_at(std::string_view mountinfo, std::string_view path) {
  std::optional<Mount> found;
  while (!mountinfo.empty()) {
    const std::size_t end = std::min(mountinfo.find('\n'), mountinfo.size());
    std::string_view line = mountinfo.substr(0, end);
    mountinfo.remove_prefix(std::min(end + 1, mountinfo.size()));
    // proc_pid_mountinfo(5): id parent major:minor root point options ... - type source options
    std::vector<std::string_view> fields;
    while (!line.empty()) {
      const std::size_t blank = std::min(line.find(' '), line.size());
      fields.push_back(line.substr(0, blank));
      line.remove_prefix(std::min(blank + 1, line.size()));
    }
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (fields.size() < 6 || fields.end() - dash < 3 || fields[4] != path) continue;
    found = Mount{std::string(fields[3]), std::string(dash[1]), std::string(dash[2])};
  }
  return found;
}

bool is_shared(const StateFact& state, const std::optional<Mount>& mount) {
  if (state.named) return true;  // whoever names it knows
  if (state.path == StateDir::kSystemDir) return mount.has_value();
  // Runtimes give a container a file system of its own there, and call it so.
  return !mount || mount->source != "shm";
}

void look_at_container(Facts& facts) {
  ContainerFact& fact = facts.container;
  fact.kind = marked_as();
  std::string text;
  std::optional<Mount> mount;
  if (read_small_file("/proc/self/mountinfo", text, std::size_t{1} << 20)) {
    mount = mount_at(text, facts.state.path);
  }
  fact.shares_state = is_shared(facts.state, mount);
  const ProcessIdentity self = this_process();
  fact.proc_is_anothers = facts.system.has_proc && self.pid_namespace == 0;
  fact.in_pid_namespace = self.pid_namespace != 0 && self.pid_namespace != kInitialPidNamespace;
  if (auto state = StateDir::open()) fact.hides_strangers = state->users().hides_strangers();
}

void about_container(const Facts& facts, std::vector<Finding>& out) {
  const ContainerFact& fact = facts.container;
  const std::string what =
      fact.kind.empty() ? "a pid namespace" : fmt::format("a container ({})", fact.kind);
  if (!fact.kind.empty() && !fact.shares_state) {
    out.push_back(
        {Status::kWarning, "container",
         fmt::format("this is {}, and {} is its own: the machine's partitions do not hold "
                     "in here",
                     what, facts.state.path),
         "after `sudo chronos setup` on the machine, start it with "
         "-v /run/chronos:/run/chronos, or with --device chronos.dev/partition=all "
         "(`chronos cdi`)"});
  } else if (!fact.kind.empty()) {
    out.push_back({Status::kOk,
                   "container",
                   fmt::format("this is {} that shares {}", what, facts.state.path),
                   {}});
  }
  if (fact.proc_is_anothers) {
    out.push_back({Status::kWarning, "container",
                   "/proc is of another pid namespace: whether processes live is known from their "
                   "locks only, and none can be named",
                   "mount -t proc proc /proc in here (unshare --mount-proc)"});
  } else if (fact.in_pid_namespace) {
    out.push_back({Status::kNote,
                   "container",
                   "processes outside of this pid namespace cannot be seen: whether they live is "
                   "known from their locks, and `release --force` does not reach them",
                   {}});
  }
  if (facts.system.in_user_namespace && fact.hides_strangers) {
    out.push_back({Status::kNote, "container",
                   "partitions are yours in here as they are outside, and cannot be created here, "
                   "because those of others cannot be told apart",
                   "create them outside of the user namespace"});
  }
}

}  // namespace chronos::doctor
