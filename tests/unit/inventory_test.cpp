// The inventory end to end: real probes, PoCL, and drivers that misbehave.
#include "core/inventory.hpp"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "core/drivers.hpp"
#include "core/inventory_store.hpp"
#include "core/look.hpp"
#include "core/paths.hpp"
#include "tests/unit/catch.hpp"
#include "tests/unit/sandbox.hpp"

namespace chronos {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using test::SetEnv;
using test::TempFolder;

std::string driver(const std::string& behaviour) {
  return CHRONOS_TEST_DRIVERS "/libtest_driver_" + behaviour + ".so";
}

// A folder of drivers, a state directory and the environment that names them.
struct Machine {
  TempFolder vendors, states;
  SetEnv vendors_env{"OCL_ICD_VENDORS", vendors.path()};
  SetEnv state_env{"CHRONOS_STATE_DIR", states.path()};
  StateDir state = std::move(*StateDir::open_or_make());
  LookOptions options{milliseconds(5'000), {}};

  void add(const std::string& behaviour) const {
    vendors.write(behaviour + ".icd", driver(behaviour) + "\n");
  }
  // A probe that counts how often it was started; no real driver is asked then.
  void count_probes(const std::string& action) {
    options.probe = vendors.write("counting-probe",
                                  "#!/bin/sh\necho >> " + vendors / "looks" + "\n" + action + "\n");
    ::chmod(options.probe.c_str(), 0755);
  }
  std::size_t looks() const {
    std::error_code none;
    auto size = std::filesystem::file_size(vendors / "looks", none);
    return none ? 0 : size;
  }
  void use_counted_real_probe() { count_probes("exec " + probe_path() + " \"$@\""); }

  Result<Inventory> load(Look look = Look::kRemembered) const {
    return load_inventory(state, look, options);
  }
};

std::string warning_of(const std::string& behaviour, milliseconds timeout = milliseconds(5'000)) {
  Machine machine;
  machine.add("good");
  machine.add(behaviour);
  machine.options.timeout = timeout;
  auto inventory = machine.load();
  REQUIRE(inventory);
  CHECK(inventory->devices.size() >= 1);
  CHECK(inventory->devices[0].name == "Bad GPU");
  REQUIRE(inventory->warnings.size() <= 1);
  if (inventory->warnings.empty()) return {};
  std::string label = "driver " + driver(behaviour) + " (" + machine.vendors / behaviour + ".icd) ";
  CHECK(inventory->warnings[0].find(label) == 0);
  return inventory->warnings[0].substr(std::min(label.size(), inventory->warnings[0].size()));
}

}  // namespace

TEST_CASE("PoCL's device is found, remembered and keeps its total") {
  Machine machine;
  machine.vendors.write("pocl.icd", "libpocl.so.2\n");
  auto first = machine.load();
  if (!first) {
    WARN("PoCL is not installed: " + first.error().message);
    return;
  }
  REQUIRE(first->devices.size() >= 1);
  CHECK(first->warnings.empty());
  CHECK(first->devices[0].platform == "Portable Computing Language");
  CHECK(first->devices[0].type == DeviceType::kCpu);
  CHECK(first->devices[0].total_bytes > 0);
  CHECK(machine.states.count(".devices") == 1);
  auto again = machine.load(Look::kAgain);
  REQUIRE(again);
  CHECK(again->devices[0].total_bytes == first->devices[0].total_bytes);
  CHECK(machine.states.count(".devices") == 1);
}

TEST_CASE("what is remembered needs no probe") {
  Machine machine;
  machine.add("good");
  machine.use_counted_real_probe();
  REQUIRE(machine.load());
  CHECK(machine.looks() == 1);
  REQUIRE(machine.load());
  CHECK(machine.looks() == 1);
  REQUIRE(machine.load(Look::kAgain));
  CHECK(machine.looks() == 2);
  machine.add("noisy");  // another driver: what was remembered does not match
  REQUIRE(machine.load());
  CHECK(machine.looks() == 4);
}

TEST_CASE("many callers at once start one look") {
  Machine machine;
  machine.add("good");
  machine.count_probes("sleep 0.2; exec " + probe_path() + " \"$@\"");
  std::vector<pid_t> children;
  for (int i = 0; i < 8; ++i) {
    pid_t pid = ::fork();
    if (pid == 0) ::_exit(machine.load() ? 0 : 1);
    children.push_back(pid);
  }
  for (pid_t pid : children) {
    int status = -1;
    ::waitpid(pid, &status, 0);
    CHECK(status == 0);
  }
  CHECK(machine.looks() == 1);
}

TEST_CASE("a driver that fails is one warning that says how, and the others are there") {
  CHECK(warning_of("noisy").empty());
  CHECK(warning_of("empty").empty());
  CHECK(warning_of("crashes_at_end").empty());
  CHECK(warning_of("leaves_a_child").empty());
  CHECK(warning_of("refuses") == "answered error -6 to clGetDeviceIDs of platform 'Bad Platform'");
  CHECK(warning_of("aborts") ==
        "crashed (signal 6, Aborted) while naming its devices of platform 'Bad Platform'");
  CHECK(warning_of("exits") ==
        "ended the process with status 7 while naming its devices of platform 'Bad Platform'");
  CHECK(warning_of("scribbles") ==
        "gave an answer that makes no sense while naming its devices of platform 'Bad Platform'");
  CHECK(warning_of("missing").find("cannot be loaded: ") == 0);
}

TEST_CASE("a driver that hangs costs its time-out and no more") {
  auto begin = steady_clock::now();
  CHECK(warning_of("hangs", milliseconds(1'500)) ==
        "did not answer within 1.5 s while naming its devices of platform 'Bad Platform'");
  CHECK(steady_clock::now() - begin < milliseconds(4'000));
}

TEST_CASE("warnings are remembered too") {
  Machine machine;
  machine.add("good");
  machine.add("aborts");
  machine.use_counted_real_probe();
  auto first = machine.load();
  auto second = machine.load();
  REQUIRE(second);
  CHECK(machine.looks() == 2);
  CHECK(second->warnings == first->warnings);
}

TEST_CASE("one card that two drivers offer is one device") {
  Machine machine;
  machine.add("good");
  machine.add("noisy");
  auto inventory = machine.load();
  REQUIRE(inventory);
  REQUIRE(inventory->devices.size() == 1);
  CHECK(inventory->devices[0].name == "Bad GPU");
  CHECK(inventory->devices[0].opencl_version == "OpenCL 1.2");
  CHECK(inventory->devices[0].total_bytes == 1u << 30);
}

TEST_CASE("without any device the error names each driver and what it did") {
  Machine machine;
  machine.add("aborts");
  machine.add("empty");
  machine.vendors.write("gone.icd", "libthere-is-no-such.so.1\n");
  auto inventory = machine.load();
  REQUIRE(!inventory);
  CHECK(inventory.error().code == ErrorCode::kNoDevice);
  const std::string& message = inventory.error().message;
  INFO(message);
  CHECK(message.find("no OpenCL device was found: driver ") == 0);
  CHECK(message.find("aborts.icd) crashed (signal 6, Aborted)") != message.npos);
  CHECK(message.find("empty.icd) has no device") != message.npos);
  CHECK(message.find("driver libthere-is-no-such.so.1 (" + machine.vendors / "gone.icd" +
                     ") cannot be loaded: ") != message.npos);
  CHECK(message.find('\n') == message.npos);
  CHECK(machine.states.count(".devices") == 0);
}

TEST_CASE("without any driver the error says how to get one") {
  Machine machine;
  auto inventory = machine.load();
  REQUIRE(!inventory);
  CHECK(inventory.error().code == ErrorCode::kNoDevice);
  CHECK(inventory.error().message == "no OpenCL driver is installed");
  CHECK(inventory.error().hint.find("pocl-opencl-icd") != std::string::npos);
}

TEST_CASE("a missing or unusable helper is an error of the system") {
  Machine machine;
  machine.add("good");
  machine.options.probe = "/no/such/chronos-probe";
  auto inventory = machine.load();
  REQUIRE(!inventory);
  CHECK(inventory.error().code == ErrorCode::kSystem);
}

TEST_CASE("totals stay as first seen with the same drivers") {
  Machine machine;
  machine.add("good");
  auto first = machine.load();
  REQUIRE(first);
  Inventory changed = *first;
  changed.devices[0].total_bytes = 12345;
  InventoryStore store(machine.state, find_drivers().key);
  REQUIRE(!store.write(changed, 1));
  CHECK(machine.load()->devices[0].total_bytes == 12345);
  CHECK(machine.load(Look::kAgain)->devices[0].total_bytes == 12345);
  ::setenv("POCL_CHRONOS_TEST", "1", 1);
  CHECK(machine.load()->devices[0].total_bytes == 1u << 30);
  ::unsetenv("POCL_CHRONOS_TEST");
}

TEST_CASE("a state directory that cannot be written to does not fail the look") {
  Machine machine;
  machine.add("good");
  machine.states.write("keep", "");
  std::filesystem::remove_all(machine.states.path());  // nothing can be made in it any more
  auto inventory = machine.load();
  REQUIRE(inventory);
  CHECK(inventory->devices.size() == 1);
  REQUIRE(inventory->warnings.size() == 1);
  CHECK(inventory->warnings[0].find("the devices cannot be remembered in ") == 0);
}

TEST_CASE("a device is found by its number") {
  Inventory inventory;
  CHECK(find_device(inventory, 0).error().message == "there is no device 0; there is none at all");
  inventory.devices.resize(12);
  for (int i = 0; i < 12; ++i) inventory.devices[static_cast<std::size_t>(i)].name = "GPU";
  CHECK(find_device(inventory, 11));
  CHECK(find_device(inventory, -1).error().code == ErrorCode::kNoDevice);
  auto error = find_device(inventory, 12);
  CHECK(error.error().message.find("there is no device 12; there is 0 (GPU), 1 (GPU), ") == 0);
  CHECK(error.error().message.ends_with(", ... 11"));
}

}  // namespace chronos
