#include "core/inventory_store.hpp"

#include <dirent.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <thread>
#include <vector>

#include "core/crash_point.hpp"
#include "core/text.hpp"

namespace chronos {
namespace {

constexpr std::string_view kSuffix = ".devices";
constexpr std::size_t kTokenDigits = 32, kKeyDigits = 16;
constexpr std::size_t kMaxOwnFiles = 8;     // one for each setting of the environment in use
constexpr std::size_t kMaxCandidates = 16;  // looked into, so that no pile of files slows a start

// Calls use(name) for each file of inventories of `owner` in the directory.
template <class Use>
void for_each_file(const StateDir& state, const std::string& prefix, Use use) {
  // Its own descriptor: a shared one would share the reading position with other threads.
  UniqueFd fd(::openat(state.fd(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return;
  std::unique_ptr<DIR, int (*)(DIR*)> folder(::fdopendir(fd.get()), &::closedir);
  if (!folder) return;
  fd.release();
  while (const dirent* entry = ::readdir(folder.get())) {
    std::string_view name = entry->d_name;
    if (name.starts_with(prefix) && name.ends_with(kSuffix)) use(std::string(name));
  }
}

std::string owner_prefix(uid_t owner) { return "chronos." + std::to_string(owner) + "."; }

// The file itself decides what it is, not the name that led to it.
bool is_trusted(int fd, const UserView& users, uid_t owner, std::size_t& size, timespec& when) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return false;
  if (!S_ISREG(info.st_mode) || info.st_nlink != 1) return false;
  if (users.owner_of(owner, info.st_uid) != owner) return false;
  if (info.st_size < 0 || static_cast<std::size_t>(info.st_size) > kMaxInventoryFile) return false;
  size = static_cast<std::size_t>(info.st_size);
  when = info.st_mtim;
  return true;
}

}  // namespace

InventoryStore::InventoryStore(const StateDir& state, std::string drivers_key)
    : state_(state), drivers_key_(std::move(drivers_key)) {
  std::string text;
  if (read_small_file("/proc/sys/kernel/random/boot_id", text, 64)) {
    boot_id_ = text.substr(0, text.find('\n'));
  }
}

std::string InventoryStore::prefix_of(uid_t owner) const {
  return owner_prefix(owner) + drivers_key_.substr(0, kKeyDigits);
}

std::optional<StoredInventory> InventoryStore::read_file(const std::string& name,
                                                         uid_t owner) const {
  // O_NONBLOCK: a fifo of that name must not stop the caller.
  UniqueFd fd(retry_eintr([&] {
    return ::openat(state_.fd(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  }));
  std::size_t size = 0;
  timespec when{};
  if (!fd || !is_trusted(fd.get(), state_.users(), owner, size, when)) return std::nullopt;
  std::string text(size, '\0');
  if (!pread_all(fd.get(), text.data(), size, 0)) return std::nullopt;
  auto stored = parse_inventory(text);
  if (!stored || stored->boot_id != boot_id_ || stored->drivers_key != drivers_key_) {
    return std::nullopt;
  }
  return stored;
}

std::optional<InventoryStore::Candidate> InventoryStore::candidate(std::string_view name) const {
  const UserView& users = state_.users();
  const bool is_root = name.starts_with(prefix_of(0));
  if (!is_root && !name.starts_with(prefix_of(users.me()))) return std::nullopt;
  // A stranger may make files named as root's; they must not crowd out the real ones.
  const uid_t owner = is_root ? 0 : users.me();
  Candidate one{std::string(name), owner};
  struct stat info {};
  const bool is_owners =
      ::fstatat(state_.fd(), one.name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 &&
      users.owner_of(owner, info.st_uid) == owner;
  return is_owners ? std::optional(std::move(one)) : std::nullopt;
}

std::optional<StoredInventory> InventoryStore::read(const Accept& accept) const {
  std::vector<std::string> names;
  for_each_file(state_, "chronos.", [&](std::string name) { names.push_back(std::move(name)); });
  return read(accept, names);
}

std::optional<StoredInventory> InventoryStore::read(const Accept& accept,
                                                    const std::vector<std::string>& names) const {
  if (boot_id_.empty()) return std::nullopt;
  std::vector<Candidate> candidates;
  for (const std::string& name : names) {
    if (candidates.size() == kMaxCandidates) break;
    if (auto one = candidate(name)) candidates.push_back(std::move(*one));
  }
  std::optional<StoredInventory> best;
  bool best_is_root = false;
  for (const Candidate& one : candidates) {
    auto stored = read_file(one.name, one.owner);
    if (!stored || !accept(*stored)) continue;
    bool is_root = one.owner == 0;
    bool is_better = !best || (is_root && !best_is_root) ||
                     (is_root == best_is_root && stored->looked_at > best->looked_at);
    if (!is_better) continue;
    best = std::move(stored);
    best_is_root = is_root;
  }
  return best;
}

std::optional<std::string> InventoryStore::publish(const std::string& text,
                                                   std::string& name) const {
  auto failure = [&](const char* what) {
    return "the devices cannot be remembered in " + escaped(state_.path(), 200) + ": " + what +
           ": " + errno_text(errno);
  };
  char random[(kTokenDigits - kKeyDigits) / 2];
  if (retry_eintr([&] { return ::getrandom(random, sizeof random, 0); }) != sizeof random) {
    return failure("getrandom");
  }
  name = prefix_of(state_.users().me()) + to_hex(std::string_view(random, sizeof random));
  name += kSuffix;
  // Without a name until it is whole; where the file system cannot do that, readers find a file
  // that is cut short and take it for none.
  bool has_name = false;
  UniqueFd fd([&] {
    CHRONOS_FAULT(no_unnamed_files, EOPNOTSUPP, -1);
    return ::openat(state_.fd(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  }());
  if (!fd) {
    fd.reset(::openat(state_.fd(), name.c_str(), O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR | O_CLOEXEC,
                      0600));
    has_name = true;
  }
  if (!fd) return failure("open");
  CHRONOS_POINT(inventory_opened);
  const char* failed = nullptr;
  if (!pwrite_all(fd.get(), text.data(), text.size(), 0)) {
    failed = "write";
  } else if (::fchmod(fd.get(), 0644) != 0) {
    failed = "chmod";
  } else if (!has_name) {
    CHRONOS_POINT(inventory_written);
    std::string self = "/proc/self/fd/" + std::to_string(fd.get());
    if (::linkat(AT_FDCWD, self.c_str(), state_.fd(), name.c_str(), AT_SYMLINK_FOLLOW) != 0) {
      failed = "link";
    }
  }
  if (failed == nullptr) return std::nullopt;
  auto why = failure(failed);
  if (has_name) ::unlinkat(state_.fd(), name.c_str(), 0);
  return why;
}

void InventoryStore::remove_own_but(const std::string& newest) const {
  struct Old {
    timespec when;
    std::string name;
  };
  const uid_t self = state_.users().me();
  const std::string same_key = prefix_of(self);
  std::vector<Old> others;
  for_each_file(state_, owner_prefix(self), [&](std::string name) {
    struct stat info {};
    if (name == newest ||
        name.size() != owner_prefix(self).size() + kTokenDigits + kSuffix.size()) {
      return;
    }
    if (::fstatat(state_.fd(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) return;
    if (info.st_uid != ::geteuid()) return;
    if (name.starts_with(same_key)) {
      ::unlinkat(state_.fd(), name.c_str(), 0);
      CHRONOS_POINT(inventory_older_gone);
    } else {
      others.push_back({info.st_mtim, std::move(name)});
    }
  });
  std::sort(others.begin(), others.end(), [](const Old& a, const Old& b) {
    return std::pair(a.when.tv_sec, a.when.tv_nsec) > std::pair(b.when.tv_sec, b.when.tv_nsec);
  });
  for (std::size_t i = kMaxOwnFiles - 1; i < others.size(); ++i) {
    ::unlinkat(state_.fd(), others[i].name.c_str(), 0);
  }
}

std::optional<std::string> InventoryStore::write(const Inventory& inventory,
                                                 std::uint64_t looked_at) const {
  if (boot_id_.empty()) return "the devices cannot be remembered: the kernel names no boot id";
  if (state_.users().me() == kUnknownUid) return std::nullopt;  // and under no name
  std::string text = to_text({boot_id_, drivers_key_, looked_at, inventory});
  // What no reader would accept is not written.
  if (!parse_inventory(text)) return "the devices cannot be remembered: there is too much to say";
  std::string name;
  if (auto why = publish(text, name)) return why;
  CHRONOS_POINT(inventory_published);
  remove_own_but(name);
  return std::nullopt;
}

UniqueFd InventoryStore::lock(std::chrono::milliseconds patience) const {
  if (state_.users().me() == kUnknownUid) return {};
  const std::string name = owner_prefix(state_.users().me()) + "probe.lock";
  auto open = [&](int flags) {
    return UniqueFd(retry_eintr([&] {
      return ::openat(state_.fd(), name.c_str(),
                      O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | flags, 0600);
    }));
  };
  // Opened without O_CREAT if it is there: the kernel refuses O_CREAT on files of others in a
  // sticky directory, and a stranger's file of this name is no lock of ours.
  UniqueFd fd = open(0);
  if (!fd && errno == ENOENT) fd = open(O_CREAT | O_EXCL);
  if (!fd && errno == EEXIST) fd = open(0);
  struct stat info {};
  if (!fd || ::fstat(fd.get(), &info) != 0) return {};
  if (!S_ISREG(info.st_mode) || info.st_uid != ::geteuid() || info.st_nlink != 1) return {};

  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + patience;
  // flock() has no bound of its own but a signal, which a library must not use.
  while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if ((errno != EWOULDBLOCK && errno != EINTR) || Clock::now() >= deadline) return {};
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  CHRONOS_POINT(inventory_locked);
  return fd;
}

}  // namespace chronos
