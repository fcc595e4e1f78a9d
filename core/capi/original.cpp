// The functions that the original Chronos had, for programs that were written against them, and
// those that go with them.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <climits>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "core/capi/support.hpp"
#include "core/units.hpp"
#include "core/users.hpp"

namespace chronos::capi {
namespace {

// As people wrote it: 0.1f is meant as 0.1, of which ten fit, not as the double 0.10000000149.
Result<MemoryAmount> amount_of(float fraction) {
  const std::string written = fmt::format("{}", fraction);
  if (!std::isfinite(fraction) || fraction <= 0 || fraction > 1) {
    return fail(ErrorCode::kInvalid,
                "invalid memory " + written + ": a share must be above 0 and at most 1");
  }
  double value = 0;
  std::from_chars(written.data(), written.data() + written.size(), value);
  return MemoryAmount{value, 0};
}

Result<std::uint64_t> nanos_of(int seconds) {
  if (seconds > 0) return static_cast<std::uint64_t>(seconds) * kNanosPerSecond;
  return fail(ErrorCode::kInvalid,
              fmt::format("invalid duration {}: more than 0 seconds", seconds));
}

template <std::size_t N>
void copy_text(char (&to)[N], std::string_view from) {
  const std::size_t length = std::min(from.size(), N - 1);
  std::copy_n(from.data(), length, to);
  to[length] = '\0';
}

int whole_seconds(std::uint64_t nanos) {
  return static_cast<int>(std::min<std::uint64_t>(nanos / kNanosPerSecond, INT_MAX));
}

ChronosPartitionInfo original_info(const PartitionInfo& partition) {
  ChronosPartitionInfo info{};
  copy_text(info.partition_id, partition.id);
  info.device_index = partition.device_index;
  info.memory_fraction = static_cast<float>(partition.fraction);
  info.duration_seconds = whole_seconds(partition.duration_ns + kNanosPerSecond - 1);
  info.time_remaining_seconds = whole_seconds(partition.remaining_ns);
  copy_text(info.username, user_name(partition.owner));
  info.process_id = partition.pid;
  info.active = partition.state == PartitionState::kActive ? 1 : 0;
  return info;
}

}  // namespace
}  // namespace chronos::capi

using namespace chronos;
using namespace chronos::capi;

ChronosPartitionerHandle chronos_partitioner_create(void) {
  ChronosPartitioner* handle = nullptr;
  guarded([&]() -> Done {
    auto registry = Registry::open();  // says now what would go wrong later
    if (!registry) return give_up(registry);
    handle = new ChronosPartitioner;
    return {};
  });
  return handle;
}

void chronos_partitioner_destroy(ChronosPartitionerHandle handle) {
  if (handle == nullptr || handle->magic != ChronosPartitioner::kMagic) return;
  // Volatile: a plain store to what is freed next may be dropped.
  *static_cast<volatile std::uint64_t*>(&handle->magic) = 0;
  delete handle;
}

int chronos_create_partition(ChronosPartitionerHandle handle, int device, float fraction,
                             int seconds, const char* user, char* out, size_t out_len) {
  if (out != nullptr && out_len > 0) out[0] = '\0';
  return with_registry(handle, [&](Registry& registry) -> Done {
    if (out == nullptr || out_len == 0) return no_output();
    CreateRequest request;
    auto memory = amount_of(fraction);
    if (!memory) return give_up(memory);
    request.memory = *memory;
    auto duration = nanos_of(seconds);
    if (!duration) return give_up(duration);
    request.duration_ns = *duration;
    auto owner = optional_text("user", user);
    if (!owner) return give_up(owner);
    if (*owner && (*owner)->empty()) owner->reset();

    auto made = create(registry, std::move(request), device, *owner);
    if (!made) return give_up(made);
    if (made->id.size() >= out_len) {
      (void)registry.release(made->handle());
      return give_up(ErrorCode::kInvalid,
                     fmt::format("the id does not fit into {} bytes", out_len));
    }
    std::memcpy(out, made->id.c_str(), made->id.size() + 1);
    return {};
  });
}

int chronos_release_partition(ChronosPartitionerHandle handle, const char* id) {
  return chronos_release_json(handle, id, nullptr);
}

int chronos_extend_partition(ChronosPartitionerHandle handle, const char* id, int seconds) {
  return with_registry(handle, [&](Registry& registry) -> Done {
    auto id_text = text("id", id);
    if (!id_text) return give_up(id_text);
    auto duration = nanos_of(seconds);
    if (!duration) return give_up(duration);
    auto extended = registry.extend(*id_text, *duration);
    if (!extended) return give_up(extended);
    return {};
  });
}

int chronos_resize_partition(ChronosPartitionerHandle handle, const char* id, float fraction,
                             int drain) {
  return with_registry(handle, [&](Registry& registry) -> Done {
    auto id_text = text("id", id);
    if (!id_text) return give_up(id_text);
    auto memory = amount_of(fraction);
    if (!memory) return give_up(memory);
    auto resized = resize(registry, *id_text, *memory, drain != 0);
    if (!resized) return give_up(resized);
    return {};
  });
}

int chronos_list_partitions(ChronosPartitionerHandle handle, ChronosPartitionInfo* partitions,
                            size_t* count) {
  const std::size_t room = count != nullptr && partitions != nullptr ? *count : 0;
  if (count != nullptr) *count = 0;
  return with_registry(handle, [&](Registry& registry) -> Done {
    if (count == nullptr) return give_up(ErrorCode::kInvalid, "the count is NULL");
    auto all = active_first(registry);
    if (!all) return give_up(all);
    *count = all->size();
    if (partitions == nullptr) return {};
    const auto written = static_cast<std::ptrdiff_t>(std::min(room, all->size()));
    std::transform(all->begin(), all->begin() + written, partitions, original_info);
    if (all->size() <= room) return {};
    return give_up(ErrorCode::kFull,
                   fmt::format("there are {} partitions and room for {}", all->size(), room),
                   "call again with a larger array");
  });
}

float chronos_get_available_percentage(ChronosPartitionerHandle handle, int device) {
  float percent = -1;
  with_registry(handle, [&](Registry& registry) -> Done {
    auto standing = standing_of(registry, device);
    if (!standing) return give_up(standing);
    const std::uint64_t hundredths =
        hundredths_of_percent(standing->use.available_bytes, standing->device.total_bytes);
    percent = static_cast<float>(hundredths) / 100;
    return {};
  });
  return percent;
}

int chronos_show_device_stats(ChronosPartitionerHandle handle) {
  return with_registry(handle, [&](Registry& registry) -> Done {
    auto standings = all_standings(registry, false);
    if (!standings) return give_up(standings);
    const std::string shown = stats_text(standings->devices);
    if (std::fputs(shown.c_str(), stdout) < 0 || std::fflush(stdout) != 0) {
      return give_up(ErrorCode::kSystem, "cannot write to standard output");
    }
    return {};
  });
}

const char* chronos_get_last_error(void) { return last_error_line(); }
