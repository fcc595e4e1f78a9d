#include "cli/queue/schedule.hpp"

#include <rapidcheck.h>

#include <algorithm>
#include <map>
#include <set>

#include "catch.hpp"

using namespace chronos;
using namespace chronos::queue;

namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;

DeviceLoad device(int index, std::uint64_t total = 24) { return {index, total, total, 0, {}}; }

// A device on which `bytes` come back in `seconds`.
DeviceLoad busy(int index, std::uint64_t bytes, std::uint64_t seconds) {
  DeviceLoad load = device(index);
  load.available -= bytes;
  load.endings.push_back({seconds * kSecond, bytes, false});
  return load;
}

Candidate job(JobId id, std::uint64_t bytes, std::uint64_t seconds = 0, unsigned gpus = 1) {
  Candidate one;
  one.id = id;
  one.memory = {0, bytes};
  one.duration_ns = seconds * kSecond;
  one.gpus = gpus;
  return one;
}

std::map<JobId, std::vector<int>> started(const Plan& plan) {
  std::map<JobId, std::vector<int>> result;
  for (const Start& start : plan.starts) result[start.id] = start.devices;
  return result;
}

using Started = std::map<JobId, std::vector<int>>;

}  // namespace

TEST_CASE("jobs fill the device that they fit best", "[schedule]") {
  auto plan = make_plan({job(1, 4), job(2, 20)}, {device(0), busy(1, 19, 10)});
  CHECK(started(plan) == Started{{1, {1}}, {2, {0}}});
  CHECK(!plan.head);
}

TEST_CASE("several devices are given at once or not at all", "[schedule]") {
  auto plan = make_plan({job(1, 24, 10, 2)}, {device(0), busy(1, 1, 10), device(2)});
  CHECK(started(plan) == Started{{1, {0, 2}}});
  plan = make_plan({job(1, 24, 10, 3)}, {device(0), busy(1, 1, 10), device(2)});
  CHECK(plan.starts.empty());
  CHECK(plan.head == 1);
  CHECK(plan.head_in_ns == 10 * kSecond);
}

TEST_CASE("a job behind the head starts if it is over before the head can start", "[schedule]") {
  const std::vector<DeviceLoad> devices = {busy(0, 10, 60)};
  auto plan = make_plan({job(1, 24), job(2, 8, 60), job(3, 8, 61), job(4, 6, 59)}, devices);
  CHECK(plan.head == 1);
  CHECK(started(plan) == Started{{2, {0}}, {4, {0}}});
}

TEST_CASE("a job behind the head starts where the head will not be", "[schedule]") {
  // The head will get device 0, which is free first; 1 stays as it is.
  auto plan = make_plan({job(1, 20), job(2, 10), job(3, 4)}, {busy(0, 10, 60), busy(1, 10, 90)});
  CHECK(plan.head == 1);
  CHECK(started(plan) == Started{{2, {1}}, {3, {1}}});
  // And beside it, what it leaves: 24 - 20.
  plan = make_plan({job(1, 20), job(2, 4), job(3, 1)}, {busy(0, 10, 60)});
  CHECK(started(plan) == Started{{2, {0}}});
}

TEST_CASE("only the named devices are used, and what never fits holds nobody up", "[schedule]") {
  Candidate picky = job(1, 10);
  picky.devices = {1};
  Candidate nowhere = job(2, 10);
  nowhere.devices = {7};
  auto plan = make_plan({job(9, 25), nowhere, picky, job(3, 10, 0, 3)}, {device(0), device(1)});
  CHECK(started(plan) == Started{{1, {1}}});
  CHECK(plan.impossible == std::vector<JobId>{9, 2, 3});
  CHECK(!plan.head);
}

TEST_CASE("jobs_per_gpu bounds the jobs on a device where memory would not", "[schedule]") {
  std::vector<Candidate> line;
  for (JobId id = 1; id <= 3; ++id) {
    line.push_back(job(id, 1));
    line.back().jobs_per_gpu = 2;
  }
  auto plan = make_plan(line, {device(0)});
  CHECK(plan.starts.size() == 2);
  CHECK(plan.head == 3);
}

