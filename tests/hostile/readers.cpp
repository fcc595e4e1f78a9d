#include "tests/hostile/readers.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>

#include "core/clock.hpp"
#include "core/grant_clamp.hpp"
#include "core/inventory_format.hpp"
#include "core/partition_files.hpp"
#include "core/policy.hpp"
#include "core/registry.hpp"
#include "core/report.hpp"
#include "core/slot_judge.hpp"
#include "core/ticket.hpp"

namespace chronos::test {
namespace {

constexpr std::uint64_t kTotal = std::uint64_t{24} << 30;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "a hostile file was believed: %s\n", what);
  std::abort();
}

template <class T>
T must(Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "cannot prepare: %s\n", result.error().message.c_str());
    std::abort();
  }
  return std::move(*result);
}

Device gpu() {
  Device device;
  device.index = 0;
  device.key = "uuid:0123456789abcdef";
  device.name = "Some GPU";
  device.total_bytes = kTotal;
  return device;
}

// A state directory with one partition, whose files are replaced by damaged ones.
struct Scene {
  StateDir state = must(StateDir::open());
  Registry registry = must(Registry::open());
  FileName grant_name, ledger_name;
  Grant grant;
  std::string grant_bytes, ledger_bytes;

  Scene() {
    CreateRequest request;
    request.device = gpu();
    request.memory.bytes = kTotal / 4;
    request.duration_ns = 3'600'000'000'000;
    request.name = "victim";
    must(registry.create(request));
    for (const FileName& name : must(scan(state))) {
      if (name.kind == FileKind::kGrant) grant_name = name;
    }
    ledger_name = {grant_name.uid, grant_name.token, FileKind::kLedger};
    grant = must(read_grant(state, grant_name));
    grant_bytes = get(grant_name);
    ledger_bytes = get(ledger_name);
  }

