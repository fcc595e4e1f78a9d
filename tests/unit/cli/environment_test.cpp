#include "cli/environment.hpp"

#include <algorithm>

#include "catch.hpp"

using namespace chronos::cli;

namespace {

constexpr const char* kShim = "/opt/chronos/lib/libchronos_shim.so";

std::string value_of(const std::vector<std::string>& environment, const std::string& name) {
  std::string found = "<unset>";
  for (const std::string& entry : environment) {
    if (entry.rfind(name + "=", 0) != 0) continue;
    REQUIRE(found == "<unset>");  // never twice
    found = entry.substr(name.size() + 1);
  }
  return found;
}

}  // namespace

TEST_CASE("the shim comes first in LD_PRELOAD and what the user preloads stays") {
  CHECK(merge_preload("", kShim) == kShim);
  CHECK(merge_preload("libjemalloc.so", kShim) == std::string(kShim) + ":libjemalloc.so");
  CHECK(merge_preload("/a/b.so c.so\t:d.so", kShim) == std::string(kShim) + ":/a/b.so:c.so:d.so");
}

TEST_CASE("no other copy of the shim stays in LD_PRELOAD") {
  CHECK(merge_preload(kShim, kShim) == kShim);
  CHECK(merge_preload("a.so:/old/libchronos_shim.so:b.so", kShim) ==
        std::string(kShim) + ":a.so:b.so");
  CHECK(merge_preload("libchronos_shim.so /x/libchronos_shim.so", kShim) == kShim);
  CHECK(merge_preload("/x/notlibchronos_shim.so", kShim) ==
        std::string(kShim) + ":/x/notlibchronos_shim.so");
}

TEST_CASE("a layer's path may hold blanks") {
  CHECK(merge_layers("/my layers/one.so:two.so", kShim) ==
        std::string(kShim) + ":/my layers/one.so:two.so");
  CHECK(merge_layers("::", kShim) == kShim);
}

TEST_CASE("the environment of a program gets the shim and the partitions") {
  std::vector<std::string> before = {"PATH=/bin", "LD_PRELOAD=x.so", "CHRONOS_PARTITION=old",
                                     "CHRONOS_PARTITION_X=kept", "odd"};
  std::vector<std::string> after =
      shim_environment(before, {kShim, std::string("p1@00ff,p2@aa"), ""});
  CHECK(value_of(after, "LD_PRELOAD") == std::string(kShim) + ":x.so");
  CHECK(value_of(after, "OPENCL_LAYERS") == kShim);
  CHECK(value_of(after, "CHRONOS_PARTITION") == "p1@00ff,p2@aa");
  CHECK(value_of(after, "CHRONOS_PARTITION_X") == "kept");
  CHECK(value_of(after, "CHRONOS_STATE_DIR") == "<unset>");
  CHECK(value_of(after, "PATH") == "/bin");
  CHECK(std::count(after.begin(), after.end(), "odd") == 1);
}

TEST_CASE("without a named partition the variable is taken away") {
  std::vector<std::string> after =
      shim_environment({"CHRONOS_PARTITION=", "CHRONOS_STATE_DIR=rel"}, {kShim, {}, "/abs/rel"});
  CHECK(value_of(after, "CHRONOS_PARTITION") == "<unset>");
  CHECK(value_of(after, "CHRONOS_STATE_DIR") == "/abs/rel");
}
