#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <optional>

#include "core/ticket.hpp"
#include "tests/hostile/readers.hpp"
#include "tests/hostile/scene.hpp"

namespace chronos::test {
namespace {

class TicketReader final : public Reader {
 public:
  const char* name() const override { return "ticket"; }
  std::string make(Mutator& mutator) override {
    prepare();
    std::vector<Field> fields;
    for (std::size_t at = 0; at + 8 <= 96; at += 8) fields.push_back({at, 8});
    fields.push_back({56, 4});
    fields.push_back({60, 4});
    fields.push_back({96, 192});
    fields.push_back({288, 8});
    fields.push_back({296, 192});
    return mutator.binary(valid_, fields);
  }
  // The first byte: 1 puts in what it is and whose, 2 the process that waits.
  std::string file_of(std::string_view input) override {
    prepare();
    if (input.empty()) return {};
    const auto mode = static_cast<unsigned char>(input.front());
    std::string bytes(input.substr(1));
    if (bytes.size() < valid_.size()) return bytes;
    if (mode & 1) bytes.replace(0, 48, valid_, 0, 48);
    if (mode & 2) bytes.replace(64, 16, valid_, 64, 16);
    return bytes;
  }
  std::vector<std::string> seeds() override {
    prepare();
    std::vector<std::string> all;
    for (char mode = 0; mode < 4; ++mode) all.push_back(std::string(1, mode) + valid_);
    for (const int fill : {0, 0x7f, 0xff}) {
      all.push_back("\3" + valid_);
      all.back().replace(1 + 48, 16, 16, static_cast<char>(fill));
    }
    all.push_back("\3" + valid_);
    all.back().replace(1 + 96, 192, 192, 'x');
    return all;
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
      const auto& wishes = one.claim.wishes;
      require(one.claim.count > 0 && one.claim.count <= wishes.size() &&
                  wishes.size() <= kMaxCandidates,
              "an impossible choice");
      for (const Claim::Wish& wish : wishes) {
        require(wish.bytes > 0 && wish.bytes <= kMaxBytes && wish.device_key.size() < 192,
                "an impossible wish");
      }
    }
    return is_waiting(s.state, *file_) && !waiting.empty();
  }

 private:
  void prepare() {
    if (ticket_) return;
    ticket_.emplace(must(Ticket::take(
        scene().state, {{{gpu().key, kTotal}, {"pci:0000:02:00.0", 1}}, 1, kNanosPerSecond}, 1)));
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

}  // namespace

Reader* ticket_reader() {
  static auto* const reader = new TicketReader;
  return reader;
}

Reader* counter_reader() {
  static auto* const reader = new CounterReader;
  return reader;
}

}  // namespace chronos::test
