#include "core/capi/support.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/inventory.hpp"
#include "core/users.hpp"

namespace chronos::capi {
namespace {

constexpr std::size_t kMaxText = 4096;

// The code is kept apart: it is right even when there is no memory for words.
struct LastError {
  int code = CHRONOS_OK;
  std::string line, json;
};
thread_local LastError last_error;

int code_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalid:
      return CHRONOS_ERROR_INVALID;
    case ErrorCode::kNoCapacity:
      return CHRONOS_ERROR_NO_CAPACITY;
    case ErrorCode::kNotFound:
      return CHRONOS_ERROR_NOT_FOUND;
    case ErrorCode::kNameInUse:
      return CHRONOS_ERROR_NAME_IN_USE;
    case ErrorCode::kPermission:
      return CHRONOS_ERROR_PERMISSION;
    case ErrorCode::kExpired:
      return CHRONOS_ERROR_EXPIRED;
    case ErrorCode::kDamaged:
      return CHRONOS_ERROR_DAMAGED;
    case ErrorCode::kBusy:
      return CHRONOS_ERROR_BUSY;
    case ErrorCode::kNoDevice:
      return CHRONOS_ERROR_NO_DEVICE;
    case ErrorCode::kFull:
      return CHRONOS_ERROR_FULL;
    case ErrorCode::kSystem:
      return CHRONOS_ERROR_SYSTEM;
    case ErrorCode::kInUse:
      return CHRONOS_ERROR_IN_USE;
    case ErrorCode::kCancelled:
      return CHRONOS_ERROR_CANCELLED;
  }
  return CHRONOS_ERROR_INTERNAL;
}

int keep(int code, const Error& error, const Json& details) {
  last_error.code = code;
  last_error.line.clear();
  last_error.json.clear();
  Json json;
  json["code"] = code;
  json["message"] = error.message;
  json["hint"] = error.hint.empty() ? Json(nullptr) : Json(error.hint);
  json.update(details);
  last_error.json = json_text(json);
  last_error.line = error.message + (error.hint.empty() ? "" : " (" + error.hint + ")");
  return code;
}

Result<Device> device_by_number(const Registry& registry, int number) {
  Result<Inventory> inventory = load_inventory(registry.state());
  if (!inventory) return pass_on(inventory);
  return find_device(*inventory, number);
}

Failure no_capacity(Error error, Registry& registry, const CreateRequest& request) {
  Failure failure(std::move(error));
  failure.details["device"] = request.device.index;
  failure.details["asked_bytes"] = request.memory.on(request.device.total_bytes);
  auto partitions = registry.list();
  failure.details["available_bytes"] =
      partitions ? Json(Registry::use_of(request.device, *partitions).available_bytes)
                 : Json(nullptr);
  return failure;
}

// What a partition that may not grow asked for, and what it could have had.
Failure no_room_to_grow(Error error, Registry& registry, std::string_view id,
                        const MemoryAmount& memory) {
  Failure failure(std::move(error));
  auto partition = registry.find(id);
  auto partitions = registry.list();
  if (!partition || !partitions) return failure;
  Device device;
  device.key = partition->device_key;
  device.index = partition->device_index;
  device.total_bytes = partition->device_total_bytes;
  std::erase_if(*partitions, [&](const auto& one) { return one.token == partition->token; });
  failure.details["device"] = device.index < 0 ? Json(nullptr) : Json(device.index);
  failure.details["asked_bytes"] = memory.on(device.total_bytes);
  failure.details["available_bytes"] = Registry::use_of(device, *partitions).available_bytes;
  return failure;
}

}  // namespace

tl::unexpected<Failure> give_up(ErrorCode code, std::string message, std::string hint) {
  return tl::unexpected<Failure>(Error{code, std::move(message), std::move(hint)});
}

int keep(const Failure& failure) {
  return keep(code_of(failure.error.code), failure.error, failure.details);
}

int keep_exception(int code, const char* message) noexcept {
  try {
    return keep(code, {ErrorCode::kSystem, message, {}}, Json::object());
  } catch (...) {
    return code;
  }
}

const char* last_error_line() {
  if (!last_error.line.empty()) return last_error.line.c_str();
  return last_error.code == CHRONOS_OK ? "" : "out of memory";
}

