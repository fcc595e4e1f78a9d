// The functions that say everything, as JSON; the Python package stands on them.
#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <string>

#include "core/acquire.hpp"
#include "core/capi/support.hpp"
#include "core/doctor/findings.hpp"
#include "core/facts/health.hpp"
#include "core/inventory.hpp"
#include "core/launch.hpp"
#include "core/paths.hpp"
#include "core/reservation.hpp"
#include "core/text.hpp"
#include "core/units.hpp"

namespace chronos::capi {
namespace {

Json with_handle(const PartitionInfo& partition) {
  Json json = partition_json(partition);
  json["handle"] = partition.handle();
  return json;
}

Json partition_answer(const PartitionInfo& partition) {
  Json json = json_answer();
  json.update(with_handle(partition));
  return json;
}

Json partitions_answer(const std::vector<PartitionInfo>& partitions) {
  Json json = json_answer();
  json["partitions"] = Json::array();
  for (const PartitionInfo& one : partitions) json["partitions"].push_back(with_handle(one));
  return json;
}

tl::unexpected<Failure> refused(Error error, const std::vector<Obstacle>& obstacles) {
  Failure failure(std::move(error));
  failure.details["obstacles"] = Json::array();
  for (const Obstacle& one : obstacles) {
    Json json{{"device", one.device}, {"reason", one.reason}, {"partition", nullptr}};
    if (one.partition) json["partition"] = with_handle(*one.partition);
    failure.details["obstacles"].push_back(std::move(json));
  }
  return tl::unexpected<Failure>(std::move(failure));
}

// Everything that can be judged without looking at users and devices.
Outcome<CreateRequest> parse_request(const char* memory, const char* duration, const char* name) {
  CreateRequest request;
  auto memory_text = text("memory", memory);
  if (!memory_text) return give_up(memory_text);
  auto amount = parse_memory(*memory_text);
  if (!amount) return give_up(amount);
  request.memory = *amount;

  auto duration_text = text("duration", duration);
  if (!duration_text) return give_up(duration_text);
  auto nanos = parse_duration(*duration_text);
  if (!nanos) return give_up(nanos);
  request.duration_ns = *nanos;

  auto name_text = optional_text("name", name);
  if (!name_text) return give_up(name_text);
  if (*name_text) {
    auto good = check_name(**name_text);
    if (!good) return give_up(good);
    request.name = **name_text;
  }
  return request;
}

Outcome<WaitOptions> parse_waiting(const char* timeout, int cancel_fd) {
  WaitOptions options;
  auto timeout_text = optional_text("timeout", timeout);
  if (!timeout_text) return give_up(timeout_text);
  if (*timeout_text) {
    options.timeout_ns = 0;
    if (**timeout_text != "0") {
      auto nanos = parse_duration(**timeout_text);
      if (!nanos) return give_up(nanos);
      options.timeout_ns = *nanos;
    }
  }
  if (cancel_fd >= 0 && ::fcntl(cancel_fd, F_GETFD) < 0) {
    return give_up(ErrorCode::kInvalid, fmt::format("there is no descriptor {}", cancel_fd));
  }
  options.cancel_fd = cancel_fd;
  return options;
}

// "0,2,3"; none: all GPUs.
Outcome<std::vector<Device>> parse_devices(Registry& registry, const char* list) {
  auto given = optional_text("list of devices", list);
  if (!given) return give_up(given);
  auto inventory = load_inventory(registry.state());
  if (!inventory) return give_up(inventory);
  std::vector<Device> devices;
  if (!*given) {
    for (const Device& device : inventory->devices) {
      if (device.type == DeviceType::kGpu) devices.push_back(device);
    }
    return devices;
  }
  for (std::string_view rest = **given;;) {
    const std::size_t end = std::min(rest.find(','), rest.size());
    int number = -1;
    const auto [stop, error] = std::from_chars(rest.data(), rest.data() + end, number);
    if (error != std::errc{} || stop != rest.data() + end || number < 0) {
      return give_up(
          ErrorCode::kInvalid,
          fmt::format("invalid devices {}: they are numbers such as 0,2", quoted(**given)));
    }
    auto device = find_device(*inventory, number);
    if (!device) return give_up(device);
    devices.push_back(std::move(*device));
    if (end == rest.size()) return devices;
    rest.remove_prefix(end + 1);
  }
}

Outcome<std::optional<WaitOptions>> waiting_of(int flags, const char* timeout, int cancel_fd) {
  if ((flags & ~CHRONOS_CREATE_WAIT) != 0) {
    return give_up(ErrorCode::kInvalid, fmt::format("unknown flags {:#x}", flags));
  }
  if (flags == 0) return std::optional<WaitOptions>();
  auto options = parse_waiting(timeout, cancel_fd);
  if (!options) return give_up(options);
  return std::optional(std::move(*options));
}

}  // namespace
}  // namespace chronos::capi

