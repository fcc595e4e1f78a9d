#include <dirent.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>

#include "core/clock.hpp"
#include "core/doctor/facts.hpp"
#include "core/posix.hpp"
#include "core/state_dir.hpp"
#include "core/users.hpp"

namespace chronos::doctor {
namespace {

std::optional<int> setting(const char* path) {
  std::string text;
  int value = 0;
  if (!read_small_file(path, text, 64) || std::sscanf(text.c_str(), "%d", &value) != 1) {
    return std::nullopt;
  }
  return value;
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  std::unique_ptr<DIR, int (*)(DIR*)> open(::opendir(folder.c_str()), &::closedir);
  if (!open) return names;
  while (const dirent* entry = ::readdir(open.get())) names.emplace_back(entry->d_name);
  return names;
}

// systemd's rules (systemd.syntax, "man 5 logind.conf"): the main file first, then the drop-ins of
// all folders by their names; of two with one name, that in the folder named first.
std::vector<std::string> logind_files() {
  std::vector<std::string> contents;
  const char* const kFolders[] = {"/etc/systemd", "/run/systemd", "/usr/local/lib/systemd",
                                  "/usr/lib/systemd"};
  auto read = [&](const std::string& path) {
    std::string text;
    if (!read_small_file(path.c_str(), text)) return false;
    contents.push_back(std::move(text));
    return true;
  };
  for (const char* folder : kFolders) {
    if (read(std::string(folder) + "/logind.conf")) break;
  }
  std::map<std::string, std::string> drop_ins;
  for (const char* folder : kFolders) {
    const std::string path = std::string(folder) + "/logind.conf.d";
    for (const std::string& name : names_in(path)) {
      if (name.ends_with(".conf")) drop_ins.emplace(name, path + "/" + name);
    }
  }
  for (const auto& [name, path] : drop_ins) read(path);
  return contents;
}

bool logind_runs() {
  for (const std::string& name : names_in("/proc")) {
    if (name.find_first_not_of("0123456789") != name.npos) continue;
    std::string comm;
    if (read_small_file(("/proc/" + name + "/comm").c_str(), comm, 64) &&
        comm == "systemd-logind\n") {
      return true;
    }
  }
  return false;
}

}  // namespace

bool removes_ipc(const std::vector<std::string>& contents) {
  bool removes = true;
  for (const std::string& text : contents) {
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = std::min(text.find('\n', at), text.size());
      std::string line;
      for (char c : text.substr(at, end - at)) {
        if (c != ' ' && c != '\t' && c != '\r') line += c;
      }
      at = end + 1;
      constexpr std::string_view kKey = "RemoveIPC=";
      if (!line.starts_with(kKey)) continue;
      std::string value = line.substr(kKey.size());
      std::transform(value.begin(), value.end(), value.begin(),
                     [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; });
      if (value == "no" || value == "false" || value == "off" || value == "0" || value == "n" ||
          value == "f") {
        removes = false;
      } else if (value == "yes" || value == "true" || value == "on" || value == "1" ||
                 value == "y" || value == "t" || value.empty()) {
        removes = true;
      }
    }
  }
  return removes;
}

unsigned hidepid_of(std::string_view mountinfo) {
  unsigned found = 0;
  while (!mountinfo.empty()) {
    const std::size_t end = std::min(mountinfo.find('\n'), mountinfo.size());
    const std::string_view line = mountinfo.substr(0, end);
    mountinfo.remove_prefix(std::min(end + 1, mountinfo.size()));
    if (line.find(" /proc ") == line.npos || line.find(" - proc ") == line.npos) continue;
    const std::size_t at = line.find("hidepid=");
    const std::string_view value = at == line.npos ? "0" : line.substr(at + 8);
    // The last mount on /proc is the one that is seen.
    found = value.starts_with("noaccess") || value.starts_with('1')     ? 1
            : value.starts_with("invisible") || value.starts_with('2')  ? 2
            : value.starts_with("ptraceable") || value.starts_with('4') ? 4
                                                                        : 0;
  }
  return found;
}

bool files_go_at_logout(const StateDir& state) {
  return state.path() == StateDir::kFallbackDir && ::geteuid() >= kFirstOrdinaryUid &&
         logind_runs() && removes_ipc(logind_files());
}

void look_at_system(Facts& facts) {
  SystemFact& system = facts.system;
  system.uid = ::geteuid();
  system.user = user_name(system.uid);
  system.untrusted_environment = environment_is_untrusted();
  std::string text;
  system.has_proc = read_small_file("/proc/self/stat", text, 4096);
  if (read_small_file("/proc/self/uid_map", text)) {
    system.in_user_namespace = !is_initial_uid_map(text);
  }
  system.in_time_namespace = boot_offset() != 0;
  if (read_small_file("/proc/self/mountinfo", text, std::size_t{1} << 20)) {
    system.hidepid = hidepid_of(text);
  }
  system.protected_regular = setting("/proc/sys/fs/protected_regular");
  system.protected_hardlinks = setting("/proc/sys/fs/protected_hardlinks");
  system.protected_symlinks = setting("/proc/sys/fs/protected_symlinks");
  system.logind_runs = logind_runs();
  system.removes_ipc = removes_ipc(logind_files());
}

void look_at_state(Facts& facts) {
  StateFact& fact = facts.state;
  const char* named = trusted_env("CHRONOS_STATE_DIR");
  fact.named = named != nullptr && *named != '\0';
  auto state = StateDir::open();
  if (!state) {
    fact.path = fact.named ? named : "/dev/shm";
    fact.error = state.error().message;
    fact.hint = state.error().hint;
    fact.is_missing = state.error().code == ErrorCode::kNotFound;
    return;
  }
  fact.path = state->path();
  struct stat st {};
  struct statvfs space {};
  struct statfs kind {};
  if (::fstat(state->fd(), &st) == 0) {
    fact.owner = st.st_uid;
    fact.mode = st.st_mode & 07777;
  }
  if (::access(fact.path.c_str(), R_OK | X_OK) != 0) {
    fact.error = "cannot read " + fact.path + ": " + errno_text(errno);
  } else if (::access(fact.path.c_str(), W_OK) != 0) {
    fact.error = "cannot write to " + fact.path + ": " + errno_text(errno);
  }
  if (::fstatvfs(state->fd(), &space) == 0) {
    fact.free_bytes = std::uint64_t{space.f_bavail} * space.f_frsize;
  }
  if (::fstatfs(state->fd(), &kind) == 0) {
    fact.in_memory = kind.f_type == TMPFS_MAGIC || kind.f_type == RAMFS_MAGIC;
  }
}

}  // namespace chronos::doctor
