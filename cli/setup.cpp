#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "cli/arguments.hpp"
#include "cli/verbs.hpp"
#include "core/enforce/standing.hpp"
#include "core/inventory.hpp"
#include "core/partition_files.hpp"
#include "core/registry_lock.hpp"
#include "core/report.hpp"

namespace chronos::cli {
namespace {

constexpr char kRuntimeDir[] = "/run";
constexpr char kBootFolder[] = "/etc/tmpfiles.d";
constexpr char kBootFile[] = "/etc/tmpfiles.d/chronos.conf";
constexpr std::string_view kMark = "# Made by `chronos setup`";
// A package's, which one of the same name in /etc stands above.
constexpr char kPackagedFile[] = "/usr/lib/tmpfiles.d/chronos.conf";

std::string boot_line() { return fmt::format("d {} 1777 root root -\n", StateDir::kSystemDir); }

std::string boot_text() {
  return fmt::format(
      "{}; `chronos setup --undo` takes it away. See tmpfiles.d(5).\n"
      "{}",
      kMark, boot_line());
}

// Keeps the package's from being read, and says so.
std::string mask_text() {
  return fmt::format(
      "{} --undo: with this file {} is not read.\n"
      "# `chronos setup` takes it away again.\n",
      kMark, kPackagedFile);
}

bool package_has_boot_file() {
  std::string text;
  return read_small_file(kPackagedFile, text) && text.find(boot_line()) != text.npos;
}

tl::unexpected<Error> cannot(std::string_view what, std::string_view path) {
  return fail(ErrorCode::kSystem, fmt::format("cannot {} {}: {}", what, path, errno_text(errno)));
}

// Partitions that would be forgotten if everybody looked elsewhere from now on.
Result<void> require_no_partitions(const char* directory, bool force) {
  if (force) return {};
  auto state = StateDir::open_at(directory);
  if (!state) {
    if (state.error().code == ErrorCode::kNotFound) return {};
    return pass_on(state);
  }
  auto partitions = Registry(std::move(*state)).list();
  if (!partitions) return pass_on(partitions);
  if (partitions->empty()) return {};
  return fail(ErrorCode::kBusy,
              fmt::format("there are partitions in {} that would no longer be counted ({})",
                          directory, partitions->size()),
              "wait for their end, or `chronos release --all` and end their programs; --force "
              "goes on all the same");
}

Result<UniqueFd> open_own_directory(const char* path) {
  UniqueFd fd(::open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd && (errno == ENOTDIR || errno == ELOOP)) {
    return fail(ErrorCode::kSystem, fmt::format("{} is not a directory", path),
                "remove it and try again");
  }
  if (!fd) return cannot("open", path);
  return fd;
}

Result<void> make_state_directory() {
  const char* path = StateDir::kSystemDir;
  if (::mkdir(path, 0755) != 0 && errno != EEXIST) return cannot("make", path);
  auto fd = open_own_directory(path);
  if (!fd) return pass_on(fd);
  // Sticky and root's: everybody may add files, nobody can take away or replace another's.
  if (::fchown(fd->get(), 0, 0) != 0) return cannot("take over", path);
  if (::fchmod(fd->get(), 01777) != 0) return cannot("set the mode of", path);
  return {};
}

Result<void> require_own_boot_file() {
  std::string text;
  if (!read_small_file(kBootFile, text) || text.starts_with(kMark)) return {};
  return fail(ErrorCode::kSystem, fmt::format("{} was not made by chronos", kBootFile),
              "move it away and try again");
}

Result<void> write_boot_file(const std::string& text) {
  if (::mkdir(kBootFolder, 0755) != 0 && errno != EEXIST) return cannot("make", kBootFolder);
  const std::string temporary = std::string(kBootFile) + ".new";
  ::unlink(temporary.c_str());
  UniqueFd fd(
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!fd) return cannot("make", temporary);
  const bool written = pwrite_all(fd.get(), text.data(), text.size(), 0) &&
                       ::fchmod(fd.get(), 0644) == 0 && ::fsync(fd.get()) == 0 &&
                       ::rename(temporary.c_str(), kBootFile) == 0;
  if (written) return {};
  tl::unexpected<Error> error = cannot("write", kBootFile);
  ::unlink(temporary.c_str());
  return error;
}

bool boot_files_are_read() {
  for (const char* program : {"/usr/bin/systemd-tmpfiles", "/bin/systemd-tmpfiles"}) {
    if (::access(program, X_OK) == 0) return true;
  }
  return false;
}

// Root's inventory is the one that everybody trusts: all users see the same devices.
void look_for_devices(const StateDir& state) {
  Result<Inventory> inventory = load_inventory(state, Look::kAgain);
  if (inventory) {
    print_warning_lines(inventory->warnings);
  } else {
    print_warning_line(fmt::format("No device could be looked up: {}", inventory.error().message));
  }
}

Result<std::string> set_up(bool force) {
  if (::access(StateDir::kSystemDir, F_OK) != 0) {
    auto counted = require_no_partitions(StateDir::kFallbackDir, force);
    if (!counted) return pass_on(counted);
  }
  auto ours = require_own_boot_file();
  if (!ours) return pass_on(ours);
  auto made = make_state_directory();
  if (!made) return pass_on(made);
  const bool packaged = package_has_boot_file();
  if (packaged && ::unlink(kBootFile) != 0 && errno != ENOENT) return cannot("remove", kBootFile);
  if (!packaged) {
    auto written = write_boot_file(boot_text());
    if (!written) return pass_on(written);
  }
  auto state = StateDir::open_at(StateDir::kSystemDir);
  if (!state) return pass_on(state);
  look_for_devices(*state);
  if (!boot_files_are_read()) {
    print_warning_line(
        "systemd-tmpfiles is not installed: run `chronos setup` again after each boot");
  }
  return fmt::format("State directory {} is ready, and will be after each boot ({})\n",
                     StateDir::kSystemDir, packaged ? kPackagedFile : kBootFile);
}

// Takes away our own files. Names of what else is there.
Result<std::vector<std::string>> empty_state_directory(const StateDir& state) {
  UniqueFd fd(::openat(state.fd(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  DIR* folder = fd ? ::fdopendir(fd.get()) : nullptr;
  if (folder == nullptr) return cannot("read", state.path());
  fd.release();
  std::vector<std::string> others;
  while (const dirent* entry = ::readdir(folder)) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    const bool ours = name.starts_with("chronos.");
    if (!ours || ::unlinkat(state.fd(), entry->d_name, 0) != 0) others.emplace_back(name);
  }
  ::closedir(folder);
  return others;
}

// It would go on refusing programs in the name of partitions that nobody can make any more.
Result<void> require_no_enforcement(bool force) {
  if (force || !enforce::look(CHRONOS_VERSION).is_named) return {};
  return fail(ErrorCode::kBusy, "enforcement is on for this machine",
              "`chronos enforce off` first; --force goes on all the same");
}

Result<std::string> undo(bool force) {
  auto off = require_no_enforcement(force);
  if (!off) return pass_on(off);
  auto ours = require_own_boot_file();
  if (!ours) return pass_on(ours);
  auto counted = require_no_partitions(StateDir::kSystemDir, force);
  if (!counted) return pass_on(counted);
  const bool had_file = ::unlink(kBootFile) == 0;
  if (!had_file && errno != ENOENT) return cannot("remove", kBootFile);
  const bool packaged = package_has_boot_file();
  if (packaged) {
    auto masked = write_boot_file(mask_text());
    if (!masked) return pass_on(masked);
  }

  auto state = StateDir::open_at(StateDir::kSystemDir);
  if (!state) {
    if (state.error().code != ErrorCode::kNotFound) return pass_on(state);
    if (packaged && !had_file) return fmt::format("{} is not read any more\n", kPackagedFile);
    if (packaged) return std::string("There is nothing to undo\n");
    return std::string(had_file ? "Removed " + std::string(kBootFile) + "\n"
                                : "There is nothing to undo\n");
  }
  // Nobody is in the middle of making a partition.
  auto lock = RegistryLock::acquire(*state);
  if (!lock) return pass_on(lock);
  auto others = empty_state_directory(*state);
  if (!others) return pass_on(others);
  if (::rmdir(StateDir::kSystemDir) != 0) {
    if (errno != ENOTEMPTY && errno != EEXIST) return cannot("remove", StateDir::kSystemDir);
    return fail(
        ErrorCode::kSystem,
        fmt::format("{} holds files that are not of chronos, such as {}", StateDir::kSystemDir,
                    others->empty() ? "?" : printable(others->front())),
        "remove them and the directory");
  }
  return packaged ? fmt::format(
                        "Removed {}, and {} is not read any more ({}); the state is in {} "
                        "from now on\n",
                        StateDir::kSystemDir, kPackagedFile, kBootFile, StateDir::kFallbackDir)
                  : fmt::format("Removed {} and {}; the state is in {} from now on\n",
                                StateDir::kSystemDir, kBootFile, StateDir::kFallbackDir);
}

}  // namespace

int setup_verb(const Invocation& invocation) {
  bool undoing = false, force = false;
  Arguments arguments("setup", "[--undo]", "Make the state directory of this machine (as root).");
  arguments.app().add_flag("--undo", undoing, "Take it away again");
  arguments.app().add_flag("--force", force, "Even if there are partitions that will be forgotten");
  arguments.add_examples(
      "Makes /run/chronos, which belongs to root and where every user may keep partitions, now "
      "and\n"
      "at each boot. Without it the state is in /dev/shm, from where a user's files may be "
      "removed\n"
      "when that user logs out (RemoveIPC of logind.conf(5)).");
  if (auto status = arguments.parse(invocation.arguments)) return *status;
  if (::geteuid() != 0) {
    return report({ErrorCode::kPermission,
                   "Permission denied: only administrators can set up this machine", "use sudo"});
  }
  if (::access(kRuntimeDir, F_OK) != 0) {
    return report({ErrorCode::kSystem, "there is no /run", "mount a tmpfs there first"});
  }
  Result<std::string> done = undoing ? undo(force) : set_up(force);
  return done ? print(*done) : report(done.error());
}

}  // namespace chronos::cli
