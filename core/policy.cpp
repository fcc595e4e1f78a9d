#include "core/policy.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>

#include "core/posix.hpp"
#include "core/state_dir.hpp"
#include "core/text.hpp"
#include "core/users.hpp"

namespace chronos {
namespace {

constexpr char kCheckHint[] = "`chronos policy check` shows every mistake";
constexpr char kAskHint[] = "`chronos policy show` shows what you may have";

PolicyProblem problem_of(const std::string& path, std::string text, std::string hint) {
  return {path, {{0, std::move(text)}}, std::move(hint)};
}

// In a user namespace, files of users that it does not have belong to nobody.
bool is_unmapped_owner(uid_t owner) {
  constexpr uid_t kOverflow = 65534;
  std::string map;
  if (owner != kOverflow || !read_small_file("/proc/self/uid_map", map, 256)) return false;
  std::erase_if(map, [](char c) { return c == ' ' || c == '\n'; });
  return map != "004294967295";
}

std::string why_untrusted(const struct stat& st, uid_t trusted) {
  if (st.st_uid != trusted && !is_unmapped_owner(st.st_uid)) {
    return fmt::format("belongs to {}, not to {}", user_name(st.st_uid), user_name(trusted));
  }
  const bool group_writes = (st.st_mode & S_IWGRP) != 0 && st.st_gid != 0;
  if (group_writes || (st.st_mode & S_IWOTH) != 0) return "can be written by others than root";
  return {};
}

struct Source {
  std::string path;
  std::optional<uid_t> trusted_owner;  // of the file and its directory
  bool must_exist = false;
  bool owners_only = false;  // ignored if it is neither the caller's nor root's
};

// An empty optional: there is no such file.
tl::expected<std::optional<std::string>, PolicyProblem> read_source(const Source& source) {
  auto give_up = [&](std::string text, std::string hint) {
    return tl::unexpected<PolicyProblem>(problem_of(source.path, std::move(text), std::move(hint)));
  };
  // A FIFO in its place must not make anybody wait.
  UniqueFd fd(retry_eintr(
      [&] { return ::open(source.path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC); }));
  if (!fd) {
    const int error = errno;
    // A home that is another's (sudo -u keeps HOME) has no file of the caller's.
    if (source.owners_only) return std::nullopt;
    if ((error == ENOENT || error == ENOTDIR) && !source.must_exist) return std::nullopt;
    return give_up("cannot be read: " + errno_text(error),
                   error == EACCES ? "everybody must be able to read it (chmod 644, its directory "
                                     "755)"
                                   : "");
  }
  struct stat st {};
  if (::fstat(fd.get(), &st) != 0 || !S_ISREG(st.st_mode)) {
    return give_up("is not a regular file", "");
  }
  if (source.owners_only && st.st_uid != ::geteuid() && st.st_uid != 0) return std::nullopt;
  if (source.trusted_owner) {
    std::string why = why_untrusted(st, *source.trusted_owner);
    if (!why.empty()) {
      return give_up("is not to be trusted: it " + why, "chown root it, and chmod 644");
    }
    const std::string folder = source.path.substr(0, source.path.rfind('/'));
    if (::stat(folder.c_str(), &st) != 0) why = "cannot be looked at";
    if (why.empty()) why = why_untrusted(st, *source.trusted_owner);
    if (!why.empty()) {
      return give_up("is not to be trusted: its directory " + why, "chown root it, and chmod 755");
    }
  }
  std::string text(kMaxPolicyBytes + 1, '\0');
  std::size_t have = 0;
  while (have < text.size()) {
    const ssize_t got =
        retry_eintr([&] { return ::read(fd.get(), text.data() + have, text.size() - have); });
    if (got < 0) return give_up("cannot be read: " + errno_text(errno), "");
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  text.resize(have);
  return text;
}

tl::expected<std::optional<PolicyFile>, PolicyProblem> load_source(const Source& source) {
  auto text = read_source(source);
  if (!text) return tl::unexpected(std::move(text.error()));
  if (!*text) return std::nullopt;
  auto parsed = parse_policy(**text, source.path);
  if (parsed) return std::move(*parsed);
  return tl::unexpected<PolicyProblem>({source.path, std::move(parsed.error()), kCheckHint});
}

// A user as policy files name one. The groups are looked up when a file first asks for one.
class Person {
 public:
  explicit Person(uid_t uid) : uid_(uid) {}

  bool is(const std::string& name) {
    if (!name_) name_ = user_name(uid_);
    return name == *name_ || name == std::to_string(uid_);
  }
  bool is_in(const std::string& group) {
    const auto gid = find_group(group);
    if (!gid) return false;
    if (!groups_) groups_ = groups_of(uid_);
    return std::find(groups_->begin(), groups_->end(), *gid) != groups_->end();
  }
  bool is_any_of(const std::optional<Setting<std::vector<std::string>>>& names) {
    return names && std::any_of(names->value.begin(), names->value.end(),
                                [&](const std::string& name) { return is(name); });
  }
  bool is_in_any_of(const std::optional<Setting<std::vector<std::string>>>& names) {
    return names && std::any_of(names->value.begin(), names->value.end(),
                                [&](const std::string& name) { return is_in(name); });
  }

 private:
  uid_t uid_;
  std::optional<std::string> name_;
  std::optional<std::vector<gid_t>> groups_;
};

void take_larger(std::optional<Setting<std::uint64_t>>& most,
                 const std::optional<Setting<std::uint64_t>>& other) {
  if (other && (!most || other->value > most->value)) most = other;
}

void take_shorter(std::optional<Setting<std::uint64_t>>& time,
                  const std::optional<Setting<std::uint64_t>>& other) {
  if (other && (!time || other->value < time->value)) time = other;
}

UserLimits limits_in(const PolicyFile& file, Person& person) {
  UserLimits limits;
  auto take = [&](const LimitSettings& settings) {
    if (settings.memory) limits.memory.push_back(*settings.memory);
    take_larger(limits.partitions, settings.partitions);
    take_larger(limits.duration_ns, settings.duration_ns);
  };
  for (const NamedLimits& named : file.users) {
    if (person.is(named.name)) take(named.limits);
  }
  UserLimits by_group;
  std::swap(limits, by_group);
  for (const NamedLimits& named : file.groups) {
    if (person.is_in(named.name)) take(named.limits);
  }
  std::swap(limits, by_group);
  auto fill = [&](const UserLimits& from) {
    if (limits.memory.empty()) limits.memory = from.memory;
    if (!limits.partitions) limits.partitions = from.partitions;
    if (!limits.duration_ns) limits.duration_ns = from.duration_ns;
  };
  fill(by_group);
  UserLimits everyone;
  if (file.everyone.memory) everyone.memory.push_back(*file.everyone.memory);
  everyone.partitions = file.everyone.partitions;
  everyone.duration_ns = file.everyone.duration_ns;
  fill(everyone);
  return limits;
}

void narrow(UserPolicy& policy, const PolicyFile& file, Person& person) {
  UserLimits limits = limits_in(file, person);
  if (!limits.is_empty()) policy.limits.push_back(std::move(limits));
  if (file.unassigned &&
      (policy.unassigned.where.empty() || policy.unassigned.value == Unassigned::kAllow)) {
    policy.unassigned = *file.unassigned;
  }
  ExpirySettings& expiry = policy.expiry;
  if (file.expiry.action && (!expiry.action || file.expiry.action->value > expiry.action->value)) {
    expiry.action = file.expiry.action;
  }
  take_shorter(expiry.terminate_after_ns, file.expiry.terminate_after_ns);
  take_shorter(expiry.grace_ns, file.expiry.grace_ns);
  if (file.expiry.warn_before_ns) expiry.warn_before_ns = file.expiry.warn_before_ns;
}

bool rule_admits(const DeviceRule& rule, Person& person) {
  return person.is_any_of(rule.users) || person.is_in_any_of(rule.groups);
}

std::string reserved_in(const PolicyFile& file, Person& person, const Device& device) {
  for (const DeviceRule& rule : file.devices) {
    if (rule.is_reserved() && rule.means(device) && !rule_admits(rule, person)) return rule.where;
  }
  return {};
}

std::string closed_in(const PolicyFile& file, const Device& device) {
  for (const DeviceRule& rule : file.devices) {
    if (rule.closed && rule.closed->value && rule.means(device)) return rule.closed->where;
  }
  return {};
}

tl::unexpected<Error> denied(const std::string& what, const std::string& where) {
  return fail(ErrorCode::kPermission, fmt::format("policy: {} ({})", what, where), kAskHint);
}

Result<void> within(const UserLimits& limits, const std::string& who,
                    const PolicyRequest& request) {
  const auto most = limits.memory_on(request.device.total_bytes);
  if (most && (request.bytes > most->value || request.other_bytes > most->value - request.bytes)) {
    std::string has = request.other_bytes == 0
                          ? std::string()
                          : fmt::format(", {} in use already", format_bytes(request.other_bytes));
    return denied(fmt::format("at most {} of device {} for {}{}", format_bytes(most->value),
                              request.device.index, who, has),
                  most->where);
  }
  if (limits.partitions && request.other_partitions >= limits.partitions->value) {
    return denied(fmt::format("at most {} partition{} for {}", limits.partitions->value,
                              limits.partitions->value == 1 ? "" : "s", who),
                  limits.partitions->where);
  }
  if (limits.duration_ns && request.duration_ns > limits.duration_ns->value) {
    return denied(fmt::format("at most {} for {}", format_duration(limits.duration_ns->value), who),
                  limits.duration_ns->where);
  }
  return {};
}

}  // namespace

std::string PolicyProblem::line(const Mistake& mistake) const {
  if (mistake.line == 0) return fmt::format("{} {}", path, mistake.text);
  return fmt::format("{}:{}: {}", path, mistake.line, mistake.text);
}

std::string PolicyProblem::place() const {
  const unsigned at = mistakes.front().line;
  return at == 0 ? path : fmt::format("{}:{}", path, at);
}

std::optional<Setting<std::uint64_t>> UserLimits::memory_on(std::uint64_t total) const {
  std::optional<Setting<std::uint64_t>> most;
  for (const Setting<MemoryAmount>& one : memory) {
    take_larger(most, Setting<std::uint64_t>{one.value.on(total), one.where});
  }
  return most;
}

PolicyPaths PolicyPaths::of_this_process() {
  PolicyPaths paths;
  auto given = [](const char* name) {
    const char* value = trusted_env(name);
    return std::string(value == nullptr ? "" : value);
  };
  paths.own = given("CHRONOS_CONFIG");
  paths.own_is_named = !paths.own.empty();
  if (paths.own_is_named) return paths;
  // The XDG base directory specification: what is not absolute is ignored.
  std::string folder = given("XDG_CONFIG_HOME");
  if (!folder.starts_with('/')) {
    folder = given("HOME");
    if (folder.starts_with('/')) folder += "/.config";
  }
  if (folder.starts_with('/')) paths.own = folder + "/chronos/config.toml";
  return paths;
}

Policy Policy::load(const PolicyPaths& paths) {
  Policy policy;
  auto root = load_source({paths.root, paths.trusted_owner, false, false});
  if (root) {
    policy.root_ = std::move(*root);
  } else {
    policy.problems_.push_back(std::move(root.error()));
  }
  if (paths.own.empty()) return policy;
  auto own = load_source({paths.own, std::nullopt, paths.own_is_named, !paths.own_is_named});
  if (own) {
    policy.own_ = std::move(*own);
  } else {
    policy.problems_.push_back(std::move(own.error()));
  }
  return policy;
}

Result<void> Policy::usable() const {
  if (problems_.empty()) return {};
  return fail(ErrorCode::kPermission, "policy: " + problem()->line(), problem()->hint);
}

UserPolicy Policy::for_user(uid_t user) const {
  UserPolicy policy;
  Person person(user);
  if (root_) narrow(policy, *root_, person);
  if (!problems_.empty()) policy.unassigned = {Unassigned::kDeny, problem()->place()};
  return policy;
}

UserPolicy Policy::for_caller() const {
  UserPolicy policy = for_user(::geteuid());
  Person person(::geteuid());
  if (own_) narrow(policy, *own_, person);
  return policy;
}

Result<void> Policy::may_have(uid_t caller, uid_t owner, const PolicyRequest& request) const {
  auto good = usable();
  if (!good) return good;
  const std::string device = fmt::format("device {}", request.device.index);
  for (const auto* file : {&root_, &own_}) {
    if (!*file) continue;
    const std::string where = closed_in(**file, request.device);
    if (!where.empty()) return denied(device + " is closed", where);
    // What root gives away is not bound by limits; and nobody's own file binds what others get.
    if (file == &root_ ? caller == 0 : owner != caller) continue;
    Person person(owner);
    const std::string who = user_name(owner);
    const std::string reserved = reserved_in(**file, person, request.device);
    if (!reserved.empty()) return denied(fmt::format("{} is not for {}", device, who), reserved);
    good = within(limits_in(**file, person), who, request);
    if (!good) return good;
  }
  return {};
}

std::string Policy::reserved_against(uid_t user, const Device& device) const {
  Person person(user);
  return root_ ? reserved_in(*root_, person, device) : std::string();
}

std::vector<Policy::DeviceStanding> Policy::devices_for(uid_t user) const {
  std::vector<DeviceStanding> all;
  Person person(user);
  for (const auto* file : {&root_, &own_}) {
    if (!*file) continue;
    for (const DeviceRule& rule : (*file)->devices) {
      DeviceStanding standing{rule.selector, rule.where};
      standing.closed = rule.closed && rule.closed->value;
      standing.reserved = rule.is_reserved();
      standing.allowed = !standing.closed && (!standing.reserved || rule_admits(rule, person));
      all.push_back(std::move(standing));
    }
  }
  return all;
}

std::vector<std::string> Policy::unknown_names() const {
  std::vector<std::string> lines;
  auto check = [&](bool known, const char* kind, const std::string& name,
                   const std::string& where) {
    if (!known) lines.push_back(fmt::format("{}: there is no {} {}", where, kind, quoted(name)));
  };
  auto user = [&](const std::string& name, const std::string& where) {
    check(find_user(name).has_value(), "user", name, where);
  };
  auto group = [&](const std::string& name, const std::string& where) {
    check(find_group(name).has_value(), "group", name, where);
  };
  for (const auto* file : {&root_, &own_}) {
    if (!*file) continue;
    for (const NamedLimits& named : (*file)->users) user(named.name, named.where);
    for (const NamedLimits& named : (*file)->groups) group(named.name, named.where);
    for (const DeviceRule& rule : (*file)->devices) {
      if (rule.users) {
        for (const std::string& name : rule.users->value) user(name, rule.users->where);
      }
      if (rule.groups) {
        for (const std::string& name : rule.groups->value) group(name, rule.groups->where);
      }
    }
  }
  return lines;
}

Policy try_policy(const std::string& path) {
  PolicyPaths paths;
  paths.root.clear();
  paths.own = path;
  paths.own_is_named = true;
  Policy policy = Policy::load(paths);
  std::swap(policy.root_, policy.own_);
  return policy;
}

}  // namespace chronos
