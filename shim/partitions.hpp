// Which of the caller's partitions applies to a device, in this process.
//
// Explicit first: CHRONOS_PARTITION names one or several (id, name, or the handle that `chronos
// run` passes on). Else the caller's own active partitions, the oldest on each device. A device is
// unassigned, and free, only when nothing was named and nothing is owned; whatever was named or
// once found and cannot be used refuses (docs/decisions/0002-fail-closed.md). The policy is read
// once, at the first need, and kept, in forked children too. A program that knows of us may name
// others while it runs (shim/control.hpp).
//
// Threads: the caller holds process().mutex.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/attachment.hpp"
#include "core/policy.hpp"

namespace chronos::shim {

// How allocations on one device are treated.
struct Place {
  enum class Kind { kUnassigned, kCharged, kRefused };
  Kind kind = Kind::kUnassigned;
  Attachment* attachment = nullptr;  // with kCharged
  const std::string* why = nullptr;  // with kRefused: one line
  bool lacks_callbacks = false;      // OpenCL 1.0: its driver has no destructor callbacks
  bool passing = false;              // with kRefused: look again next time (no descriptor was left)
  std::uint64_t device_bytes = 0;    // the most that it could give at once; 0: it does not say
  bool hidden = false;  // with kRefused: not to be seen, see Partitions::hides_devices()
};

class Partitions {
 public:
  // `key` as device_key() makes it, empty for a device that cannot be identified; `device_name`
  // is for messages.
  Place place_for(const std::string& key, const std::string& device_name);

  // `partitions` in the place of CHRONOS_PARTITION; nullptr: that again. Forgets what was resolved,
  // and lets go of partitions that are over and in which this process holds nothing.
  void use(const char* partitions);

  // Whether devices are hidden on which the caller has no partition (by the policy) or which are
  // not in a partition that was named (CHRONOS_DEVICES=partitions, set by `chronos acquire`).
  bool hides_devices();
  bool any_usable() const { return !attachments_.empty(); }

  void after_fork();

 private:
  struct Named {        // one partition of CHRONOS_PARTITION
    std::string id;     // as it was written
    std::string shown;  // fit for a message
    bool resolved = false;
    std::string key;  // of its device; empty if the partition is unusable
    Place place;
  };
  void read_environment();
  void name(std::string_view list);
  Place resolve(Named& named);
  bool shows_named_only();
  Place named_place(const std::string& key, const std::string& device_name);
  Place owned_place(const std::string& key, const std::string& device_name);
  Place unassigned_place(const std::string& device_name);
  const UserPolicy& rules();
  void clamp(std::vector<Grant>& grants);
  Place attach(const StateDir& state, const Grant& grant);
  Place refuse(const std::string& why);
  Place refuse_for_now(const Error& error);

  bool read_ = false, named_only_ = false;
  std::optional<std::string> inherited_;  // CHRONOS_PARTITION, when it was first read
  Policy policy_;
  std::optional<UserPolicy> rules_;  // what the policy says of the caller
  std::vector<Named> named_;
  std::vector<std::unique_ptr<Attachment>> attachments_;
  std::vector<std::unique_ptr<Attachment>> retired_;  // a thread may still have one in its hand
  std::vector<std::unique_ptr<std::string>> reasons_;
};

}  // namespace chronos::shim
