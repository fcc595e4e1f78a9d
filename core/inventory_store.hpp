// The remembered inventories: files `chronos.<uid>.<32 hexadecimal digits>.devices` in the state
// directory, mode 0644. The first 16 digits are of the drivers' key, so that those of others need
// not be opened; the rest is random. A file is never changed: a new one is linked and the owner's
// old ones are taken away. Format: core/inventory_format.hpp.
//
// Only root's files and the caller's own are trusted, by what fstat() says of the open file.
// Any thread, any number of processes.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "core/inventory_format.hpp"
#include "core/posix.hpp"
#include "core/state_dir.hpp"

namespace chronos {

class InventoryStore {
 public:
  // For the inventory of the drivers with `drivers_key`, in this boot.
  InventoryStore(const StateDir& state, std::string drivers_key);

  // Of those that `accept` accepts, root's newest if there is one, else the caller's own newest.
  using Accept = std::function<bool(const StoredInventory&)>;
  std::optional<StoredInventory> read(const Accept& accept) const;
  // As above, of those in `names`, which the caller has from a look into the directory.
  std::optional<StoredInventory> read(const Accept& accept,
                                      const std::vector<std::string>& names) const;

  // Remembers `inventory`. On failure nothing is changed and the result says why (one line).
  std::optional<std::string> write(const Inventory& inventory, std::uint64_t looked_at) const;

  // Lets one process of the user look at a time. Empty if the lock cannot be had in `patience`, or
  // at all: then the caller goes on without, and at worst two look.
  UniqueFd lock(std::chrono::milliseconds patience) const;

 private:
  struct Candidate {
    std::string name;
    uid_t owner;
  };
  std::optional<Candidate> candidate(std::string_view name) const;
  std::optional<StoredInventory> read_file(const std::string& name, uid_t owner) const;
  std::optional<std::string> publish(const std::string& text, std::string& name) const;
  void remove_own_but(const std::string& newest) const;
  std::string prefix_of(uid_t owner) const;  // of this key's files

  const StateDir& state_;
  std::string drivers_key_, boot_id_;
};

}  // namespace chronos
