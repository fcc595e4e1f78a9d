// libchronos.so as programs see it: only its exported functions are linked here.
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <climits>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/include/chronos.h"
#include "tests/unit/catch.hpp"
#include "tests/unit/sandbox.hpp"

extern "C" int use_from_c(int* counted, float* available);

namespace {

using Json = nlohmann::json;
using chronos::test::SetEnv;
using chronos::test::TempFolder;

// A machine with one device, and a handle.
struct Machine {
  TempFolder vendors, states;
  SetEnv vendors_env{"OCL_ICD_VENDORS", vendors.path()};
  SetEnv state_env{"CHRONOS_STATE_DIR", states.path()};
  ChronosPartitionerHandle handle = nullptr;

  Machine() {
    vendors.write("good.icd", CHRONOS_TEST_DRIVERS "/libtest_driver_good.so\n");
    handle = chronos_partitioner_create();
    REQUIRE(handle != nullptr);
  }
  ~Machine() { chronos_partitioner_destroy(handle); }

  int create(const char* memory, const char* name = nullptr, const char* duration = "1h") {
    char* json = nullptr;
    int code = chronos_create(handle, 0, memory, duration, nullptr, name, &json);
    CHECK((json != nullptr) == (code == CHRONOS_OK));
    chronos_free(json);
    return code;
  }
  Json list() { return get(chronos_list_json); }
  template <class Function, class... Arguments>
  Json get(Function function, Arguments... arguments) {
    char* json = nullptr;
    INFO(chronos_get_last_error());
    REQUIRE(function(handle, arguments..., &json) == CHRONOS_OK);
    Json answer = Json::parse(json);
    chronos_free(json);
    return answer;
  }
};

std::string last() { return chronos_get_last_error(); }
Json last_json() { return Json::parse(chronos_last_error_json()); }

}  // namespace

TEST_CASE("the original's calls work from C") {
  Machine machine;
  int counted = 0;
  float available = 0;
  INFO(last());
  REQUIRE(use_from_c(&counted, &available) == CHRONOS_OK);
  CHECK(counted == 1);
  CHECK(available == Approx(75).margin(0.011));
  CHECK(machine.list()["partitions"].empty());
}

TEST_CASE("the struct is laid out as the original's") {
  STATIC_REQUIRE(offsetof(ChronosPartitionInfo, partition_id) == 0);
  STATIC_REQUIRE(offsetof(ChronosPartitionInfo, device_index) == 64);
  STATIC_REQUIRE(offsetof(ChronosPartitionInfo, memory_fraction) == 68);
  STATIC_REQUIRE(offsetof(ChronosPartitionInfo, duration_seconds) == 72);
  STATIC_REQUIRE(offsetof(ChronosPartitionInfo, time_remaining_seconds) == 76);
  STATIC_REQUIRE(offsetof(ChronosPartitionInfo, username) == 80);
  STATIC_REQUIRE(offsetof(ChronosPartitionInfo, process_id) == 336);
  STATIC_REQUIRE(offsetof(ChronosPartitionInfo, active) == 340);
  STATIC_REQUIRE(sizeof(ChronosPartitionInfo) == 344);
}

TEST_CASE("ten partitions of 0.1f fill a device") {
  Machine machine;
  char id[64];
  for (int i = 0; i < 10; ++i) {
    INFO(i << " " << last());
    REQUIRE(chronos_create_partition(machine.handle, 0, 0.1f, 60, "", id, sizeof id) == 0);
  }
  CHECK(std::string(id) == "partition_0010");
  CHECK(chronos_create_partition(machine.handle, 0, 0.1f, 60, nullptr, id, sizeof id) ==
        CHRONOS_ERROR_NO_CAPACITY);
  CHECK(std::string(id).empty());
}

