#include "core/doctor/findings.hpp"
#include "tests/unit/catch.hpp"

using namespace chronos;
using namespace chronos::doctor;

namespace {

// A machine on which everything is well.
Facts healthy() {
  Facts facts;
  facts.version = "1.2.3";
  facts.library = "/usr/lib/libchronos.so";
  facts.library_version = "1.2.3";
  facts.shim = "/usr/lib/libchronos_shim.so";
  facts.system.uid = 1000;
  facts.system.user = "alice";
  facts.system.logind_runs = true;
  facts.state.path = "/run/chronos";
  facts.state.mode = 01777;
  facts.state.free_bytes = 1 << 30;
  Device device;
  device.name = "GPU";
  device.uuid = std::string(32, 'a');
  device.key = device_key(device.uuid, "", "", "", 0);
  device.total_bytes = 1 << 30;
  facts.devices = {device};
  facts.drivers = {{"driver libgpu.so", ""}};
  facts.preload = {"", true, true, 1, "1.2.3"};
  facts.driver_door = {"", false, true, 1, "1.2.3"};
  facts.loaders = {{"/usr/lib/libOpenCL.so.1",
                    "OpenCL ICD Loader",
                    "2.3.1",
                    "OCL Icd free software",
                    "",
                    true,
                    {"", true, false, 1, "1.2.3"}}};
  facts.partitions.own = {"p1: 0 B of 1 GiB of device 0 in use, 59m left"};
  return facts;
}

// The worst status of a topic's lines that hold `words`; kOk and false if there is none.
bool says(const Facts& facts, Status status, const std::string& topic, const std::string& words) {
  for (const Finding& one : findings(facts)) {
    if (one.status == status && one.topic == topic && one.text.find(words) != one.text.npos) {
      return one.status != Status::kProblem || !one.remedy.empty();
    }
  }
  return false;
}

}  // namespace

TEST_CASE("a healthy machine has nothing but good findings", "[doctor]") {
  for (const Finding& one : findings(healthy())) {
    INFO(one.text);
    CHECK(one.status == Status::kOk);
    CHECK(one.text.find('\n') == one.text.npos);
  }
  CHECK_FALSE(has_problem(findings(healthy())));
}

TEST_CASE("each thing that is wrong is found, with a remedy", "[doctor]") {
  struct Case {
    const char* name;
    void (*spoil)(Facts&);
    Status status;
    const char* topic;
    const char* words;
  };
  const Case cases[] = {
      {"no shim", [](Facts& f) { f.shim_problem = "libchronos_shim.so is missing"; },
       Status::kProblem, "installation", "is missing"},
      {"old shim", [](Facts& f) { f.preload.shim_version = "1.0.0"; }, Status::kProblem,
       "installation", "1.0.0"},
      {"old library", [](Facts& f) { f.library_version = "1.0.0"; }, Status::kProblem,
       "installation", "libchronos.so is of version 1.0.0"},
      {"no device", [](Facts& f) { f.devices.clear(), f.device_error = "no OpenCL driver"; },
       Status::kProblem, "device", "no OpenCL driver"},
      {"broken driver",
       [](Facts& f) {
         f.drivers.push_back({"driver b.so", "crashed"});
       },
       Status::kWarning, "driver", "b.so crashed"},
      {"two alike without identity",
       [](Facts& f) {
         f.devices[0].uuid.clear();
         f.devices[0].key = "name:p/GPU#0";
         f.devices.push_back(f.devices[0]);
       },
       Status::kNote, "device", "by their order"},
      {"no loader", [](Facts& f) { f.loaders[0].problem = "cannot be loaded"; }, Status::kProblem,
       "loader", "cannot be loaded"},
      {"loader without layers", [](Facts& f) { f.loaders[0].layers.layer = false; },
       Status::kWarning, "loader", "has no layers"},
      {"no door", [](Facts& f) { f.preload.layer = f.driver_door.driver = false; },
       Status::kProblem, "doors", "neither door"},
      {"layer only", [](Facts& f) { f.driver_door.driver = false; }, Status::kWarning, "doors",
       "driver door does not fire"},
      {"child crashed", [](Facts& f) { f.preload.problem = "crashed"; }, Status::kProblem, "doors",
       "crashed"},
      {"unreadable state", [](Facts& f) { f.state.error = "cannot read it"; }, Status::kProblem,
       "state", "cannot read it"},
      {"not sticky", [](Facts& f) { f.state.mode = 0777; }, Status::kProblem, "state",
       "not sticky"},
      {"another's directory", [](Facts& f) { f.state.owner = 1001; }, Status::kProblem, "state",
       "everybody's partitions"},
      {"full", [](Facts& f) { f.state.free_bytes = 4096; }, Status::kProblem, "state", "4 KiB"},
      {"on a disk", [](Facts& f) { f.state.in_memory = false; }, Status::kWarning, "state",
       "shared memory"},
      {"RemoveIPC", [](Facts& f) { f.state.path = "/dev/shm"; }, Status::kWarning, "state",
       "when you log out"},
      {"user namespace", [](Facts& f) { f.system.in_user_namespace = true; }, Status::kWarning,
       "system", "65534"},
      {"time namespace", [](Facts& f) { f.system.in_time_namespace = true; }, Status::kNote,
       "system", "time namespace"},
      {"hidepid", [](Facts& f) { f.system.hidepid = 2; }, Status::kNote, "system", "hidepid=2"},
      {"no proc", [](Facts& f) { f.system.has_proc = false; }, Status::kProblem, "system",
       "not mounted"},
      {"protected_regular", [](Facts& f) { f.system.protected_regular = 0; }, Status::kNote,
       "system", "protected_regular"},
      {"damaged grant", [](Facts& f) { f.partitions.warnings = {"ignored x: it is truncated"}; },
       Status::kProblem, "partitions", "truncated"},
      {"ended partition",
       [](Facts& f) {
         f.partitions.named = {{"p9", "partition p9 has ended", ""}};
       },
       Status::kProblem, "environment", "p9 has ended"},
      {"relative preload", [](Facts& f) { f.preload_variable = "lib/libchronos_shim.so"; },
       Status::kProblem, "environment", "relative path lib/"},
      {"layer order", [](Facts& f) { f.layers_variable = "/a.so:/usr/lib/libchronos_shim.so"; },
       Status::kWarning, "environment", "not name the shim first"},
      {"missing file", [](Facts& f) { f.missing_files = {"/no.so"}; }, Status::kProblem,
       "environment", "/no.so"},
      {"lifetime", [](Facts& f) { f.lifetime_variable = "count"; }, Status::kWarning, "environment",
       "CHRONOS_LIFETIME=count"},
      {"log", [](Facts& f) { f.log_variable = "loud"; }, Status::kWarning, "environment",
       "CHRONOS_LOG=loud"},
  };
  for (const Case& one : cases) {
    INFO(one.name);
    Facts facts = healthy();
    one.spoil(facts);
    CHECK(says(facts, one.status, one.topic, one.words));
    CHECK(has_problem(findings(facts)) == (one.status == Status::kProblem));
  }
}