const char* last_error_json() {
  if (!last_error.json.empty()) return last_error.json.c_str();
  return last_error.code == CHRONOS_OK
             ? "{}"
             : "{\"code\":-12,\"message\":\"out of memory\",\"hint\":null}";
}

Outcome<Registry> open_registry(ChronosPartitionerHandle handle) {
  if (handle == nullptr) {
    return give_up(ErrorCode::kInvalid, "the handle is NULL",
                   "chronos_partitioner_create() makes one");
  }
  if (handle->magic != ChronosPartitioner::kMagic) {
    return give_up(ErrorCode::kInvalid, "this is no handle, or it has been destroyed");
  }
  auto registry = Registry::open();
  if (!registry) return give_up(registry);
  return std::move(*registry);
}

Done hand_out(const std::string& answer, char** out) {
  char* copy = static_cast<char*>(std::malloc(answer.size() + 1));
  if (copy == nullptr) throw std::bad_alloc();
  std::memcpy(copy, answer.data(), answer.size());
  copy[answer.size()] = '\0';
  *out = copy;
  return {};
}

Done hand_out(const Json& answer, char** out) { return hand_out(json_text(answer), out); }

tl::unexpected<Failure> no_output() {
  return give_up(ErrorCode::kInvalid, "the output argument is NULL");
}

Outcome<std::string_view> text(const char* what, const char* given) {
  if (given == nullptr) return give_up(ErrorCode::kInvalid, fmt::format("the {} is NULL", what));
  const std::size_t length = ::strnlen(given, kMaxText + 1);
  if (length > kMaxText) {
    return give_up(ErrorCode::kInvalid,
                   fmt::format("the {} is longer than {} bytes", what, kMaxText));
  }
  return std::string_view(given, length);
}

Outcome<std::optional<std::string_view>> optional_text(const char* what, const char* given) {
  if (given == nullptr) return std::nullopt;
  auto present = text(what, given);
  if (!present) return give_up(present);
  return *present;
}

Outcome<PartitionInfo> create(Registry& registry, CreateRequest request, int device,
                              std::optional<std::string_view> user, const WaitOptions* wait) {
  if (user) {
    auto owner = find_user(*user);
    if (!owner) return give_up(owner);
    request.owner = *owner;
  }
  auto found = device_by_number(registry, device);
  if (!found) return give_up(found);
  request.device = *found;
  auto made =
      wait != nullptr ? registry.create_when_free(request, *wait) : registry.create(request);
  if (made) return std::move(*made);
  if (made.error().code != ErrorCode::kNoCapacity) return give_up(made);
  return tl::unexpected<Failure>(no_capacity(std::move(made.error()), registry, request));
}

Outcome<PartitionInfo> resize(Registry& registry, std::string_view id, const MemoryAmount& memory,
                              bool drain) {
  auto resized = registry.resize(id, memory, drain);
  if (resized) return std::move(*resized);
  if (resized.error().code != ErrorCode::kNoCapacity) return give_up(resized);
  return tl::unexpected<Failure>(no_room_to_grow(std::move(resized.error()), registry, id, memory));
}

Outcome<DeviceStanding> standing_of(Registry& registry, int number) {
  auto device = device_by_number(registry, number);
  if (!device) return give_up(device);
  auto partitions = registry.list();
  if (!partitions) return give_up(partitions);
  return DeviceStanding{*device, Registry::use_of(*device, *partitions)};
}

Outcome<Standings> all_standings(Registry& registry, bool refresh) {
  auto inventory = load_inventory(registry.state(), refresh ? Look::kAgain : Look::kRemembered);
  if (!inventory) return give_up(inventory);
  auto partitions = registry.list();
  if (!partitions) return give_up(partitions);
  Standings standings;
  for (const Device& device : inventory->devices) {
    standings.devices.push_back({device, Registry::use_of(device, *partitions)});
  }
  standings.warnings = std::move(inventory->warnings);
  standings.warnings.insert(standings.warnings.end(), registry.warnings().begin(),
                            registry.warnings().end());
  return standings;
}

Outcome<std::vector<PartitionInfo>> active_first(Registry& registry) {
  auto all = registry.list();
  if (!all) return give_up(all);
  std::stable_partition(all->begin(), all->end(), [](const PartitionInfo& one) {
    return one.state == PartitionState::kActive;
  });
  return std::move(*all);
}

}  // namespace chronos::capi
