#include "core/facts/holders.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <map>

#include "core/posix.hpp"
#include "core/users.hpp"

namespace chronos {

std::vector<Holder> holders_of(const Device& device, const GpuFacts& gpu,
                               const std::vector<PartitionInfo>& partitions) {
  std::map<pid_t, Holder> found;
  for (const GpuProcess& process : gpu.processes.value_or(std::vector<GpuProcess>())) {
    found[process.pid].used_bytes = process.used_bytes;
  }
  for (const PartitionInfo& partition : partitions) {
    if (partition.device_key != device.key) continue;
    for (const ProcessUse& process : partition.processes) {
      if (!process.is_here) continue;
      Holder& holder = found[process.pid];
      holder.charged_bytes = holder.charged_bytes.value_or(0) + process.used_bytes;
      holder.partition_id += (holder.partition_id.empty() ? "" : ",") + partition.id;
    }
  }
  std::vector<Holder> holders;
  for (auto& [pid, holder] : found) {
    holder.pid = pid;
    const std::string folder = fmt::format("/proc/{}", pid);
    struct stat st {};
    if (::stat(folder.c_str(), &st) == 0) {
      holder.user = user_name(st.st_uid);
      if (read_small_file((folder + "/comm").c_str(), holder.command, 64)) {
        while (!holder.command.empty() && holder.command.back() == '\n') holder.command.pop_back();
      }
    }
    holders.push_back(std::move(holder));
  }
  return holders;
}

Json holder_json(const Holder& holder) {
  auto number = [](const std::optional<std::uint64_t>& value) {
    return value ? Json(*value) : Json(nullptr);
  };
  auto text = [](const std::string& value) { return value.empty() ? Json(nullptr) : Json(value); };
  Json json;
  json["pid"] = holder.pid;
  json["user"] = text(holder.user);
  json["command"] = text(holder.command);
  json["partition_id"] = text(holder.partition_id);
  json["used_bytes"] = number(holder.used_bytes);
  json["charged_bytes"] = number(holder.charged_bytes);
  return json;
}

}  // namespace chronos
