#include "cli/cdi_document.hpp"

#include <string>

#include "tests/unit/catch.hpp"

using namespace chronos;
using namespace chronos::cli;

namespace {

Json sample() {
  CdiSources from;
  from.state_dir = "/run/chronos";
  from.shim = "/usr/lib/libchronos_shim.so";
  from.partitions = {"train"};
  return cdi_document(from);
}

}  // namespace

TEST_CASE("what is written is what a runtime takes", "[cdi]") {
  const Json document = sample();
  CHECK(check_cdi(document));
  CHECK(document["cdiVersion"] == "0.3.0");
  CHECK(document["devices"][0]["name"] == "all");
  CHECK(document["devices"][1]["containerEdits"]["env"] ==
        Json::array({"CHRONOS_PARTITION=train"}));
  CHECK(document["containerEdits"]["mounts"].size() == 1);  // what is not there is left out
}

TEST_CASE("a name that starts with a digit needs a newer version", "[cdi]") {
  CdiSources from;
  from.state_dir = "/run/chronos";
  from.partitions = {"a", "7of9"};
  CHECK(cdi_document(from)["cdiVersion"] == "0.5.0");
}

TEST_CASE("what no runtime would take is refused", "[cdi]") {
  struct Case {
    const char* name;
    void (*spoil)(Json&);
    const char* words;
  };
  const Case cases[] = {
      {"no kind", [](Json& d) { d.erase("kind"); }, "no kind"},
      {"no class", [](Json& d) { d["kind"] = "chronos.dev"; }, "no kind"},
      {"two classes", [](Json& d) { d["kind"] = "a.b/c/d"; }, "no kind"},
      {"a digit first", [](Json& d) { d["kind"] = "7.dev/c"; }, "no kind"},
      {"no device", [](Json& d) { d["devices"] = Json::array(); }, "no device"},
      {"a blank", [](Json& d) { d["devices"][1]["name"] = "a b"; }, "no name"},
      {"a dash at the end", [](Json& d) { d["devices"][1]["name"] = "a-"; }, "no name"},
      {"twice", [](Json& d) { d["devices"][1]["name"] = "all"; }, "two devices"},
      {"empty edits", [](Json& d) { d["devices"][0]["containerEdits"] = Json::object(); },
       "changes nothing"},
      {"no value", [](Json& d) { d["containerEdits"]["env"][0] = "X"; }, "sets no variable"},
      {"no variable", [](Json& d) { d["containerEdits"]["env"][0] = "=x"; }, "sets no variable"},
      {"relative", [](Json& d) { d["containerEdits"]["mounts"][0]["hostPath"] = "a"; },
       "no absolute path"},
  };
  for (const Case& one : cases) {
    INFO(one.name);
    Json document = sample();
    one.spoil(document);
    const auto checked = check_cdi(document);
    REQUIRE_FALSE(checked);
    CHECK(checked.error().message.find(one.words) != std::string::npos);
  }
}