TEST_CASE("a refusal for lack of memory says how much there is") {
  Machine machine;
  REQUIRE(machine.create("0.75") == CHRONOS_OK);
  const auto total = machine.get(chronos_stats_json, 0)["devices"][0]["total_bytes"].get<double>();
  CHECK(machine.create("50%") == CHRONOS_ERROR_NO_CAPACITY);
  CHECK(last().find("Not enough available memory on device 0") == 0);
  Json error = last_json();
  CHECK(error["code"] == CHRONOS_ERROR_NO_CAPACITY);
  CHECK(error["device"] == 0);
  CHECK(error["asked_bytes"].get<double>() == Approx(total / 2));
  CHECK(error["available_bytes"].get<double>() == Approx(total / 4));
}

TEST_CASE("partitions are listed with their handle, and released by it") {
  Machine machine;
  REQUIRE(machine.create("1MiB", "p1", "90s") == CHRONOS_OK);
  Json list = machine.list();
  REQUIRE(list["partitions"].size() == 1);
  Json one = list["partitions"][0];
  CHECK(list["schema_version"] == 1);
  CHECK(list["warnings"].empty());
  CHECK(one["partition_id"] == "p1");
  CHECK(one["limit_bytes"] == 1 << 20);
  CHECK(one["duration_seconds"] == 90);
  CHECK(one["state"] == "active");
  const auto handle = one["handle"].get<std::string>();
  CHECK(machine.get(chronos_find_json, handle.c_str())["handle"] == handle);
  CHECK(machine.create("1MiB", "p1") == CHRONOS_ERROR_NAME_IN_USE);
  CHECK(machine.get(chronos_release_json, handle.c_str())["state"] == "released");
  CHECK(chronos_release_partition(machine.handle, handle.c_str()) == CHRONOS_ERROR_NOT_FOUND);
}

TEST_CASE("partitions are extended and resized") {
  Machine machine;
  REQUIRE(machine.create("0.25", "p1", "90s") == CHRONOS_OK);
  CHECK(chronos_extend_partition(machine.handle, "p1", 30) == CHRONOS_OK);
  CHECK(chronos_resize_partition(machine.handle, "p1", 0.1f, 0) == CHRONOS_OK);
  Json one = machine.list()["partitions"][0];
  CHECK(one["duration_seconds"] == 120);
  CHECK(one["memory_fraction"] == 0.1);
  CHECK(machine.get(chronos_extend_json, "p1", "1m")["duration_seconds"] == 180);
  CHECK(machine.get(chronos_resize_json, "p1", "50%", 1)["memory_fraction"] == 0.5);
  CHECK(chronos_resize_json(machine.handle, "p1", "1MiB", 0, nullptr) == CHRONOS_OK);
  CHECK(chronos_extend_json(machine.handle, "p1", "1s", nullptr) == CHRONOS_OK);

  CHECK(chronos_extend_partition(machine.handle, "p1", 0) == CHRONOS_ERROR_INVALID);
  CHECK(chronos_extend_partition(machine.handle, nullptr, 1) == CHRONOS_ERROR_INVALID);
  CHECK(chronos_extend_partition(nullptr, "p1", 1) == CHRONOS_ERROR_INVALID);
  CHECK(chronos_resize_partition(machine.handle, "p1", NAN, 0) == CHRONOS_ERROR_INVALID);
  CHECK(chronos_resize_json(machine.handle, "p1", nullptr, 0, nullptr) == CHRONOS_ERROR_INVALID);
  CHECK(chronos_extend_partition(machine.handle, "nosuch", 1) == CHRONOS_ERROR_NOT_FOUND);
  REQUIRE(machine.create("0.75", "p2") == CHRONOS_OK);
  CHECK(chronos_resize_partition(machine.handle, "p1", 0.5f, 0) == CHRONOS_ERROR_NO_CAPACITY);
  Json error = last_json();
  CHECK(error["device"] == 0);
  CHECK(error["asked_bytes"].get<double>() ==
        Approx(2 * error["available_bytes"].get<double>()).margin(4));
}

