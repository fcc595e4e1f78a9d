#include <cstddef>
#include <cstring>

#include "core/attachment.hpp"
#include "tests/hostile/readers.hpp"
#include "tests/hostile/scene.hpp"

namespace chronos::test {
namespace {

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
  // The first byte: 1 takes the rest as the file itself. Else four words of the header (ended,
  // slots_high, peak, refusals) and then slots: index, kind (1: of this very process, 2: of the
  // first process), four words.
  std::string file_of(std::string_view input) override {
    if (input.empty()) return {};
    const auto mode = static_cast<unsigned char>(input.front());
    input.remove_prefix(1);
    if (mode & 1) return std::string(input);
    std::string bytes = scene().ledger_bytes;
    constexpr std::size_t kWords[] = {
        offsetof(LedgerHeader, ended), offsetof(LedgerHeader, slots_high),
        offsetof(LedgerHeader, peak), offsetof(LedgerHeader, refusals)};
    for (const std::size_t at : kWords) {
      if (input.size() < 8) return bytes;
      std::memcpy(bytes.data() + at, input.data(), 8);
      input.remove_prefix(8);
    }
    for (; input.size() >= kRecord; input.remove_prefix(kRecord)) {
      std::uint64_t words[4];
      std::memcpy(words, input.data() + 2, sizeof words);
      auto owner = OwnerWord::unpack(words[0]);
      if (input[1] & 3) owner.state = SlotState::kLive;
      if (input[1] & 1) {
        const ProcessIdentity self = this_process();
        owner.pid = static_cast<std::uint32_t>(self.pid);
        words[2] = self.start_ticks;
        words[3] = self.pid_namespace;
      } else if (input[1] & 2) {
        owner.pid = 1;
      }
      words[0] = owner.pack();
      const std::size_t index = static_cast<unsigned char>(input.front());
      std::memcpy(bytes.data() + offsetof(LedgerLayout, slots) + index * sizeof(LedgerSlot), words,
                  sizeof words);
    }
    return bytes;
  }
  std::vector<std::string> seeds() override {
    std::vector<std::string> all = {std::string("\1") +
                                    scene().ledger_bytes.substr(0, sizeof(LedgerHeader))};
    for (const char kind : {'\0', '\1', '\2'}) {
      for (const std::uint64_t held : {std::uint64_t{0}, kTotal / 8, kMaxBytes}) {
        const std::uint64_t header[] = {0, 3, held, 1};
        std::string input(1, '\0');
        input.append(reinterpret_cast<const char*>(header), sizeof header);
        for (char index = 0; index < 3; ++index) {
          const std::uint64_t words[] = {OwnerWord{7, SlotState::kLive, 4194000}.pack(),
                                         BytesWord{7, held}.pack(), 5, 6};
          input.append({index, kind}).append(reinterpret_cast<const char*>(words), sizeof words);
        }
        all.push_back(input);
      }
    }
    all.push_back(all.back());
    all.back()[1] = 1;  // ended
    return all;
  }
  bool read(std::string_view bytes) override {
    Scene& s = scene();
    s.put(s.grant_name, s.grant_bytes);  // other readers damage it, and a listing puts it away
    s.put(s.ledger_name, bytes);
    auto use = read_ledger(s.state, s.grant);
    if (use) {
      const std::uint64_t most = s.grant.most_held_bytes();
      require(use->used_bytes <= most, "more than the limit in use");
      require(use->processes.size() <= kLedgerSlots, "more processes than slots");
      for (const ProcessUse& one : use->processes) {
        require(one.used_bytes > 0 && one.used_bytes <= most,
                "a process holds more than the limit");
      }
      require(use->any_live || use->processes.empty(), "bytes of nobody who lives");
      attach(use->ended);
    }
    if (++count_ % 64 == 0) {
      s.check_list();
    }
    return use.has_value();
  }

 private:
  // As a program of its owner takes it: mapped, with a slot, charged.
  static void attach(bool ended) {
    Scene& s = scene();
    auto attached = Attachment::attach(s.state, s.grant);
    require(attached.has_value(), "(not at all: it was readable before)");
    Attachment& mine = **attached;
    const std::uint64_t limit = mine.limit();
    require(limit <= s.grant.limit_bytes, "a limit above the grant's");
    require(!mine.charge(limit + 1).admitted(), "a charge above the limit");
    require(!mine.charge(kMaxBytes).admitted() && !mine.charge(~std::uint64_t{0}).admitted(),
            "a charge that no device could hold");
    const std::uint64_t before = mine.used();
    if (mine.charge(4096).admitted()) {
      require(!ended, "a partition that had ended goes on");
      require(mine.used() == before + 4096 && mine.used() <= limit, "a sum above the limit");
      mine.credit(4096);
      require(mine.used() == before, "a credit that is not what was charged");
      mine.credit(kMaxBytes);
      require(mine.used() <= before, "a credit below zero");
    } else {
      require(mine.used() <= before, "a refused charge left a trace");
    }
    mine.after_fork();  // closes its lock
  }

  static constexpr std::size_t kRecord = 2 + 4 * 8;
  unsigned count_ = 0;
};

}  // namespace

Reader* ledger_reader() {
  static auto* const reader = new LedgerReader;
  return reader;
}

}  // namespace chronos::test
