#include <algorithm>

#include "tests/hostile/policy_checks.hpp"
#include "tests/hostile/readers.hpp"
#include "tests/hostile/scene.hpp"

namespace chronos::test {
namespace {

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
    return mutator.text(kWhole, words);
  }
  std::vector<std::string> seeds() override {
    return {std::string(kWhole),
            "",
            "[limits]\nmemory = 0.5\npartitions = 1\n",
            "[users.1000]\nmemory = \"1GiB\"\n[groups.users]\nduration = 60\n",
            "[devices.\"Some GPU\"]\nreserved_groups = [\"users\"]\nreserved_users = []\n",
            "[devices.\"uuid:0123456789abcdef\"]\nclosed = true\n",
            "[expiry]\non_expiry = \"kill\"\nwarn_before = [\"1h\", \"5m\"]\nterminate_after = "
            "\"1m\"\n",
            "[limits]\nmemory = \"60%\"\nmemory = 1.5\nunknown = 1\n[users]\nalice = 3\n",
            "unassigned = [\n"};
  }
  bool read(std::string_view bytes) override {
    auto policy = parse_policy(bytes, "config.toml");
    const Policy tried = policy_of(bytes);
    require(policy.has_value() == tried.problems().empty(), "two readings of one policy");
    if (!policy) {
      const auto lines = static_cast<std::size_t>(std::count(bytes.begin(), bytes.end(), '\n')) + 1;
      require(!policy.error().empty(), "no mistake in what is none");
      for (const Mistake& mistake : policy.error()) {
        require_line(mistake.text, "a mistake that is no line of text");
        require(mistake.line <= lines + 1, "a mistake behind the end");
        require(mistake.line > 0 || bytes.size() > kMaxPolicyBytes, "a mistake without a line");
      }
      return false;
    }
    check_settings(*policy);
    for (const DeviceRule& rule : policy->devices) (void)rule.means(gpu());
    check_clamp(scene().grant, tried, kTotal);
    return true;
  }

 private:
  static constexpr std::string_view kWhole =
      "unassigned = \"deny\"\n[limits]\nmemory = \"50%\"\npartitions = 4\nduration = \"8h\"\n"
      "[groups.students]\nmemory = \"8GiB\"\npartitions = 1\n[users.alice]\nduration = \"2d\"\n"
      "[devices.0]\nclosed = true\n[devices.\"pci:0000:65:00.0\"]\nreserved_users = [\"alice\"]\n"
      "[expiry]\non_expiry = \"terminate\"\nwarn_before = \"10m\"\ngrace = \"30s\"\n";
};

}  // namespace

Reader* policy_reader() {
  static auto* const reader = new PolicyReader;
  return reader;
}

}  // namespace chronos::test
