#include "core/ownership.hpp"

#include <fcntl.h>
#include <unistd.h>

#include "core/posix.hpp"
#include "tests/unit/catch.hpp"
#include "tests/unit/temp_state.hpp"

using namespace chronos;

namespace {

FileName some_name(uid_t uid, FileKind kind = FileKind::kGrant) {
  return {uid, random_token(), kind};
}

void touch(const StateDir& state, const FileName& name) {
  UniqueFd fd(::openat(state.fd(), name.text().c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
  REQUIRE(fd);
}

}  // namespace

TEST_CASE("what the caller is called outside of a user namespace", "[ownership]") {
  CHECK(outer_uid("         0       1000          1\n", 0) == 1000);
  CHECK(outer_uid("0 1000 1\n1 100000 65536\n", 5) == 100004);
  CHECK_FALSE(outer_uid("0 1000 1\n1 100000 65536\n", 65537).has_value());
  CHECK_FALSE(outer_uid("", 0).has_value());
  CHECK_FALSE(outer_uid("nonsense\n", 0).has_value());
}

TEST_CASE("whoever has taken another's name is told by the kernel", "[ownership]") {
  TempState temp;
  auto state = StateDir::open();
  REQUIRE(state);
  const uid_t me = ::geteuid();
  const FileName own = some_name(me), strangers = some_name(me + 1);
  touch(*state, own);
  touch(*state, strangers);
  CHECK_FALSE(squatter_of(*state, own).has_value());
  CHECK_FALSE(squatter_of(*state, some_name(me + 1)).has_value());  // not there
  if (me != 0) CHECK(squatter_of(*state, strangers) == me);
  CHECK(is_file_of(*state, own, me));
  CHECK_FALSE(is_file_of(*state, own, me + 1));
  CHECK_FALSE(is_file_of(*state, some_name(me), me));
}

TEST_CASE("what is passed over makes few lines", "[ownership]") {
  TempState temp;
  auto state = StateDir::open();
  REQUIRE(state);
  PassedOver passed(*state);
  for (int i = 0; i < 1000; ++i) {
    passed.add(some_name(::geteuid()), {ErrorCode::kDamaged, "is truncated", ""});
  }
  const auto lines = passed.lines();
  REQUIRE(lines.size() == 6);
  CHECK(lines.back().starts_with("ignored 995 more of "));
}