using namespace chronos;
using namespace chronos::capi;

int chronos_create(ChronosPartitionerHandle handle, int device, const char* memory,
                   const char* duration, const char* user, const char* name, char** json) {
  return chronos_create_with(handle, device, memory, duration, user, name, 0, nullptr, -1, json);
}

int chronos_create_with(ChronosPartitionerHandle handle, int device, const char* memory,
                        const char* duration, const char* user, const char* name, int flags,
                        const char* timeout, int cancel_fd, char** json) {
  return answer(handle, json, [&](Registry& registry) -> Outcome<Json> {
    if ((flags & ~(CHRONOS_CREATE_HELD | CHRONOS_CREATE_WAIT)) != 0) {
      return give_up(ErrorCode::kInvalid, fmt::format("unknown flags {:#x}", flags));
    }
    auto request = parse_request(memory, duration, name);
    if (!request) return give_up(request);
    request->held = (flags & CHRONOS_CREATE_HELD) != 0;
    std::optional<WaitOptions> wait;
    if ((flags & CHRONOS_CREATE_WAIT) != 0) {
      auto options = parse_waiting(timeout, cancel_fd);
      if (!options) return give_up(options);
      wait = std::move(*options);
    }
    auto owner = optional_text("user", user);
    if (!owner) return give_up(owner);
    auto made = create(registry, std::move(*request), device, *owner, wait ? &*wait : nullptr);
    if (!made) return give_up(made);
    return partition_answer(*made);
  });
}

int chronos_reserve_json(ChronosPartitionerHandle handle, const char* devices, int count,
                         const char* memory, const char* duration, const char* name, int flags,
                         const char* timeout, int cancel_fd, char** json) {
  return answer(handle, json, [&](Registry& registry) -> Outcome<Json> {
    auto wait = waiting_of(flags, timeout, cancel_fd);
    if (!wait) return give_up(wait);
    auto parsed = parse_request(memory, duration, name);
    if (!parsed) return give_up(parsed);
    auto candidates = parse_devices(registry, devices);
    if (!candidates) return give_up(candidates);
    ReserveRequest request;
    request.candidates = std::move(*candidates);
    request.count = count > 0 ? static_cast<std::size_t>(count) : 0;
    request.memory = parsed->memory;
    request.duration_ns = parsed->duration_ns;
    request.name = parsed->name;
    request.held = true;
    Result<std::vector<PartitionInfo>> made;
    if (*wait) {
      auto joined = Reservation::join(registry, std::move(request), **wait);
      if (!joined) return give_up(joined);
      made = joined->wait();
    } else {
      made = registry.reserve(request);
    }
    if (!made) return give_up(made);
    return partitions_answer(*made);
  });
}

