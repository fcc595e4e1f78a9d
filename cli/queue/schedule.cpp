#include "cli/queue/schedule.hpp"

#include <algorithm>

namespace chronos::queue {
namespace {

bool may_use(const Candidate& job, const DeviceLoad& device) {
  return job.devices.empty() ||
         std::find(job.devices.begin(), job.devices.end(), device.index) != job.devices.end();
}

bool has_room(const Candidate& job, const DeviceLoad& device) {
  return may_use(job, device) && job.memory.on(device.total) > 0 &&
         job.memory.on(device.total) <= device.available &&
         (job.jobs_per_gpu == 0 || device.slots < job.jobs_per_gpu);
}

void take(const Candidate& job, DeviceLoad& device) {
  const std::uint64_t bytes = job.memory.on(device.total);
  device.available -= bytes;
  if (job.jobs_per_gpu > 0) ++device.slots;
  device.endings.push_back(
      {job.duration_ns == 0 ? kNever : job.duration_ns, bytes, job.jobs_per_gpu > 0});
}

using Chosen = std::vector<std::size_t>;  // places in the list of devices

// The devices that the job fills best; none where it has no room. `allowed` narrows further.
template <class Allowed>
std::optional<Chosen> best_fit(const Candidate& job, const std::vector<DeviceLoad>& devices,
                               Allowed allowed) {
  Chosen places;
  for (std::size_t place = 0; place < devices.size(); ++place) {
    if (has_room(job, devices[place]) && allowed(place)) places.push_back(place);
  }
  if (places.size() < job.gpus) return std::nullopt;
  std::stable_sort(places.begin(), places.end(), [&](std::size_t one, std::size_t other) {
    auto left_over = [&](std::size_t place) {
      return devices[place].available - job.memory.on(devices[place].total);
    };
    return left_over(one) < left_over(other);
  });
  places.resize(job.gpus);
  return places;
}

bool anywhere(std::size_t) { return true; }

// Where and when the head will be, and what it leaves there.
struct Promise {
  std::uint64_t in_ns = kNever;
  Chosen places;
  std::vector<DeviceLoad> then;  // with the head on them
  unsigned jobs_per_gpu = 0;     // the head's

  // Whether `job` may still be running there then.
  bool leaves_room_for(const Candidate& job, std::size_t place) const {
    if (!has_room(job, then[place])) return false;
    const bool beside_head = std::find(places.begin(), places.end(), place) != places.end();
    const bool both_count = jobs_per_gpu > 0 && job.jobs_per_gpu > 0;
    return !beside_head || !both_count || then[place].slots < jobs_per_gpu;
  }
};

Promise promise(const Candidate& head, std::vector<DeviceLoad> devices) {
  std::vector<std::uint64_t> times;
  for (const DeviceLoad& device : devices) {
    for (const Ending& ending : device.endings) times.push_back(ending.in_ns);
  }
  std::sort(times.begin(), times.end());
  times.erase(std::unique(times.begin(), times.end()), times.end());
  Promise result;
  result.jobs_per_gpu = head.jobs_per_gpu;
  for (std::uint64_t time : times) {
    for (DeviceLoad& device : devices) {
      std::erase_if(device.endings, [&](const Ending& ending) {
        if (ending.in_ns > time) return false;
        device.available += ending.bytes;
        if (ending.slot && device.slots > 0) --device.slots;
        return true;
      });
    }
    auto places = best_fit(head, devices, anywhere);
    if (!places) continue;
    result.in_ns = time;
    result.places = std::move(*places);
    break;
  }
  for (std::size_t place : result.places) take(head, devices[place]);
  result.then = std::move(devices);
  return result;
}

}  // namespace

bool could_ever_fit(const Candidate& job, const std::vector<DeviceLoad>& devices) {
  const auto fitting = std::count_if(devices.begin(), devices.end(), [&](const DeviceLoad& one) {
    const std::uint64_t bytes = job.memory.on(one.total);
    return may_use(job, one) && bytes > 0 && bytes <= one.total;
  });
  return static_cast<std::size_t>(fitting) >= job.gpus;
}

Plan make_plan(const std::vector<Candidate>& line, std::vector<DeviceLoad> devices) {
  Plan plan;
  std::optional<Promise> promised;
  auto start = [&](const Candidate& job, const Chosen& places) {
    Start one{job.id, {}};
    for (std::size_t place : places) {
      take(job, devices[place]);
      one.devices.push_back(devices[place].index);
    }
    std::sort(one.devices.begin(), one.devices.end());
    plan.starts.push_back(std::move(one));
  };
  for (const Candidate& job : line) {
    if (!could_ever_fit(job, devices)) {
      plan.impossible.push_back(job.id);
      continue;
    }
    if (!promised) {
      if (auto places = best_fit(job, devices, anywhere)) {
        start(job, *places);
      } else {
        plan.head = job.id;
        promised = promise(job, devices);
        plan.head_in_ns = promised->in_ns;
      }
      continue;
    }
    // Over before the head starts: anywhere. Else only what the head will leave.
    const bool over_in_time = job.duration_ns > 0 && job.duration_ns <= promised->in_ns;
    auto leaves_enough = [&](std::size_t place) {
      return over_in_time || promised->leaves_room_for(job, place);
    };
    auto places = best_fit(job, devices, leaves_enough);
    if (!places) continue;
    start(job, *places);
    if (over_in_time) continue;
    for (std::size_t place : *places) take(job, promised->then[place]);
  }
  return plan;
}

}  // namespace chronos::queue
