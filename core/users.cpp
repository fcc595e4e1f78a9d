#include "core/users.hpp"

#include <grp.h>
#include <pwd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <optional>
#include <vector>

#include "core/posix.hpp"
#include "core/text.hpp"

namespace chronos {
namespace {

constexpr std::size_t kLargestEntry = std::size_t{1} << 20;

// Runs getpw*_r with a buffer that grows until the entry fits. `error` is 0 for "no such user".
template <class Call>
std::optional<passwd> look_up(Call call, std::vector<char>& buffer, int& error) {
  for (buffer.resize(1024); buffer.size() <= kLargestEntry; buffer.resize(buffer.size() * 4)) {
    passwd entry{};
    passwd* found = nullptr;
    do {
      error = call(&entry, buffer.data(), buffer.size(), &found);
    } while (error == EINTR);
    if (error == ERANGE) continue;
    if (found == nullptr) return std::nullopt;
    return entry;
  }
  return std::nullopt;
}

std::optional<passwd> look_up_number(uid_t uid, std::vector<char>& buffer, int& error) {
  return look_up([&](auto... out) { return ::getpwuid_r(uid, out...); }, buffer, error);
}

}  // namespace

std::string user_name(uid_t uid) {
  std::vector<char> buffer;
  int error = 0;
  std::optional<passwd> entry = look_up_number(uid, buffer, error);
  if (entry && entry->pw_name != nullptr && entry->pw_name[0] != '\0') return entry->pw_name;
  return std::to_string(uid);
}

const std::string& UserNames::of(uid_t uid) {
  const auto [at, is_new] = known_.try_emplace(uid);
  if (is_new) at->second = user_name(uid);
  return at->second;
}

Result<uid_t> find_user(std::string_view name_or_uid) {
  const std::string text(name_or_uid);
  std::vector<char> buffer;
  int error = 0;
  if (!text.empty() && text.find('\0') == text.npos) {
    // As chown does: a name made of digits wins over the number.
    auto by_name =
        look_up([&](auto... out) { return ::getpwnam_r(text.c_str(), out...); }, buffer, error);
    if (by_name) return by_name->pw_uid;
    uid_t uid = 0;
    auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), uid);
    if (status == std::errc() && end == text.data() + text.size()) {
      if (look_up_number(uid, buffer, error)) return uid;
    }
  }
  std::string message = "unknown user " + quoted(name_or_uid);
  // Several values of errno mean no more than "not found" (getpwnam(3)).
  if (error != 0 && error != ENOENT && error != ESRCH && error != EBADF && error != EPERM) {
    message += " (the user database says: " + errno_text(error) + ")";
  }
  return fail(ErrorCode::kInvalid, std::move(message),
              "name an existing user, or give the number of one");
}

std::vector<gid_t> groups_of(uid_t uid) {
  std::vector<char> buffer;
  int error = 0;
  std::optional<passwd> entry = look_up_number(uid, buffer, error);
  if (!entry) return {};
  std::vector<gid_t> groups(64);
  for (;;) {
    int count = static_cast<int>(groups.size());
    const bool all = ::getgrouplist(entry->pw_name, entry->pw_gid, groups.data(), &count) >= 0;
    const auto needed = static_cast<std::size_t>(std::max(count, 0));
    if (all || needed <= groups.size() || needed > kLargestEntry) {
      groups.resize(std::min(needed, groups.size()));
      return groups;
    }
    groups.resize(needed);
  }
}

std::optional<gid_t> find_group(std::string_view name_or_gid) {
  const std::string text(name_or_gid);
  if (text.empty() || text.find('\0') != text.npos) return std::nullopt;
  std::vector<char> buffer;
  for (buffer.resize(1024); buffer.size() <= kLargestEntry; buffer.resize(buffer.size() * 4)) {
    group entry{};
    group* found = nullptr;
    int error = 0;
    do {
      error = ::getgrnam_r(text.c_str(), &entry, buffer.data(), buffer.size(), &found);
    } while (error == EINTR);
    if (error == ERANGE) continue;
    if (found != nullptr) return entry.gr_gid;
    break;
  }
  gid_t number = 0;
  auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (status == std::errc() && end == text.data() + text.size()) return number;
  return std::nullopt;
}

}  // namespace chronos
