#include "core/registry.hpp"

#include <fmt/format.h>

#include "core/crash_point.hpp"
#include "core/partition_files.hpp"
#include "core/registry_lock.hpp"
#include "core/registry_look.hpp"
#include "core/users.hpp"

namespace chronos {
Result<Registry> Registry::open() {
  auto state = StateDir::open_or_make();
  if (!state) {
    state.error().code = ErrorCode::kSystem;  // kNotFound is about partitions here
    return pass_on(state);
  }
  return Registry(std::move(*state));
}

Result<PartitionInfo> Registry::release(std::string_view id) {
  auto seen = look_for(id);
  if (!seen) return pass_on(seen);
  auto found = seen->choose(id);
  if (!found) return pass_on(found);
  const Entry* chosen = *found;
  CHRONOS_POINT(release_chosen);

  Result<void> ended;
  if (chosen->may_write()) {
    ended = end_grant(state_, chosen->name);
  } else if (chosen->is_mine()) {
    ended = end_ledger(state_, chosen->grant);
  } else {
    return fail(ErrorCode::kPermission,
                "Permission denied: partition owned by " + user_name(chosen->grant.owner));
  }
  if (!ended && ended.error().code == ErrorCode::kNotFound) return partition_not_found(id);
  if (!ended && ended.error().code == ErrorCode::kDamaged) {
    ended.error().message =
        fmt::format("{}/{} {}", state_.path(), chosen->name.text(), ended.error().message);
  }
  if (!ended) return pass_on(ended);

  CHRONOS_POINT(release_ended);
  Entry result = *chosen;
  result.over = true;
  // That was the release; to tidy up, nobody's lock is worth waiting for.
  if (auto lock = RegistryLock::try_acquire(state_)) (void)put_away(result);
  return result.info();
}

}  // namespace chronos