int chronos_acquire_json(ChronosPartitionerHandle handle, const char* devices, int count,
                         double min_free_bytes, double max_power_watts,
                         double max_utilization_percent, double look_again_seconds,
                         const char* duration, const char* name, int flags, const char* timeout,
                         int cancel_fd, char** json) {
  return answer(handle, json, [&](Registry& registry) -> Outcome<Json> {
    auto wait = waiting_of(flags, timeout, cancel_fd);
    if (!wait) return give_up(wait);
    auto parsed = parse_request("1", duration, name);
    if (!parsed) return give_up(parsed);
    AcquireRequest request;
    // A condition that makes no sense must not pass for one that nobody asked for.
    for (const double value : {min_free_bytes, max_power_watts, max_utilization_percent}) {
      if (std::isnan(value)) return give_up(ErrorCode::kInvalid, "invalid condition: no number");
    }
    if (min_free_bytes >= 0) {
      request.health.min_free_bytes = static_cast<std::uint64_t>(std::min(min_free_bytes, 1e19));
    }
    if (max_power_watts >= 0) request.health.max_power_watts = max_power_watts;
    if (max_utilization_percent >= 0) {
      request.health.max_utilization_percent = max_utilization_percent;
    }
    if (!(look_again_seconds >= 0 && look_again_seconds <= 1e9)) {
      return give_up(ErrorCode::kInvalid, "invalid time to look again: seconds, at least 0");
    }
    request.look_again_ns = static_cast<std::uint64_t>(std::max(look_again_seconds, 0.001) * 1e9);
    if (count < 1) return give_up(ErrorCode::kInvalid, fmt::format("invalid count {}", count));
    auto candidates = parse_devices(registry, devices);
    if (!candidates) return give_up(candidates);
    request.candidates = std::move(*candidates);
    request.count = static_cast<std::size_t>(count);
    request.duration_ns = parsed->duration_ns;
    request.name = parsed->name;
    std::vector<Obstacle> obstacles;
    auto acquired = acquire(registry, request, *wait ? &**wait : nullptr, &obstacles);
    if (!acquired) return refused(std::move(acquired.error()), obstacles);
    Json json_out = partitions_answer(acquired->partitions);
    json_out["environment"] = Json::object();
    auto variables = variables_for(registry, *acquired);
    if (!variables) {
      // Nobody would know what to give back.
      for (const PartitionInfo& one : acquired->partitions) (void)registry.release(one.handle());
      return give_up(variables);
    }
    for (const auto& [variable, value] : *variables) json_out["environment"][variable] = value;
    return json_out;
  });
}

int chronos_facts_json(ChronosPartitionerHandle handle, char** json) {
  return answer(handle, json, [&](Registry& registry) -> Outcome<Json> {
    auto inventory = load_inventory(registry.state());
    if (!inventory) return give_up(inventory);
    const GpuReport report = look_at_gpus(inventory->devices);
    Json facts = json_answer();
    facts["devices"] = Json::array();
    for (std::size_t i = 0; i < report.of_device.size(); ++i) {
      facts["devices"].push_back(facts_json(inventory->devices[i], report.of_device[i]));
    }
    facts["warnings"] = inventory->warnings;
    for (const std::string& line : report.warnings) facts["warnings"].push_back(line);
    return facts;
  });
}

int chronos_release_json(ChronosPartitionerHandle handle, const char* id, char** json) {
  if (json != nullptr) *json = nullptr;
  return with_registry(handle, [&](Registry& registry) -> Done {
    auto id_text = text("id", id);
    if (!id_text) return give_up(id_text);
    auto ended = registry.release(*id_text);
    if (!ended) return give_up(ended);
    if (json == nullptr) return {};
    Json answer = partition_answer(*ended);
    answer["state"] = ended->used_bytes > 0 ? "draining" : "released";
    return hand_out(answer, json);
  });
}

int chronos_extend_json(ChronosPartitionerHandle handle, const char* id, const char* duration,
                        char** json) {
  if (json != nullptr) *json = nullptr;
  return with_registry(handle, [&](Registry& registry) -> Done {
    auto id_text = text("id", id);
    if (!id_text) return give_up(id_text);
    auto duration_text = text("duration", duration);
    if (!duration_text) return give_up(duration_text);
    auto nanos = parse_duration(*duration_text);
    if (!nanos) return give_up(nanos);
    auto extended = registry.extend(*id_text, *nanos);
    if (!extended) return give_up(extended);
    if (json == nullptr) return {};
    return hand_out(partition_answer(*extended), json);
  });
}

int chronos_resize_json(ChronosPartitionerHandle handle, const char* id, const char* memory,
                        int drain, char** json) {
  if (json != nullptr) *json = nullptr;
  return with_registry(handle, [&](Registry& registry) -> Done {
    auto id_text = text("id", id);
    if (!id_text) return give_up(id_text);
    auto memory_text = text("memory", memory);
    if (!memory_text) return give_up(memory_text);
    auto amount = parse_memory(*memory_text);
    if (!amount) return give_up(amount);
    auto resized = resize(registry, *id_text, *amount, drain != 0);
    if (!resized) return give_up(resized);
    if (json == nullptr) return {};
    return hand_out(partition_answer(*resized), json);
  });
}