namespace {

struct Scene {
  std::vector<DeviceLoad> devices;
  std::vector<Candidate> line;
};

Scene any_scene() {
  Scene scene;
  const int count = *rc::gen::inRange(1, 5);
  for (int index = 0; index < count; ++index) {
    DeviceLoad load = device(index, *rc::gen::inRange<std::uint64_t>(1, 40));
    for (int running = *rc::gen::inRange(0, 5); running > 0; --running) {
      const auto bytes = *rc::gen::inRange<std::uint64_t>(0, load.available + 1);
      const bool ends = *rc::gen::inRange(0, 4) > 0;
      load.available -= bytes;
      load.endings.push_back(
          {ends ? *rc::gen::inRange<std::uint64_t>(1, 100) * kSecond : kNever, bytes, false});
    }
    scene.devices.push_back(std::move(load));
  }
  const int jobs = *rc::gen::inRange(0, 30);
  for (int id = 1; id <= jobs; ++id) {
    Candidate one = job(id, *rc::gen::inRange<std::uint64_t>(1, 42),
                        *rc::gen::inRange<std::uint64_t>(0, 120), *rc::gen::inRange(1u, 4u));
    for (int index = 0; index < count; ++index) {
      if (*rc::gen::inRange(0, 4) == 0) one.devices.push_back(index);
    }
    one.jobs_per_gpu = *rc::gen::inRange(0u, 6u);
    if (*rc::gen::inRange(0, 4) == 0) one.memory = {*rc::gen::inRange(1, 101) / 100.0, 0};
    scene.line.push_back(std::move(one));
  }
  return scene;
}

const Candidate& by_id(const Scene& scene, JobId id) {
  return *std::find_if(scene.line.begin(), scene.line.end(),
                       [&](const Candidate& one) { return one.id == id; });
}

// The devices at `at_ns`, if everything lasts until its deadline and `starts` are begun now.
std::vector<DeviceLoad> later(const Scene& scene, const std::vector<Start>& starts,
                              std::uint64_t at_ns) {
  std::vector<DeviceLoad> devices = scene.devices;
  for (const Start& start : starts) {
    const Candidate& one = by_id(scene, start.id);
    for (int index : start.devices) {
      DeviceLoad& load = devices[static_cast<std::size_t>(index)];
      const std::uint64_t bytes = one.memory.on(load.total);
      load.available -= bytes;
      if (one.jobs_per_gpu > 0) ++load.slots;
      load.endings.push_back(
          {one.duration_ns == 0 ? kNever : one.duration_ns, bytes, one.jobs_per_gpu > 0});
    }
  }
  for (DeviceLoad& load : devices) {
    for (const Ending& ending : load.endings) {
      if (ending.in_ns > at_ns) continue;
      load.available += ending.bytes;
      if (ending.slot) --load.slots;
    }
  }
  return devices;
}

bool fits(const Candidate& one, const std::vector<DeviceLoad>& devices) {
  unsigned found = 0;
  for (const DeviceLoad& load : devices) {
    const bool named = one.devices.empty() || std::find(one.devices.begin(), one.devices.end(),
                                                        load.index) != one.devices.end();
    const std::uint64_t bytes = one.memory.on(load.total);
    const bool slot = one.jobs_per_gpu == 0 || load.slots < one.jobs_per_gpu;
    found += named && slot && bytes > 0 && bytes <= load.available ? 1 : 0;
  }
  return found >= one.gpus;
}

}  // namespace

TEST_CASE("no plan gives out more than there is, or two devices for one", "[schedule]") {
  CHECK(rc::check("plans are possible", [] {
    const Scene scene = any_scene();
    const Plan plan = make_plan(scene.line, scene.devices);
    std::map<int, std::uint64_t> taken;
    std::set<JobId> seen;
    for (const Start& start : plan.starts) {
      const Candidate& one = by_id(scene, start.id);
      RC_ASSERT(seen.insert(start.id).second);
      RC_ASSERT(start.devices.size() == one.gpus);
      RC_ASSERT(std::set<int>(start.devices.begin(), start.devices.end()).size() == one.gpus);
      for (int index : start.devices) {
        const DeviceLoad& load = scene.devices[static_cast<std::size_t>(index)];
        const bool named = one.devices.empty() || std::find(one.devices.begin(), one.devices.end(),
                                                            index) != one.devices.end();
        RC_ASSERT(named);
        taken[index] += one.memory.on(load.total);
        RC_ASSERT(taken[index] <= load.available);
      }
    }
  }));
}

TEST_CASE("nobody is overtaken without need, and the head is not delayed", "[schedule]") {
  CHECK(rc::check("backfill keeps its promise", [] {
    const Scene scene = any_scene();
    const Plan plan = make_plan(scene.line, scene.devices);
    // Everybody before the head who can run at all has been started.
    std::set<JobId> passed(plan.impossible.begin(), plan.impossible.end());
    for (const Start& start : plan.starts) passed.insert(start.id);
    for (const Candidate& one : scene.line) {
      if (plan.head == one.id) break;
      RC_ASSERT(passed.contains(one.id));
    }
    if (!plan.head) return;
    const Candidate& head = by_id(scene, *plan.head);
    std::vector<Start> before;
    for (const Start& start : plan.starts) {
      if (start.id < head.id) before.push_back(start);
    }
    RC_ASSERT(!fits(head, later(scene, before, 0)));
    // By its promised time it fits, whoever was let by.
    if (plan.head_in_ns != kNever) {
      RC_ASSERT(fits(head, later(scene, plan.starts, plan.head_in_ns)));
    }
    // And no earlier without them: the promise is the best there is.
    std::set<std::uint64_t> times;
    const auto now = later(scene, before, 0);
    for (const DeviceLoad& load : now) {
      for (const Ending& ending : load.endings) times.insert(ending.in_ns);
    }
    for (std::uint64_t time : times) {
      if (time < plan.head_in_ns) RC_ASSERT(!fits(head, later(scene, before, time)));
    }
  }));
}

TEST_CASE("a job that could start without disturbing the head is not left out", "[schedule]") {
  CHECK(rc::check("what is over in time starts", [] {
    const Scene scene = any_scene();
    const Plan plan = make_plan(scene.line, scene.devices);
    if (!plan.head) return;
    std::set<JobId> seen(plan.impossible.begin(), plan.impossible.end());
    for (const Start& start : plan.starts) seen.insert(start.id);
    const auto now = later(scene, plan.starts, 0);
    for (const Candidate& one : scene.line) {
      if (seen.contains(one.id)) continue;
      const bool over_in_time = one.duration_ns > 0 && one.duration_ns <= plan.head_in_ns;
      const bool left_out = over_in_time && fits(one, now);
      RC_ASSERT(!left_out || one.id == *plan.head);
    }
  }));
}
