#include <stdlib.h>

#include <algorithm>

#include "core/name.hpp"
#include "core/text.hpp"
#include "shim/partitions.hpp"
#include "tests/hostile/readers.hpp"
#include "tests/hostile/scene.hpp"

namespace chronos::test {
namespace {

class NamesReader final : public Reader {
 public:
  const char* name() const override { return "names"; }
  std::string make(Mutator& mutator) override {
    const std::vector<std::string> whole = seeds();
    static const std::vector<std::string> words = {"victim", "partition_", "@",
                                                   ",",      "chronos.",   ".ledger"};
    return file_of(mutator.text(whole[mutator.below(whole.size())], words));
  }
  // The random part of the partition's handle stands as T.
  std::string file_of(std::string_view input) override {
    std::string text;
    for (const char c : input) {
      if (c == 'T') {
        text += token_text(scene().grant_name.token);
      } else {
        text += c;
      }
    }
    return text;
  }
  std::vector<std::string> seeds() override {
    return {"victim",
            "partition_0001",
            "victim@T",
            "partition_0001@T,victim",
            ",,victim,",
            ",",
            "a@b,victim@T",
            "chronos.0.T.grant",
            "chronos.4294967295.T.ticket",
            "T",
            "chronos.00.T.ledger",
            "other,victim",
            std::string(64, 'n'),
            "x y",
            "-a",
            "partition_",
            "partition_00001"};
  }
  bool read(std::string_view bytes) override {
    require_line("." + escaped(bytes), "text that was to be escaped");
    require(escaped(bytes, 20).size() <= 20 && quoted(bytes).size() < 512, "endless text");
    const bool is_name = check_name(bytes).has_value();
    if (is_name) {
      require(bytes.size() <= kMaxName && bytes.find_first_of(",@/ \n") == bytes.npos,
              "an impossible name");
      require(!matches(scene().grant, bytes) || bytes == "victim", "a name that is another's");
    }
    Token token;
    const bool is_token = parse_token(bytes, token);
    require(!is_token || token_text(token) == bytes, "a token with two spellings");
    const auto file = FileName::parse(bytes);
    require(!file || file->text() == bytes, "a file's name with two spellings");
    return look_up(std::string(bytes.substr(0, bytes.find('\0')))) || is_name || is_token || file;
  }

 private:
  // What a program does with it that finds it in CHRONOS_PARTITION. It is never out of partitions.
  static bool look_up(const std::string& list) {
    if (list.size() > 4096) return false;
    Scene& s = scene();
    s.restore();
    ::setenv("CHRONOS_PARTITION", list.c_str(), 1);
    shim::Partitions partitions;
    const shim::Place place = partitions.place_for(gpu().key, gpu().name);
    const shim::Place other = partitions.place_for("uuid:of another", "Another GPU");
    ::unsetenv("CHRONOS_PARTITION");
    if (list.empty()) return false;
    const std::size_t from = std::min(list.find_first_not_of(','), list.size());
    const std::string first = list.substr(from, list.find(',', from) - from);
    const bool is_ours = matches(s.grant, first);
    require(place.kind == (is_ours ? shim::Place::Kind::kCharged : shim::Place::Kind::kRefused),
            "a list that names something else");
    require(other.kind == shim::Place::Kind::kRefused && other.why != nullptr,
            "a device outside of the list");
    require_line(*other.why, "a reason that is no line of text");
    return is_ours;
  }
};

}  // namespace

Reader* names_reader() {
  static auto* const reader = new NamesReader;
  return reader;
}

}  // namespace chronos::test