  std::string get(const FileName& name) const {
    std::string bytes;
    read_small_file((state.path() + "/" + name.text()).c_str(), bytes);
    return bytes;
  }
  void put(const FileName& name, std::string_view bytes) const {
    UniqueFd fd(
        ::openat(state.fd(), name.text().c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    require(fd && pwrite_all(fd.get(), bytes.data(), bytes.size(), 0),
            "(nothing: it is not there)");
  }
  void check_list() {
    auto all = registry.list();
    require(all.has_value(), "a listing failed");
    for (const PartitionInfo& one : *all) {
      require(one.limit_bytes <= one.device_total_bytes, "a limit larger than the device");
      require(one.used_bytes <= one.device_total_bytes, "more than the device in use");
      (void)json_text(partition_json(one));
    }
    require(Registry::use_of(gpu(), *all).available_bytes <= kTotal, "more than all is available");
  }
};

Scene& scene() {
  static Scene* const made = new Scene;
  return *made;
}

class GrantReader final : public Reader {
 public:
  const char* name() const override { return "grant"; }
  std::string make(Mutator& mutator) override {
    static const std::vector<Field> fields = {{offsetof(GrantLayout, magic), 8},
                                              {offsetof(GrantLayout, version), 4},
                                              {offsetof(GrantLayout, size), 4},
                                              {offsetof(GrantLayout, token), 16},
                                              {offsetof(GrantLayout, boot_id), 16},
                                              {offsetof(GrantLayout, number), 8},
                                              {offsetof(GrantLayout, owner_uid), 4},
                                              {offsetof(GrantLayout, creator_uid), 4},
                                              {offsetof(GrantLayout, creator_pid), 4},
                                              {offsetof(GrantLayout, device_index), 4},
                                              {offsetof(GrantLayout, device_total_bytes), 8},
                                              {offsetof(GrantLayout, fraction), 8},
                                              {offsetof(GrantLayout, birth_ns), 8},
                                              {offsetof(GrantLayout, duration_ns), 8},
                                              {offsetof(GrantLayout, held), 4},
                                              {offsetof(GrantLayout, holder_pid_namespace), 4},
                                              {offsetof(GrantLayout, holder_start_ticks), 8},
                                              {offsetof(GrantLayout, name), 64},
                                              {offsetof(GrantLayout, device_key), 192},
                                              {offsetof(GrantLayout, device_name), 256},
                                              {offsetof(GrantLayout, limit_bytes), 8},
                                              {offsetof(GrantLayout, deadline_ns), 8},
                                              {offsetof(GrantLayout, ended), 8},
                                              {offsetof(GrantLayout, draining_bytes), 8}};
    std::string bytes = mutator.binary(scene().grant_bytes, fields);
    // With a good checksum, because whoever forges a grant can count too.
    if (mutator.chance(80) && bytes.size() >= sizeof(GrantLayout)) {
      auto layout = std::make_unique<GrantLayout>();
      std::memcpy(static_cast<void*>(layout.get()), bytes.data(), sizeof *layout);
      // And choose the token.
      const auto text = [](const auto& field) {
        return std::string_view(field, ::strnlen(field, sizeof field));
      };
      TokenTags::of(text(layout->device_key), layout->number, text(layout->name))
          .put_into(layout->token);
      std::memcpy(bytes.data() + offsetof(GrantLayout, token), &layout->token,
                  sizeof layout->token);
      const std::uint64_t sum = layout->compute_checksum();
      std::memcpy(bytes.data() + offsetof(GrantLayout, checksum), &sum, sizeof sum);
    }
    return bytes;
  }
  bool read(std::string_view bytes) override {
    Scene& s = scene();
    FileName name = s.grant_name;
    if (bytes.size() >= sizeof(GrantLayout)) {
      std::memcpy(name.token.data(), bytes.data() + offsetof(GrantLayout, token), 8);
    }
    s.put(name, bytes);
    auto grant = read_grant(s.state, name);
    if (grant) {
      require(grant->limit_bytes <= grant->device_total_bytes, "a limit larger than the device");
      require(grant->birth_ns <= boot_now(), "a birth in the future");
      require(grant->deadline_ns - std::min(grant->birth_ns, grant->deadline_ns) <=
                  kMaxDurationSeconds * kNanosPerSecond,
              "a deadline after more than 100 years");
      require(grant->owner == s.grant_name.uid && !grant->device_key.empty(), "another's name");
      (void)matches(*grant, "victim");
      Grant clamped = *grant;
      static const Policy* const policy = new Policy;
      GrantClamp clamp(*policy, {gpu()});
      clamp.clamp_deadline(clamped);
      std::uint64_t used = kTotal;
      clamp.clamp_bytes(clamped, false, used);
      (void)read_ledger(s.state, *grant);
    }
    if (++count_ % 64 == 0) {
      s.check_list();
      s.put(s.ledger_name, s.ledger_bytes);  // a listing may have put it away
    }
    remove_file(s.state, name);
    return grant.has_value();
  }

 private:
  unsigned count_ = 0;
};

class LedgerReader final : public Reader {
 public:
  const char* name() const override { return "ledger"; }
  std::string make(Mutator& mutator) override {
    constexpr std::size_t kHeader = offsetof(LedgerLayout, header);
    std::vector<Field> fields = {{kHeader + offsetof(LedgerHeader, magic), 8},
                                 {kHeader + offsetof(LedgerHeader, version), 4},
                                 {kHeader + offsetof(LedgerHeader, slot_count), 4},
                                 {kHeader + offsetof(LedgerHeader, token), 16},
                                 {kHeader + offsetof(LedgerHeader, ended), 8},
                                 {kHeader + offsetof(LedgerHeader, slots_high), 8},
                                 {kHeader + offsetof(LedgerHeader, peak), 8},
                                 {kHeader + offsetof(LedgerHeader, refusals), 8}};
    std::string valid = scene().ledger_bytes;
    // Slots that are alive, of this very process and others, with whatever they claim to hold.
    const std::size_t slots = mutator.below(6);
    const std::uint64_t high = slots;
    std::memcpy(valid.data() + kHeader + offsetof(LedgerHeader, slots_high), &high, sizeof high);
    const ProcessIdentity self = this_process();
    for (std::size_t i = 0; i < slots; ++i) {
      const std::size_t at = offsetof(LedgerLayout, slots) + i * sizeof(LedgerSlot);
      const std::uint64_t words[] = {
          OwnerWord{static_cast<std::uint32_t>(i), SlotState::kLive,
                    static_cast<std::uint32_t>(mutator.chance(80) ? self.pid : 1)}
              .pack(),
          BytesWord{static_cast<std::uint32_t>(i), mutator.below(kTotal)}.pack(), self.start_ticks,
          self.pid_namespace};
      std::memcpy(valid.data() + at, words, sizeof words);
      for (std::size_t word = 0; word < 4; ++word) fields.push_back({at + 8 * word, 8});
    }
    return mutator.binary(valid, fields);
  }
  bool read(std::string_view bytes) override {
    Scene& s = scene();
    s.put(s.ledger_name, bytes);
    auto use = read_ledger(s.state, s.grant);
    if (use) {
      require(use->used_bytes <= s.grant.most_held_bytes(), "more than the limit in use");
      require(use->processes.size() <= kLedgerSlots, "more processes than slots");
    }
    if (++count_ % 64 == 0) {
      s.put(s.grant_name, s.grant_bytes);
      s.check_list();
      s.put(s.grant_name, s.grant_bytes);
    }
    return use.has_value();
  }

 private:
  unsigned count_ = 0;
};

class TicketReader final : public Reader {
 public:
  const char* name() const override { return "ticket"; }
  std::string make(Mutator& mutator) override {
    prepare();
    std::vector<Field> fields;
    for (std::size_t at = 0; at + 8 <= 96; at += 8) fields.push_back({at, 8});
    fields.push_back({96, 192});
    return mutator.binary(valid_, fields);
  }
  bool read(std::string_view bytes) override {
    prepare();
    Scene& s = scene();
    // A listing may have swept it away: it was damaged.
    if (::faccessat(s.state.fd(), file_->text().c_str(), F_OK, 0) != 0) {
      ticket_.reset();
      prepare();
    }
    // In place: the lock on it is held.
    UniqueFd fd(::openat(s.state.fd(), file_->text().c_str(), O_RDWR | O_CLOEXEC));
    require(
        fd && ::ftruncate(fd.get(), 0) == 0 && pwrite_all(fd.get(), bytes.data(), bytes.size(), 0),
        "(nothing: it is not there)");
    const auto waiting = read_tickets(s.state, {*file_});
    for (const Waiting& one : waiting) {
      require(one.bytes > 0 && one.bytes <= kMaxBytes && one.device_key.size() < 192,
              "an impossible wish");
    }
    return is_waiting(s.state, *file_) && !waiting.empty();
  }

 private:
  void prepare() {
    if (ticket_) return;
    ticket_.emplace(must(Ticket::take(scene().state, gpu().key, kTotal, 1)));
    for (const FileName& name : must(scan(scene().state))) {
      if (name.kind == FileKind::kTicket) file_ = name;
    }
    valid_ = scene().get(*file_);
  }
  std::optional<Ticket> ticket_;
  std::optional<FileName> file_;
  std::string valid_;
};

class CounterReader final : public Reader {
 public:
  const char* name() const override { return "counter"; }
  std::string make(Mutator& mutator) override {
    std::string valid(24, '\0');
    std::memcpy(valid.data(), this_boot().data(), 16);
    valid[16] = 7;
    return mutator.binary(valid, {{0, 16}, {16, 8}});
  }
  bool read(std::string_view bytes) override {
    static const FileName name{::geteuid(), random_token(), FileKind::kCounter};
    scene().put(name, bytes);
    return read_counter(scene().state, name) != 0;
  }
};

class PolicyReader final : public Reader {
 public:
  const char* name() const override { return "policy"; }
  std::string make(Mutator& mutator) override {
    static const std::vector<std::string> words = {"unassigned",
                                                   "\"deny\"",
                                                   "[limits]",
                                                   "memory",
                                                   "\"8GiB\"",
                                                   "\"50%\"",
                                                   "partitions",
                                                   "duration",
                                                   "\"8h\"",
                                                   "[users.alice]",
                                                   "[groups.lab]",
                                                   "[devices.0]",
                                                   "[devices.\"pci:0000:65:00.0\"]",
                                                   "closed = true",
                                                   "reserved_users = [\"a\", 7]",
                                                   "[expiry]",
                                                   "on_expiry",
                                                   "grace",
                                                   "inf",
                                                   "nan",
                                                   "1979-05-27T07:32:00Z",
                                                   "\"\"\"",
                                                   "'''",
                                                   "\\u0000",
                                                   "\\U0010ffff",
                                                   "0x7fffffffffffffff",
                                                   "-1",
                                                   "1e308",
                                                   "[[",
                                                   "]]",
                                                   "{a={a={",
                                                   "\xff\xfe",
                                                   "\xf0\x9f\x98\x80"};
    return mutator.text(
        "unassigned = \"deny\"\n[limits]\nmemory = \"50%\"\npartitions = 4\nduration = \"8h\"\n"
        "[groups.students]\nmemory = \"8GiB\"\npartitions = 1\n[users.alice]\nduration = \"2d\"\n"
        "[devices.0]\nclosed = true\n[devices.\"pci:0000:65:00.0\"]\nreserved_users = [\"alice\"]\n"
        "[expiry]\non_expiry = \"terminate\"\nwarn_before = \"10m\"\ngrace = \"30s\"\n",
        words);
  }
  bool read(std::string_view bytes) override {
    auto policy = parse_policy(bytes, "config.toml");
    if (!policy) {
      require(!policy.error().empty(), "no mistake in what is none");
      for (const Mistake& mistake : policy.error()) {
        require(mistake.text.find('\n') == std::string::npos, "a mistake of two lines");
      }
      return false;
    }
    for (const DeviceRule& rule : policy->devices) (void)rule.means(gpu());
    return true;
  }
};

class InventoryReader final : public Reader {
 public:
  const char* name() const override { return "inventory"; }
  std::string make(Mutator& mutator) override {
    static const std::string valid = [] {
      Inventory inventory;
      inventory.devices = {gpu(), gpu()};
      inventory.warnings = {"some driver did not answer"};
      return to_text({"boot", "key", 7, inventory});
    }();
    static const std::vector<std::string> words = {
        "null", "true", "[]", "{}", "\"\\ud800\"", "1e999", "-1", "\"a\":", "[[[[[[[["};
    return mutator.text(valid, words);
  }
  bool read(std::string_view bytes) override {
    auto stored = parse_inventory(std::string(bytes));
    return stored.has_value();
  }
};

}  // namespace

std::vector<Reader*> all_readers() {
  static auto* const grants = new GrantReader;
  static auto* const ledgers = new LedgerReader;
  static auto* const tickets = new TicketReader;
  static auto* const counters = new CounterReader;
  static auto* const policies = new PolicyReader;
  static auto* const inventories = new InventoryReader;
  return {grants, ledgers, tickets, counters, policies, inventories};
}

}  // namespace chronos::test
