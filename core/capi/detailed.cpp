// The functions that say everything, as JSON; the Python package stands on them.
#include <fcntl.h>
#include <fmt/format.h>

#include <cstdlib>
#include <optional>
#include <string>

#include "core/capi/support.hpp"
#include "core/doctor/findings.hpp"
#include "core/launch.hpp"
#include "core/paths.hpp"
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
