#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <memory>

#include "core/clock.hpp"
#include "core/name.hpp"
#include "core/units.hpp"
#include "tests/hostile/policy_checks.hpp"
#include "tests/hostile/readers.hpp"
#include "tests/hostile/scene.hpp"

namespace chronos::test {
namespace {

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
    if (mutator.chance(80)) sum_up(bytes);
    return bytes;
  }
  // The first byte: 1 fills up to the size of the file, 2 puts in who and when, 4 the checksum.
  std::string file_of(std::string_view input) override {
    if (input.empty()) return {};
    const auto mode = static_cast<unsigned char>(input.front());
    std::string bytes(input.substr(1));
    if (mode & 1) bytes.resize(kGrantFileSize);
    if ((mode & 2) && bytes.size() >= offsetof(GrantLayout, number)) {
      bytes.replace(0, offsetof(GrantLayout, number), scene().grant_bytes, 0,
                    offsetof(GrantLayout, number));
    }
    if ((mode & 2) && bytes.size() >= sizeof(GrantLayout)) {
      std::memcpy(bytes.data() + offsetof(GrantLayout, owner_uid), &scene().grant_name.uid,
                  sizeof(std::uint32_t));
    }
    if (mode & 4) sum_up(bytes);
    return bytes;
  }
  std::vector<std::string> seeds() override {
    const std::string whole = scene().grant_bytes.substr(0, sizeof(GrantLayout));
    std::vector<std::string> all = {"\7" + whole, "\5" + whole, std::string(1, '\0') + whole};
    const auto with = [&](std::size_t at, std::uint64_t value) {
      std::string bytes = "\7" + whole;
      std::memcpy(bytes.data() + 1 + at, &value, sizeof value);
      all.push_back(bytes);
    };
    for (const std::size_t at :
         {offsetof(GrantLayout, device_total_bytes), offsetof(GrantLayout, fraction),
          offsetof(GrantLayout, birth_ns), offsetof(GrantLayout, name),
          offsetof(GrantLayout, limit_bytes), offsetof(GrantLayout, deadline_ns),
          offsetof(GrantLayout, ended), offsetof(GrantLayout, draining_bytes)}) {
      with(at, ~std::uint64_t{0});
      with(at, 0);
    }
    return all;
  }
  bool read(std::string_view bytes) override {
    Scene& s = scene();
    FileName name = s.grant_name;
    if (bytes.size() >= sizeof(GrantLayout)) {
      std::memcpy(name.token.data(), bytes.data() + offsetof(GrantLayout, token), kTagBytes);
    }
    s.put(name, bytes);
    auto grant = read_grant(s.state, name);
    if (grant) check(*grant, name);
    if (++count_ % 64 == 0) {
      s.check_list();
      s.put(s.ledger_name, s.ledger_bytes);  // a listing may have put it away
    }
    remove_file(s.state, name);
    return grant.has_value();
  }

 private:
  static constexpr std::size_t kTagBytes = 8;  // of a token: what it says of the content

  // With a token that fits and a good checksum, because whoever forges a grant can count too.
  static void sum_up(std::string& bytes) {
    if (bytes.size() < sizeof(GrantLayout)) return;
    auto layout = std::make_unique<GrantLayout>();
    std::memcpy(static_cast<void*>(layout.get()), bytes.data(), sizeof *layout);
    const auto text = [](const auto& field) {
      return std::string_view(field, ::strnlen(field, sizeof field));
    };
    TokenTags::of(text(layout->device_key), layout->number, text(layout->name))
        .put_into(layout->token);
    std::memcpy(bytes.data() + offsetof(GrantLayout, token), &layout->token, sizeof layout->token);
    const std::uint64_t sum = layout->compute_checksum();
    std::memcpy(bytes.data() + offsetof(GrantLayout, checksum), &sum, sizeof sum);
  }

  static void check(const Grant& grant, const FileName& name) {
    Scene& s = scene();
    require(grant.limit_bytes <= grant.device_total_bytes, "a limit larger than the device");
    require(grant.device_total_bytes <= kMaxBytes && grant.most_bytes <= grant.device_total_bytes &&
                grant.draining_bytes <= grant.most_bytes,
            "more bytes than a device can have");
    require(grant.birth_ns <= boot_now(), "a birth in the future");
    require(grant.deadline_ns - std::min(grant.birth_ns, grant.deadline_ns) <=
                kMaxDurationSeconds * kNanosPerSecond,
            "a deadline after more than 100 years");
    require(grant.owner == name.uid && grant.token == name.token && !grant.device_key.empty() &&
                grant.number != 0,
            "another's name");
    require(std::isfinite(grant.fraction) && grant.fraction >= 0, "an impossible share");
    require(grant.name.empty() || check_name(grant.name), "an impossible name");
    require(matches(grant, grant.id()) && !matches(grant, ""), "an id that is not its own");
    check_clamp(grant, Policy(), kTotal);
    static const Policy* const strict =
        new Policy(policy_of("[limits]\nmemory = \"25%\"\npartitions = 3\nduration = \"8h\"\n"));
    check_clamp(grant, *strict, kTotal / 4);
    auto use = read_ledger(s.state, grant);
    require(!use || use->used_bytes <= grant.most_held_bytes(), "more than the limit in use");
  }

  unsigned count_ = 0;
};

}  // namespace

Reader* grant_reader() {
  static auto* const reader = new GrantReader;
  return reader;
}

}  // namespace chronos::test
