// Whose what lies in the state directory is, by the kernel's word: everybody may put files there,
// under any name. Any thread.
#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/partition_files.hpp"
#include "core/result.hpp"
#include "core/state_dir.hpp"

namespace chronos {

// Who has put something under a name that only `name.uid` or root may use. None: it is theirs, or
// gone, or cannot be told.
std::optional<uid_t> squatter_of(const StateDir& state, const FileName& name);

// Whether a regular file of that name is there and belongs to `uid`.
bool is_file_of(const StateDir& state, const FileName& name, uid_t uid);

// In a user namespace that does not know the owner of the state directory, all strangers look alike
// to the kernel: then nobody can tell whose partitions are there.
bool owners_are_hidden(const StateDir& state);

// The refusal that follows (kPermission); `otherwise`: what to do.
tl::unexpected<Error> strangers_are_hidden(const StateDir& state, std::string otherwise);

// Whether a grant that could not be judged in a user namespace may be the caller's own, or that of
// somebody else whom only that namespace tells from the caller.
bool may_be_mine(const StateDir& state, const FileName& grant);

// What of the state directory was passed over in a look, as lines for people: what is the caller's
// to mend, and for root what anybody has left there. However much it is, it makes few lines.
class PassedOver {
 public:
  explicit PassedOver(const StateDir& state) : state_(state) {}
  void add(const FileName& name, const Error& error);
  // For root: `name`, if it is under another's name.
  void add_squatter(const FileName& name);
  std::vector<std::string> lines() const;

 private:
  struct Pile {
    std::size_t count = 0;
    std::string example;
  };
  const StateDir& state_;
  std::vector<std::string> lines_;
  std::map<uid_t, Pile> more_, squatters_;
};

}  // namespace chronos