TEST_CASE("a request waits for its time, for room, or until it is cancelled") {
  Machine machine;
  REQUIRE(machine.create("0.75", "most") == CHRONOS_OK);
  auto wait = [&](const char* timeout, int cancel_fd, int flags = CHRONOS_CREATE_WAIT) {
    char* json = nullptr;
    const int code = chronos_create_with(machine.handle, 0, "0.5", "1h", nullptr, nullptr, flags,
                                         timeout, cancel_fd, &json);
    CHECK((json != nullptr) == (code == CHRONOS_OK));
    chronos_free(json);
    return code;
  };
  CHECK(wait("0", -1) == CHRONOS_ERROR_NO_CAPACITY);
  CHECK(Json::parse(chronos_last_error_json())["asked_bytes"] > 0);
  CHECK(wait("0.01", -1) == CHRONOS_ERROR_NO_CAPACITY);
  CHECK(wait("soon", -1) == CHRONOS_ERROR_INVALID);
  CHECK(wait(nullptr, 9999) == CHRONOS_ERROR_INVALID);
  CHECK(wait(nullptr, -1, 4) == CHRONOS_ERROR_INVALID);
  CHECK(wait(nullptr, -1, 0) == CHRONOS_ERROR_NO_CAPACITY);

  std::array<int, 2> ends{};
  REQUIRE(pipe(ends.data()) == 0);
  std::atomic<int> code{CHRONOS_OK};
  std::thread cancelled([&] { code = wait(nullptr, ends[0]); });
  REQUIRE(write(ends[1], "x", 1) == 1);
  cancelled.join();
  CHECK(code == CHRONOS_ERROR_CANCELLED);
  close(ends[0]);
  close(ends[1]);

  std::thread patient([&] { code = wait(nullptr, -1, CHRONOS_CREATE_WAIT | CHRONOS_CREATE_HELD); });
  REQUIRE(chronos_release_partition(machine.handle, "most") == CHRONOS_OK);
  patient.join();
  CHECK(code == CHRONOS_OK);
  CHECK(machine.list()["partitions"].size() == 1);
}

TEST_CASE("the caller's own partitions are its scope") {
  Machine machine;
  char* json = nullptr;
  CHECK(chronos_scope_json(machine.handle, nullptr, &json) == CHRONOS_ERROR_NOT_FOUND);
  REQUIRE(machine.create("1MiB", "a") == CHRONOS_OK);
  REQUIRE(machine.create("1MiB", "b") == CHRONOS_OK);
  const char* none = nullptr;
  Json own = machine.get(chronos_scope_json, none);
  CHECK(own["implicit"] == true);
  REQUIRE(own["partitions"].size() == 1);  // of two on one device the older
  CHECK(own["partitions"][0]["name"] == "a");
  Json named = machine.get(chronos_scope_json, "b,,a,b");
  CHECK(named["implicit"] == false);
  CHECK(named["handles"].get<std::string>().find("b@") == 0);
  CHECK(named["partitions"].size() == 2);
  CHECK(chronos_scope_json(machine.handle, "a,nosuch", &json) == CHRONOS_ERROR_NOT_FOUND);
  CHECK(chronos_scope_json(machine.handle, ",", &json) == CHRONOS_ERROR_INVALID);
  CHECK(json == nullptr);
}

