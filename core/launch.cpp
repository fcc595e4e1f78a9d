#include "core/launch.hpp"

#include <unistd.h>

#include <algorithm>

#include "core/paths.hpp"
#include "core/text.hpp"
#include "core/users.hpp"

namespace chronos {

std::string Scope::handles() const {
  std::string text;
  for (const PartitionInfo& partition : partitions) {
    text += (text.empty() ? "" : ",") + partition.handle();
  }
  return text;
}

Result<void> check_usable(const PartitionInfo& partition) {
  if (!partition.is_mine) {
    return fail(ErrorCode::kPermission,
                "Permission denied: partition owned by " + user_name(partition.owner));
  }
  if (partition.state != PartitionState::kActive) {
    return fail(ErrorCode::kExpired, "Partition " + partition.id + " has ended",
                "create another one, or name one that `chronos list` shows");
  }
  return {};
}

Result<Scope> named_partitions(Registry& registry, std::string_view list) {
  Scope scope;
  while (!list.empty()) {
    const std::size_t end = std::min(list.find(','), list.size());
    const std::string_view id = list.substr(0, end);
    list.remove_prefix(std::min(end + 1, list.size()));
    if (id.empty()) continue;
    Result<PartitionInfo> partition = registry.find(id);
    if (!partition) return pass_on(partition);
    Result<void> usable = check_usable(*partition);
    if (!usable) return pass_on(usable);
    const bool twice =
        std::any_of(scope.partitions.begin(), scope.partitions.end(),
                    [&](const PartitionInfo& other) { return other.token == partition->token; });
    if (!twice) scope.partitions.push_back(std::move(*partition));
  }
  if (scope.partitions.empty()) {
    return fail(ErrorCode::kInvalid, "no partition named", "`chronos list` shows their ids");
  }
  return scope;
}

Result<Scope> own_partitions(Registry& registry) {
  Result<std::vector<PartitionInfo>> all = registry.list();
  if (!all) return pass_on(all);
  Scope scope;
  scope.implicit = true;
  for (PartitionInfo& partition : *all) {
    if (!check_usable(partition)) continue;
    const bool has_older = std::any_of(
        scope.partitions.begin(), scope.partitions.end(),
        [&](const PartitionInfo& other) { return other.device_key == partition.device_key; });
    if (!has_older) scope.partitions.push_back(std::move(partition));
  }
  if (scope.partitions.empty()) {
    return fail(ErrorCode::kNotFound, "no partition of " + user_name(::geteuid()) + " is active",
                "make one with `chronos create`");
  }
  return scope;
}

Result<std::string> usable_shim_path() {
  std::string shim = shim_path();
  if (shim.empty()) {
    return fail(ErrorCode::kSystem, "libchronos_shim.so is missing from this installation",
                "it belongs into lib/, beside libchronos.so; install Chronos again");
  }
  // Neither LD_PRELOAD nor OPENCL_LAYERS has a way to quote.
  if (shim.find_first_of(": \t\n") != std::string::npos) {
    return fail(ErrorCode::kSystem, "cannot preload " + quoted(shim),
                "install Chronos where the path has neither blanks nor colons");
  }
  return shim;
}

}  // namespace chronos
