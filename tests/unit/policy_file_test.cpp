#include "core/policy_file.hpp"

#include <rapidcheck.h>

#include <string>
#include <vector>

#include "tests/unit/catch.hpp"

using namespace chronos;

namespace {

PolicyFile good(const std::string& text) {
  auto file = parse_policy(text, "f");
  if (!file) FAIL(file.error().front().line << ": " << file.error().front().text);
  return *file;
}

// The only mistake of a text, as "line: text".
std::string mistake(const std::string& text) {
  auto file = parse_policy(text, "f");
  if (file) return "none";
  if (file.error().size() != 1) return "several";
  return std::to_string(file.error().front().line) + ": " + file.error().front().text;
}

constexpr std::uint64_t kSecond = 1'000'000'000;

}  // namespace

TEST_CASE("every key of a policy is read", "[policy]") {
  const PolicyFile file = good(R"(
unassigned = "deny"
[limits]
memory = "50%"
partitions = 4
duration = "8h"
[users.alice]
memory = 0.25
duration = 90
[groups.lab]
memory = "24GiB"
[devices.0]
closed = true
[devices."uuid:00112233445566778899aabbccddeeff"]
reserved_users = ["alice", "1000"]
reserved_groups = ["lab"]
[expiry]
on_expiry = "terminate"
warn_before = "10m"
grace = 0
)");
  CHECK(file.unassigned->value == Unassigned::kDeny);
  CHECK(file.unassigned->where == "f:2");
  CHECK(file.everyone.memory->value.on(1000) == 500);
  CHECK(file.everyone.memory->where == "f:4");
  CHECK(file.everyone.partitions->value == 4);
  CHECK(file.everyone.duration_ns->value == 8 * 3600 * kSecond);
  REQUIRE(file.users.size() == 1);
  CHECK(file.users[0].name == "alice");
  CHECK(file.users[0].where == "f:7");
  CHECK(file.users[0].limits.memory->value.on(1000) == 250);
  CHECK(file.users[0].limits.duration_ns->value == 90 * kSecond);
  CHECK_FALSE(file.users[0].limits.partitions);
  REQUIRE(file.groups.size() == 1);
  CHECK(file.groups[0].limits.memory->value.bytes == 24ull << 30);
  REQUIRE(file.devices.size() == 2);
  CHECK(file.devices[0].closed->value);
  CHECK_FALSE(file.devices[0].is_reserved());
  CHECK(file.devices[1].users->value == std::vector<std::string>{"alice", "1000"});
  CHECK(file.devices[1].groups->value == std::vector<std::string>{"lab"});
  CHECK(file.expiry.action->value == ExpiryAction::kTerminate);
  CHECK(file.expiry.warn_before_ns->value == std::vector<std::uint64_t>{600 * kSecond});
  CHECK(file.expiry.grace_ns->value == 0);
}

TEST_CASE("warnings are one time or several, longest first, each once", "[policy]") {
  using Times = std::vector<std::uint64_t>;
  auto times = [](const std::string& value) {
    return good("[expiry]\nwarn_before = " + value).expiry.warn_before_ns->value;
  };
  CHECK(times("0").empty());
  CHECK(times("[]").empty());
  CHECK(times("90") == Times{90 * kSecond});
  CHECK(times("['1m', '30m', 60, '5m']") == Times{1800 * kSecond, 300 * kSecond, 60 * kSecond});
  CHECK(good("[expiry]\nterminate_after = '1m'").expiry.terminate_after_ns->value == 60 * kSecond);
}

TEST_CASE("an empty policy says nothing", "[policy]") {
  for (const char* text : {"", "\n# nothing\n", "[limits]\n", "\xef\xbb\xbf"}) {
    const PolicyFile file = good(text);
    CHECK_FALSE(file.unassigned);
    CHECK_FALSE(file.everyone.memory);
  }
}