TEST_CASE("RemoveIPC does not matter where it cannot bite", "[doctor]") {
  Facts facts = healthy();
  facts.state.path = "/dev/shm";
  facts.system.removes_ipc = false;
  CHECK_FALSE(says(facts, Status::kWarning, "state", "log out"));
  facts.system.removes_ipc = true;
  facts.system.uid = 0;
  CHECK_FALSE(says(facts, Status::kWarning, "state", "log out"));
}

TEST_CASE("logind's setting is the last one that is set", "[doctor]") {
  CHECK(removes_ipc({}));
  CHECK(removes_ipc({"[Login]\n#RemoveIPC=no\n"}));
  CHECK_FALSE(removes_ipc({"[Login]\nRemoveIPC = No\r\n"}));
  CHECK(removes_ipc({"RemoveIPC=no", "RemoveIPC=yes"}));
  CHECK_FALSE(removes_ipc({"RemoveIPC=no", "RemoveIPC=perhaps"}));
  CHECK(removes_ipc({"RemoveIPC=no\nRemoveIPC="}));
}

TEST_CASE("hidepid is that of the mount that is seen", "[doctor]") {
  const std::string plain = "22 1 0:5 / /proc rw,relatime shared:5 - proc proc rw\n";
  CHECK(hidepid_of("") == 0);
  CHECK(hidepid_of(plain) == 0);
  CHECK(hidepid_of(plain + "9 1 0:5 / /proc rw - proc proc rw,hidepid=invisible\n") == 2);
  CHECK(hidepid_of("9 1 0:5 / /proc rw - proc proc rw,hidepid=2\n" + plain) == 0);
  CHECK(hidepid_of("9 1 0:5 / /proc rw - proc proc rw,hidepid=noaccess\n") == 1);
}

TEST_CASE("the initial user namespace maps everybody", "[doctor]") {
  CHECK(is_initial_uid_map("         0          0 4294967295\n"));
  CHECK_FALSE(is_initial_uid_map("         0       1000          1\n"));
  CHECK_FALSE(is_initial_uid_map(""));
}

TEST_CASE("the JSON says what the text says", "[doctor]") {
  Facts facts = healthy();
  facts.state.error = "bad \x1b[31m bytes\n";
  const Json json = machine_json(facts, findings(facts));
  CHECK(json["schema_version"] == 1);
  CHECK(json["healthy"] == false);
  CHECK(json["findings"].size() == findings(facts).size());
  CHECK(json["loaders"][0]["opencl_layers"]["layer"] == true);
  CHECK(json_text(json).find('\x1b') == std::string::npos);
}

TEST_CASE("enforcement that does not reach programs is a problem", "[doctor]") {
  Facts facts = healthy();
  CHECK(says(facts, Status::kOk, "enforcement", "off"));
  facts.enforcement.state = enforce::State::kOn;
  CHECK(says(facts, Status::kOk, "enforcement", "on"));
  facts.enforcement.state = enforce::State::kPartly;
  facts.enforcement.problems = {"the library is of version 1"};
  CHECK(says(facts, Status::kWarning, "enforcement", "version 1"));
  facts.enforcement.state = enforce::State::kBroken;
  CHECK(says(facts, Status::kProblem, "enforcement", "version 1"));
}
