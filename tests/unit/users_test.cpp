#include "core/users.hpp"

#include <rapidcheck.h>
#include <unistd.h>

#include "core/text.hpp"
#include "tests/unit/catch.hpp"

namespace chronos {

TEST_CASE("users are found by name and by number") {
  CHECK(user_name(0) == "root");
  CHECK(find_user("root").value() == 0);
  CHECK(find_user("0").value() == 0);
  CHECK(find_user(user_name(::getuid())).value() == ::getuid());
}

TEST_CASE("a user without a name is shown by number, and cannot be asked for") {
  constexpr uid_t kNobodyHere = 3999999999;
  CHECK(user_name(kNobodyHere) == "3999999999");
  CHECK(!find_user("3999999999"));
}

TEST_CASE("unknown users are refused with the text in the message") {
  using namespace std::string_view_literals;
  for (std::string_view text :
       {""sv, "no such user"sv, "-1"sv, "+0"sv, "0x0"sv, " root"sv, "root\0"sv, "0\0"sv,
        "4294967295"sv, "4294967296"sv, "99999999999999999999"sv, "root\n"sv, "../root"sv}) {
    auto user = find_user(text);
    INFO(quoted(text));
    REQUIRE(!user);
    CHECK(user.error().code == ErrorCode::kInvalid);
    CHECK(user.error().message.find("unknown user " + quoted(text)) == 0);
  }
  CHECK(!find_user(std::string(100000, 'x')));
}

TEST_CASE("properties of users") {
  CHECK(rc::check("any text is found or refused", [](const std::string& text) {
    auto user = find_user(text);
    if (!user) RC_ASSERT(user.error().message.find('\n') == std::string::npos);
  }));
}

}  // namespace chronos
