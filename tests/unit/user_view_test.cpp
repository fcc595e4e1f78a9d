#include "core/user_view.hpp"

#include <unistd.h>

#include <string>

#include "tests/unit/catch.hpp"

using namespace chronos;

namespace {

constexpr uid_t kOverflow = 65534;

// The caller as `inside` there.
std::string map_of(uid_t inside, uid_t outside) {
  return std::to_string(inside) + " " + std::to_string(outside) + " 1\n";
}

}  // namespace

TEST_CASE("where nobody is hidden, owners are who they are", "[user_view]") {
  const UserView plain("0 0 4294967295\n", kUnknownUid, 0);
  CHECK(plain.is_plain());
  CHECK_FALSE(plain.hides_strangers());
  CHECK(plain.me() == ::geteuid());
  CHECK(plain.i_am_root() == (::geteuid() == 0));
  CHECK(plain.owner_of(1000, 65534) == 65534);
  CHECK(plain.is_caller(::geteuid()));
}

TEST_CASE("in the machine's directory, files have the numbers of outside", "[user_view]") {
  const uid_t shown = ::geteuid();
  const UserView view(map_of(shown, 4711), kOverflow, kOverflow);
  CHECK(view.hides_strangers());
  CHECK(view.me() == 4711);
  CHECK_FALSE(view.i_am_root());
  CHECK(view.owner_of(4711, shown) == 4711);
  CHECK(view.owner_of(4711, kOverflow) == kUnknownUid);
  CHECK(view.owner_of(0, kOverflow) == kUnknownUid);
  // A namespace within another: named by the number of outside of both.
  CHECK(view.owner_of(4712, shown) == 4712);
  CHECK(view.owner_of(0, shown) == 4711);
}

TEST_CASE("who is called root in a user namespace is not root", "[user_view]") {
  const uid_t shown = ::geteuid();
  const UserView nested(map_of(shown, 0), kOverflow, kOverflow);
  CHECK_FALSE(nested.i_am_root());
  CHECK(nested.owner_of(0, shown) == kUnknownUid);
  CHECK(nested.owner_of(4711, shown) == 4711);
}

TEST_CASE("whom a user namespace does not map is nobody", "[user_view]") {
  const UserView view("", kOverflow, kOverflow);
  CHECK(view.me() == kUnknownUid);
  CHECK_FALSE(view.is_caller(::geteuid()));
  CHECK(view.owner_of(::geteuid(), ::geteuid()) == kUnknownUid);
}

TEST_CASE("in a container's own directory, numbers are the container's", "[user_view]") {
  const uid_t shown = ::geteuid();
  const UserView view(map_of(shown, 4711), kOverflow, shown);
  CHECK_FALSE(view.hides_strangers());
  CHECK(view.me() == shown);
  CHECK(view.owner_of(shown, shown) == shown);
  CHECK(view.owner_of(0, kOverflow) == kUnknownUid);
}