int chronos_find_json(ChronosPartitionerHandle handle, const char* id, char** json) {
  return answer(handle, json, [&](Registry& registry) -> Outcome<Json> {
    auto id_text = text("id", id);
    if (!id_text) return give_up(id_text);
    auto found = registry.find(*id_text);
    if (!found) return give_up(found);
    return partition_answer(*found);
  });
}

int chronos_list_json(ChronosPartitionerHandle handle, char** json) {
  return answer(handle, json, [&](Registry& registry) -> Outcome<Json> {
    auto all = active_first(registry);
    if (!all) return give_up(all);
    Json answer = partitions_answer(*all);
    answer["warnings"] = registry.warnings();
    return answer;
  });
}

int chronos_stats_json(ChronosPartitionerHandle handle, int refresh, char** json) {
  return answer(handle, json, [&](Registry& registry) -> Outcome<Json> {
    auto standings = all_standings(registry, refresh != 0);
    if (!standings) return give_up(standings);
    Json answer = json_answer();
    answer["devices"] = Json::array();
    for (const auto& [device, use] : standings->devices) {
      answer["devices"].push_back(device_json(device, use));
    }
    answer["warnings"] = standings->warnings;
    return answer;
  });
}

int chronos_stats_text(ChronosPartitionerHandle handle, char** out) {
  return answer(handle, out, [&](Registry& registry) -> Outcome<std::string> {
    auto standings = all_standings(registry, false);
    if (!standings) return give_up(standings);
    return stats_text(standings->devices);
  });
}

int chronos_available_json(ChronosPartitionerHandle handle, int device, char** json) {
  return answer(handle, json, [&](Registry& registry) -> Outcome<Json> {
    auto standing = standing_of(registry, device);
    if (!standing) return give_up(standing);
    return available_json(standing->device, standing->use);
  });
}

int chronos_scope_json(ChronosPartitionerHandle handle, const char* ids, char** json) {
  return answer(handle, json, [&](Registry& registry) -> Outcome<Json> {
    auto list = optional_text("list of ids", ids);
    if (!list) return give_up(list);
    auto scope = *list ? named_partitions(registry, **list) : own_partitions(registry);
    if (!scope) return give_up(scope);
    Json answer = partitions_answer(scope->partitions);
    answer["implicit"] = scope->implicit;
    answer["handles"] = scope->handles();
    return answer;
  });
}

int chronos_doctor_json(char** json) {
  if (json != nullptr) *json = nullptr;
  return guarded([&]() -> Done {
    if (json == nullptr) return no_output();
    const doctor::Facts facts = doctor::gather(CHRONOS_VERSION);
    return hand_out(doctor::machine_json(facts, doctor::findings(facts)), json);
  });
}

const char* chronos_last_error_json(void) { return last_error_json(); }

int chronos_shim_path(char** path) {
  if (path != nullptr) *path = nullptr;
  return guarded([&]() -> Done {
    if (path == nullptr) return no_output();
    auto shim = usable_shim_path();
    if (!shim) return give_up(shim);
    return hand_out(*shim, path);
  });
}

int chronos_command_path(char** path) {
  if (path != nullptr) *path = nullptr;
  return guarded([&]() -> Done {
    if (path == nullptr) return no_output();
    const std::string command = command_path();
    if (command.empty()) {
      return give_up(ErrorCode::kSystem, "the command `chronos` is missing from this installation",
                     "it belongs into bin/, or beside libchronos.so; install Chronos again");
    }
    return hand_out(command, path);
  });
}

const char* chronos_version(void) {
  // With a mark before it, for who has only the file (`chronos doctor`).
  static constexpr char kMark[] = "CHRONOS_LIBRARY_VERSION=";
  __attribute__((used)) static const char marked[] = "CHRONOS_LIBRARY_VERSION=" CHRONOS_VERSION;
  return marked + sizeof kMark - 1;
}

void chronos_free(void* memory) { std::free(memory); }