TEST_CASE("each mistake is told with its line and what is allowed", "[policy]") {
  CHECK(mistake("x = 1") ==
        "1: unknown key x; allowed are unassigned, limits, users, groups, devices and expiry");
  CHECK(mistake("\nunassigned = 'maybe'") ==
        "2: unassigned is 'maybe'; it must be \"allow\" or \"deny\"");
  CHECK(mistake("unassigned = true") ==
        "1: unassigned is true or false; it must be \"allow\" or \"deny\"");
  CHECK(mistake("limits = 3") == "1: limits is a whole number; it must be a table");
  CHECK(mistake("[limits]\nsize = 3") ==
        "2: unknown key limits.size; allowed are memory, partitions and duration");
  CHECK(mistake("[limits]\n\nmemory = 3") ==
        "3: limits.memory is a whole number; it must be a share of the device (0.5, \"50%\") or a "
        "size (\"24GiB\")");
  CHECK(mistake("[limits]\nmemory = 1.5") ==
        "2: limits.memory must be above 0 and at most 1 as a share");
  CHECK(mistake("[limits]\nmemory = nan").starts_with("2: limits.memory must be"));
  CHECK(mistake("[limits]\nmemory = '3 parsecs'").starts_with("2: limits.memory: "));
  CHECK(mistake("[limits]\npartitions = '2'") ==
        "2: limits.partitions is a string; it must be a whole number");
  CHECK(mistake("[limits]\npartitions = -1") == "2: limits.partitions must be 0 or more");
  CHECK(mistake("[limits]\nduration = 0").starts_with("2: limits.duration: "));
  CHECK(mistake("[limits]\nduration = 1979-05-27") ==
        "2: limits.duration is a date or a time; it must be seconds (3600) or a duration "
        "(\"8h\")");
  CHECK(mistake("[users]\nalice = 3") == "2: users.alice is a whole number; it must be a table");
  CHECK(mistake("[users.alice]\nlevel = 3").starts_with("2: unknown key users.alice.level"));
  CHECK(mistake("[groups.lab]\nmemory = []").starts_with("2: groups.lab.memory is an array"));
  CHECK(mistake("[devices.0]\nclosed = 'yes'") ==
        "2: devices.0.closed is a string; it must be true or false");
  CHECK(mistake("[devices.0]\nopen = true") ==
        "2: unknown key devices.0.open; allowed are closed, reserved_users and reserved_groups");
  CHECK(
      mistake("[devices.0]\nreserved_users = 'alice'").starts_with("2: devices.0.reserved_users"));
  CHECK(mistake("[devices.0]\nreserved_groups = [\n'a',\n3]") ==
        "4: an element of devices.0.reserved_groups is a whole number; it must be a name");
  CHECK(mistake("[devices.'uuid:12']\nclosed = true").starts_with("1: 'uuid:12' names no device"));
  CHECK(mistake("[devices.'pci:1']\nclosed = true").starts_with("1: 'pci:1' names no device"));
  CHECK(mistake("[expiry]\non_expiry = 'stop'") ==
        "2: expiry.on_expiry is 'stop'; it must be \"refuse\", \"terminate\" or \"kill\"");
  CHECK(mistake("[expiry]\ngrace = '-1s'").starts_with("2: expiry.grace: "));
  CHECK(mistake("[expiry]\nterminate_after = 'soon'").starts_with("2: expiry.terminate_after: "));
  CHECK(mistake("[expiry]\nwarn_before = ['1m',\n0]").starts_with("3: an element of expiry.warn_"));
  CHECK(mistake("[expiry]\nwarn_before = [true]").starts_with("2: an element of expiry.warn_"));
  CHECK(mistake("[expiry]\nladder = 1").starts_with("2: unknown key expiry.ladder"));
  CHECK(mistake("\n\n[limits\n").starts_with("3: "));
  CHECK(mistake("a = 1\na = 2").starts_with("2: "));
  CHECK(mistake(std::string(70'000, '#')) == "0: longer than 64 KiB");
  CHECK(mistake("\n" + std::string(100, '.')) == "2: more than 64 dots on one line");
}

TEST_CASE("all mistakes of a policy are told, in order", "[policy]") {
  auto file =
      parse_policy("unassigned = 3\n[users.a]\nx = 1\n[limits]\nmemory = 2.0\ny = 1\n", "f");
  REQUIRE_FALSE(file);
  std::vector<unsigned> lines;
  for (const Mistake& one : file.error()) lines.push_back(one.line);
  CHECK(lines == std::vector<unsigned>{1, 3, 5, 6});
}

TEST_CASE("a rule means a device by number, name, UUID or address", "[policy]") {
  Device device;
  device.index = 2;
  device.name = "GPU";
  device.uuid = "00112233445566778899aabbccddeeff";
  device.pci = "0000:65:00.0";
  device.key = "uuid:" + device.uuid;
  auto means = [&](const char* selector) {
    return DeviceRule{selector, {}, {}, {}, {}}.means(device);
  };
  CHECK((means("2") && means("GPU") && means("pci:0000:65:00.0")));
  CHECK(means("uuid:00112233445566778899aabbccddeeff"));
  CHECK_FALSE((means("02") || means("1") || means("GP") || means("pci:") || means("")));
}

TEST_CASE("texts of any kind are read or refused", "[policy]") {
  static const std::vector<std::string> pieces = {"[limits]",
                                                  "[users.a]",
                                                  "[[devices]]",
                                                  "[devices.\"0\"]",
                                                  "memory",
                                                  "=",
                                                  " ",
                                                  "\n",
                                                  "'50%'",
                                                  "0.5",
                                                  "1e999",
                                                  "-nan",
                                                  "{",
                                                  "}",
                                                  "[",
                                                  "]",
                                                  ",",
                                                  ".",
                                                  "\"",
                                                  "'''",
                                                  "\"\"\"",
                                                  "\\u0000",
                                                  "#",
                                                  "a",
                                                  "partitions",
                                                  "99999999999999999999",
                                                  "1979-05-27T07:32:00Z",
                                                  "0x",
                                                  "inf",
                                                  "\r",
                                                  std::string(1, '\0'),
                                                  "\xff",
                                                  "\xf0\x9f\x98\x80",
                                                  "unassigned",
                                                  "'deny'",
                                                  "expiry",
                                                  "grace",
                                                  "true",
                                                  "_",
                                                  "\xef\xbb\xbf",
                                                  "a.a.a.a.a",
                                                  "[[[[[[[[",
                                                  "{a={a={"};
  auto survives = [](const std::string& text) {
    auto file = parse_policy(text, "f");
    if (!file) {
      RC_ASSERT(!file.error().empty());
      for (const Mistake& one : file.error()) {
        RC_ASSERT(one.text.find('\n') == std::string::npos);
        RC_ASSERT(!one.text.empty());
      }
    }
  };
  CHECK(rc::check("of pieces", [&] {
    std::string text;
    for (std::size_t piece : *rc::gen::container<std::vector<std::size_t>>(
             rc::gen::inRange<std::size_t>(0, pieces.size()))) {
      text += pieces[piece];
    }
    survives(text);
  }));
  CHECK(rc::check("of bytes", [&] { survives(*rc::gen::arbitrary<std::string>()); }));
  CHECK(rc::check("a good one with changes", [&] {
    std::string text =
        "unassigned = 'deny'\n[limits]\nmemory = '50%'\nduration = '8h'\n[users.a]\npartitions = "
        "1\n"
        "[devices.'GPU 0']\nreserved_users = ['a', \"b\"]\n[expiry]\ngrace = 10\n";
    for (int i = *rc::gen::inRange(1, 6); i > 0; --i) {
      const auto at = *rc::gen::inRange<std::size_t>(0, text.size());
      if (*rc::gen::arbitrary<bool>())
        text[at] = *rc::gen::arbitrary<char>();
      else
        text.insert(at, pieces[*rc::gen::inRange<std::size_t>(0, pieces.size())]);
    }
    survives(text);
  }));
}

TEST_CASE("letters beyond ASCII stand in quotes on one line, and in comments", "[policy]") {
  const PolicyFile file = good(
      "# für alle\n[users.\"jörg\"]\npartitions = 1  # höchstens\n[users.'jürg']\npartitions = "
      "2\n");
  REQUIRE(file.users.size() == 2);  // not one and the same
  CHECK(file.users[0].name != file.users[1].name);
  const std::string wanted =
      "letters beyond ASCII stand only in quotes on one line, and in comments";
  CHECK(mistake("[users.jörg]\npartitions = 1\n") == "1: " + wanted);
  CHECK(mistake("[limits]\npartitions = é\n") == "2: " + wanted);
  CHECK(mistake("[limits]\nmemory = \"\"\"\né\"\"\"\n") == "3: " + wanted);
  // What looks like quotes, and is read as the rest of a number. toml++ would look at the letter.
  for (const char* value : {"-\"k\xef\xbb\xbe]", "1.\"é\"", "-{\"é\" = 1}", "-[\"é\"]", "x'é'"}) {
    INFO(value);
    CHECK(mistake(std::string("[expiry]\ngrace = ") + value + "\n").substr(0, 3) == "2: ");
    CHECK(mistake("a = [\n" + std::string(value) + "\n]\n").substr(0, 3) == "2: ");
  }
}

TEST_CASE("deep nesting is refused and not followed to the end of the stack", "[policy]") {
  std::string dots = "a";
  for (int i = 0; i < 64; ++i) dots += ".a";
  std::string text;
  for (int i = 0; i < 15; ++i) text += dots + " = [ {\n";
  CHECK_FALSE(parse_policy(text, "f"));
  CHECK_FALSE(parse_policy(std::string(60'000, '['), "f"));
  CHECK_FALSE(parse_policy("a = " + std::string(60'000, '['), "f"));
  CHECK_FALSE(parse_policy("[" + dots + "]\n" + dots + " = 1", "f"));
}