TEST_CASE("what is asked wrongly is refused with words") {
  Machine machine;
  for (const char* memory : {"", "0", "1.5", "-1", "nan", "1e400", "0.5x", "50 parsecs"}) {
    INFO(memory);
    CHECK(machine.create(memory) == CHRONOS_ERROR_INVALID);
    CHECK(last().find("memory") != std::string::npos);
  }
  for (const char* duration : {"", "0", "-5", "101y", "12 parsecs", "36500001d"}) {
    INFO(duration);
    CHECK(machine.create("0.1", nullptr, duration) == CHRONOS_ERROR_INVALID);
    CHECK(last().find("duration") != std::string::npos);
  }
  for (const char* name : {"", "a/b", "..", "a\nb", "partition_0001"}) {
    INFO(name);
    CHECK(machine.create("0.1", name) == CHRONOS_ERROR_INVALID);
  }
  CHECK(machine.create(std::string(100'000, '1').c_str()) == CHRONOS_ERROR_INVALID);
  char* json = nullptr;
  for (int device : {-1, 1, INT_MAX, INT_MIN}) {
    CHECK(chronos_create(machine.handle, device, "0.1", "1h", nullptr, nullptr, &json) ==
          CHRONOS_ERROR_NO_DEVICE);
    CHECK(chronos_get_available_percentage(machine.handle, device) < 0);
  }
  CHECK(chronos_create(machine.handle, 0, "0.1", "1h", "no such user", nullptr, &json) ==
        CHRONOS_ERROR_INVALID);
  char id[64] = "before";
  for (float share : {0.f, -1.f, 1.5f, std::nanf(""), std::numeric_limits<float>::infinity(),
                      std::numeric_limits<float>::denorm_min()}) {
    INFO(share);
    CHECK(chronos_create_partition(machine.handle, 0, share, 60, nullptr, id, sizeof id) ==
          CHRONOS_ERROR_INVALID);
    CHECK(std::string(id).empty());
  }
  for (int seconds : {0, -1, INT_MIN}) {
    CHECK(chronos_create_partition(machine.handle, 0, 0.1f, seconds, nullptr, id, sizeof id) ==
          CHRONOS_ERROR_INVALID);
  }
  CHECK(machine.list()["partitions"].empty());
}

TEST_CASE("an id that does not fit leaves no partition behind") {
  Machine machine;
  char id[14];
  CHECK(chronos_create_partition(machine.handle, 0, 0.1f, 60, nullptr, id, sizeof id) ==
        CHRONOS_ERROR_INVALID);
  CHECK(machine.list()["partitions"].empty());
}

TEST_CASE("a list longer than the array is cut, and its length told") {
  Machine machine;
  for (int i = 0; i < 3; ++i) REQUIRE(machine.create("1MiB") == CHRONOS_OK);
  std::array<ChronosPartitionInfo, 3> infos{};
  size_t count = 2;
  CHECK(chronos_list_partitions(machine.handle, infos.data(), &count) == CHRONOS_ERROR_FULL);
  CHECK(count == 3);
  CHECK(std::string(infos[1].partition_id) == "partition_0002");
  CHECK(infos[2].partition_id[0] == '\0');
  CHECK(chronos_list_partitions(machine.handle, nullptr, &count) == CHRONOS_OK);
  CHECK(count == 3);
  CHECK(chronos_list_partitions(machine.handle, infos.data(), &count) == CHRONOS_OK);
  CHECK(infos[2].active == 1);
  CHECK(infos[2].process_id == ::getpid());
}

TEST_CASE("NULL is an error where it is not allowed") {
  Machine machine;
  ChronosPartitionerHandle h = machine.handle;
  char* json = nullptr;
  char id[64];
  size_t count = 1;
  chronos_partitioner_destroy(nullptr);
  chronos_free(nullptr);
  CHECK(chronos_create_partition(nullptr, 0, 0.5f, 60, nullptr, id, sizeof id) ==
        CHRONOS_ERROR_INVALID);
  CHECK(last().find("the handle is NULL") == 0);
  CHECK(chronos_create_partition(h, 0, 0.5f, 60, nullptr, nullptr, 64) == CHRONOS_ERROR_INVALID);
  CHECK(chronos_create_partition(h, 0, 0.5f, 60, nullptr, id, 0) == CHRONOS_ERROR_INVALID);
  CHECK(chronos_release_partition(h, nullptr) == CHRONOS_ERROR_INVALID);
  CHECK(chronos_release_partition(nullptr, "p") == CHRONOS_ERROR_INVALID);
  CHECK(chronos_list_partitions(h, nullptr, nullptr) == CHRONOS_ERROR_INVALID);
  CHECK(chronos_list_partitions(nullptr, nullptr, &count) == CHRONOS_ERROR_INVALID);
  CHECK(count == 0);
  CHECK(chronos_get_available_percentage(nullptr, 0) < 0);
  CHECK(chronos_show_device_stats(nullptr) == CHRONOS_ERROR_INVALID);
  CHECK(chronos_create(h, 0, nullptr, "1h", nullptr, nullptr, &json) == CHRONOS_ERROR_INVALID);
  CHECK(chronos_create(h, 0, "0.5", nullptr, nullptr, nullptr, &json) == CHRONOS_ERROR_INVALID);
  CHECK(chronos_create(h, 0, "0.5", "1h", nullptr, nullptr, nullptr) == CHRONOS_ERROR_INVALID);
  CHECK(chronos_create(nullptr, 0, "0.5", "1h", nullptr, nullptr, &json) == CHRONOS_ERROR_INVALID);
  CHECK(chronos_find_json(h, nullptr, &json) == CHRONOS_ERROR_INVALID);
  CHECK(chronos_find_json(h, "p", nullptr) == CHRONOS_ERROR_INVALID);
  CHECK(chronos_list_json(h, nullptr) == CHRONOS_ERROR_INVALID);
  CHECK(chronos_stats_json(h, 0, nullptr) == CHRONOS_ERROR_INVALID);
  CHECK(chronos_stats_text(nullptr, &json) == CHRONOS_ERROR_INVALID);
  CHECK(chronos_available_json(h, 0, nullptr) == CHRONOS_ERROR_INVALID);
  CHECK(chronos_scope_json(h, nullptr, nullptr) == CHRONOS_ERROR_INVALID);
  CHECK(chronos_shim_path(nullptr) == CHRONOS_ERROR_INVALID);
  CHECK(machine.list()["partitions"].empty());
}

TEST_CASE("each thread has its own last error") {
  Machine machine;
  CHECK(chronos_release_partition(machine.handle, "mine") == CHRONOS_ERROR_NOT_FOUND);
  std::string other_before = "unset", other_after;
  std::thread([&] {
    other_before = last();
    chronos_release_partition(nullptr, "x");
    other_after = last();
  }).join();
  CHECK(other_before.empty());
  CHECK(other_after.find("the handle is NULL") == 0);
  CHECK(last().find("Partition not found or already released: mine") == 0);
}

TEST_CASE("one handle serves many threads") {
  Machine machine;
  std::vector<std::thread> threads;
  std::atomic<int> failures{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        char id[64];
        size_t count = 0;
        if (chronos_create_partition(machine.handle, 0, 0.1f, 60, nullptr, id, sizeof id) != 0 ||
            chronos_list_partitions(machine.handle, nullptr, &count) != 0 || count < 1 ||
            chronos_release_partition(machine.handle, id) != 0) {
          ++failures;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(failures == 0);
  CHECK(machine.list()["partitions"].empty());
}

TEST_CASE("a forked child goes on with the handle, whatever other threads were doing") {
  Machine machine;
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop) {
      char id[64];
      if (chronos_create_partition(machine.handle, 0, 0.1f, 60, nullptr, id, sizeof id) == 0) {
        chronos_release_partition(machine.handle, id);
      }
    }
  });
  int failed = 0;
  for (int i = 0; i < 50; ++i) {
    pid_t child = ::fork();
    if (child == 0) {
      ::alarm(20);  // a lock that the parent's thread held would never come free
      char id[64];
      int code = chronos_create_partition(machine.handle, 0, 0.1f, 60, nullptr, id, sizeof id);
      if (code == 0) code = chronos_release_partition(machine.handle, id);
      ::_exit(code == 0 ? 0 : 1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    failed += status != 0;
  }
  stop = true;
  busy.join();
  CHECK(failed == 0);
}

TEST_CASE("a state directory that cannot be used is an error of the system") {
  TempFolder folder;
  SetEnv state("CHRONOS_STATE_DIR", folder.write("file", ""));
  CHECK(chronos_partitioner_create() == nullptr);
  CHECK(last().find("cannot use the state directory") == 0);
  CHECK(last_json()["code"] == CHRONOS_ERROR_SYSTEM);
}

TEST_CASE("the version is there") { CHECK(std::strlen(chronos_version()) >= 5); }

TEST_CASE("memory on several devices, and whole devices that are fit, from C") {
  Machine machine;
  SetEnv nvml{"CHRONOS_TEST_NVML", "/nonexistent/libnvidia-ml.so.1"};
  SetEnv sys{"CHRONOS_TEST_SYS", "/nonexistent"};
  const Json held = machine.get(chronos_reserve_json, "0", 1, "0.5", "1h", "job", 0, nullptr, -1);
  REQUIRE(held["partitions"].size() == 1);
  CHECK(held["partitions"][0]["partition_id"] == "job");
  CHECK(held["partitions"][0]["handle"].get<std::string>().rfind("job@", 0) == 0);

  char* json = nullptr;
  auto reserve = [&](const char* devices, int count, int flags = 0, const char* timeout = nullptr) {
    const int code = chronos_reserve_json(machine.handle, devices, count, "1", "1h", nullptr, flags,
                                          timeout, -1, &json);
    CHECK(json == nullptr);
    return code;
  };
  CHECK(reserve("0", 1) == CHRONOS_ERROR_NO_CAPACITY);
  CHECK(reserve("0", 1, CHRONOS_CREATE_WAIT, "0.01") == CHRONOS_ERROR_NO_CAPACITY);
  CHECK(reserve("0", 2) == CHRONOS_ERROR_INVALID);
  CHECK(reserve("0,0", 2) == CHRONOS_ERROR_INVALID);
  CHECK(reserve("0,", 1) == CHRONOS_ERROR_INVALID);
  CHECK(reserve("", 1) == CHRONOS_ERROR_INVALID);
  CHECK(reserve("9", 1) == CHRONOS_ERROR_NO_DEVICE);
  CHECK(reserve("0", -1) == CHRONOS_ERROR_INVALID);
  CHECK(reserve("0", 1, 8) == CHRONOS_ERROR_INVALID);

  auto acquire = [&](double free, double again = 1, int count = 1) {
    const int code = chronos_acquire_json(machine.handle, "0", count, free, -1, -1, again, "1h",
                                          nullptr, 0, nullptr, -1, &json);
    const Json answer = json == nullptr ? Json() : Json::parse(json);
    chronos_free(json);
    json = nullptr;
    return std::pair(code, answer);
  };
  CHECK(acquire(-1).first == CHRONOS_ERROR_NO_CAPACITY);
  CHECK(last().find("device 0: held by ") != std::string::npos);
  REQUIRE(chronos_release_partition(machine.handle, "job") == CHRONOS_OK);
  CHECK(acquire(1).first == CHRONOS_ERROR_NO_CAPACITY);
  CHECK(last().find("nobody says how much of its memory is free") != std::string::npos);
  CHECK(acquire(-1, std::nan("")).first == CHRONOS_ERROR_INVALID);
  CHECK(acquire(-1, 1, 0).first == CHRONOS_ERROR_INVALID);
  CHECK(machine.list()["partitions"].empty());
  const auto [code, answer] = acquire(-1);
  REQUIRE(code == CHRONOS_OK);
  CHECK(answer["partitions"][0]["memory_fraction"] == 1);
  CHECK(answer["environment"].is_object());

  const Json facts = machine.get(chronos_facts_json);
  CHECK(facts["devices"][0]["source"] == "opencl");
  CHECK(facts["devices"][0]["free_bytes"].is_null());
  CHECK(facts["devices"][0]["processes"].is_null());
  CHECK(chronos_facts_json(nullptr, &json) == CHRONOS_ERROR_INVALID);
}
