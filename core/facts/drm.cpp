// AMD's and Intel's GPUs by what their kernel drivers say: sysfs (Documentation/gpu/amdgpu,
// ABI/testing/sysfs-driver-intel-*-hwmon) and fdinfo (Documentation/gpu/drm-usage-stats.rst).
#include <dirent.h>
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/facts/gpu_facts.hpp"
#include "core/posix.hpp"

namespace chronos {
namespace {

std::vector<std::string> entries_of(const std::string& folder, bool& readable) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> open(::opendir(folder.c_str()), ::closedir);
  const int error = errno;
  readable = open != nullptr;
  while (const dirent* entry = readable ? ::readdir(open.get()) : nullptr) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  std::sort(names.begin(), names.end());
  errno = error;
  return names;
}

std::vector<std::string> entries_of(const std::string& folder) {
  bool readable = false;
  return entries_of(folder, readable);
}

std::string text_of(const std::string& path) {
  std::string text;
  if (!read_small_file(path.c_str(), text, 4096)) return {};
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

std::optional<std::uint64_t> number_in(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}
std::optional<std::uint64_t> number_of(const std::string& path) { return number_in(text_of(path)); }

std::optional<double> scaled(std::optional<std::uint64_t> value, double unit) {
  if (!value) return std::nullopt;
  return static_cast<double>(*value) / unit;
}

// "KEY=value" lines.
std::string value_of(const std::string& text, std::string_view key) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line(text.data() + at, end - at);
    if (line.starts_with(key) && line.size() > key.size() && line[key.size()] == '=') {
      return std::string(line.substr(key.size() + 1));
    }
    at = end + 1;
  }
  return {};
}

bool all_digits(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// Where a driver has only a counter of energy (in microjoules), over a twentieth of a second.
std::optional<double> power_by_energy(const std::string& counter) {
  const auto before = number_of(counter);
  if (!before) return std::nullopt;
  timespec from{}, to{}, pause{0, 50'000'000};
  ::clock_gettime(CLOCK_MONOTONIC, &from);
  ::nanosleep(&pause, nullptr);
  const auto after = number_of(counter);
  ::clock_gettime(CLOCK_MONOTONIC, &to);
  const double seconds = static_cast<double>(to.tv_sec - from.tv_sec) +
                         static_cast<double>(to.tv_nsec - from.tv_nsec) / 1e9;
  if (!after || *after < *before || seconds <= 0) return std::nullopt;
  return static_cast<double>(*after - *before) / 1e6 / seconds;
}

void read_hwmon(const std::string& device, GpuFacts& gpu) {
  for (const std::string& name : entries_of(device + "/hwmon")) {
    const std::string folder = device + "/hwmon/" + name + "/";
    if (!gpu.power_watts) gpu.power_watts = scaled(number_of(folder + "power1_average"), 1e6);
    if (!gpu.power_watts) gpu.power_watts = scaled(number_of(folder + "power1_input"), 1e6);
    if (!gpu.power_watts) gpu.power_watts = power_by_energy(folder + "energy1_input");
    for (const char* limit : {"power1_cap", "power1_max"}) {
      if (!gpu.power_limit_watts) gpu.power_limit_watts = scaled(number_of(folder + limit), 1e6);
    }
    if (!gpu.temperature_celsius) {
      gpu.temperature_celsius = scaled(number_of(folder + "temp1_input"), 1e3);
    }
  }
}

std::uint64_t saturated_sum(std::uint64_t a, std::uint64_t b) {
  return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

// "drm-resident-vram0:  23992 KiB" in bytes.
std::optional<std::uint64_t> memory_in(std::string_view value) {
  value.remove_prefix(std::min(value.find_first_not_of(" \t"), value.size()));
  const std::size_t end = std::min(value.find_first_of(" \t"), value.size());
  auto number = number_in(value.substr(0, end));
  std::string_view unit = value.substr(end);
  unit.remove_prefix(std::min(unit.find_first_not_of(" \t"), unit.size()));
  const int shift = unit.empty() ? 0 : unit == "KiB" ? 10 : unit == "MiB" ? 20 : -1;
  if (!number || shift < 0 || *number > UINT64_MAX >> shift) return std::nullopt;
  return *number << shift;
}

struct Client {
  std::string pci, id;
  std::optional<std::uint64_t> bytes;
};

// What one open file of a GPU holds in the GPU's own memory. The newer keys say more exactly what
// the older `drm-memory-` did.
Client parse_fdinfo(const std::string& text) {
  Client client;
  std::map<std::string, std::map<std::string, std::uint64_t>, std::less<>> kinds;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line(text.data() + at, end - at);
    at = end + 1;
    const std::size_t colon = line.find(':');
    if (!line.starts_with("drm-") || colon == line.npos) continue;
    const std::string_view key = line.substr(4, colon - 4);
    std::string_view value = line.substr(colon + 1);
    value.remove_prefix(std::min(value.find_first_not_of(" \t"), value.size()));
    if (key == "pdev") client.pci = plain_pci(value);
    if (key == "client-id") client.id = value;
    for (const std::string_view kind : {"resident-", "memory-", "total-"}) {
      if (!key.starts_with(kind)) continue;
      const std::string_view region = key.substr(kind.size());
      const auto bytes = memory_in(value);
      if (bytes && (region.starts_with("vram") || region.starts_with("local"))) {
        kinds[std::string(kind)][std::string(region)] = *bytes;
      }
    }
  }
  for (const std::string_view kind : {"resident-", "memory-", "total-"}) {
    const auto found = kinds.find(kind);
    if (found == kinds.end()) continue;
    client.bytes = 0;
    for (const auto& [region, bytes] : found->second) {
      client.bytes = saturated_sum(*client.bytes, bytes);
    }
    break;
  }
  return client;
}

}  // namespace

std::vector<std::string> drm_cards(const std::string& sys) {
  std::vector<std::string> cards = entries_of(sys + "/class/drm");
  std::erase_if(cards, [](const std::string& card) {
    return !card.starts_with("card") || !all_digits(std::string_view(card).substr(4));
  });
  return cards;
}

std::optional<GpuFacts> read_card(const std::string& sys, const std::string& card) {
  const std::string device = sys + "/class/drm/" + card + "/device";
  const std::string event = text_of(device + "/uevent");
  const std::string driver = value_of(event, "DRIVER");
  GpuFacts gpu;
  gpu.vendor = driver == "amdgpu"                   ? Vendor::kAmd
               : driver == "i915" || driver == "xe" ? Vendor::kIntel
                                                    : Vendor::kUnknown;
  gpu.pci = plain_pci(value_of(event, "PCI_SLOT_NAME"));
  if (gpu.vendor == Vendor::kUnknown || gpu.pci.empty()) return std::nullopt;
  gpu.source = driver;
  if (gpu.vendor == Vendor::kAmd) {
    gpu.name = text_of(device + "/product_name");
    gpu.total_bytes = number_of(device + "/mem_info_vram_total");
    gpu.used_bytes = number_of(device + "/mem_info_vram_used");
    if (gpu.total_bytes && gpu.used_bytes && *gpu.used_bytes <= *gpu.total_bytes) {
      gpu.free_bytes = *gpu.total_bytes - *gpu.used_bytes;
    }
    gpu.utilization_percent = scaled(number_of(device + "/gpu_busy_percent"), 1);
    const std::string id = text_of(device + "/unique_id");
    const bool is_id = !id.empty() && id.find_first_not_of('0') != id.npos &&
                       id.find_first_not_of("0123456789abcdefABCDEF") == id.npos;
    if (is_id) gpu.vendor_id = "GPU-" + id;
  }
  read_hwmon(device, gpu);
  return gpu;
}

nlohmann::json read_fdinfo(const std::string& proc) {
  bool all = true;
  std::map<std::pair<std::string, pid_t>, std::optional<std::uint64_t>> held;
  bool listed = false;
  for (const std::string& process : entries_of(proc, listed)) {
    const auto pid = number_in(process);
    if (!pid || *pid > INT32_MAX) continue;
    const std::string folder = fmt::format("{}/{}/fdinfo", proc, process);
    bool readable = false;
    std::set<std::pair<std::string, std::string>> seen;  // several descriptors of one client
    for (const std::string& fd : entries_of(folder, readable)) {
      std::string text;
      if (!read_small_file((folder + "/" + fd).c_str(), text, 16384)) {
        all = all && errno != EACCES && errno != EPERM;
        continue;
      }
      const Client client = parse_fdinfo(text);
      if (client.pci.empty()) continue;
      if (!client.id.empty() && !seen.emplace(client.pci, client.id).second) continue;
      auto& bytes = held[{client.pci, static_cast<pid_t>(*pid)}];
      if (client.bytes) bytes = saturated_sum(bytes.value_or(0), *client.bytes);
    }
    // One that has just ended is not hidden.
    all = all && (readable || errno == ENOENT);
  }
  nlohmann::json answer{{"all", all && listed}, {"held", nlohmann::json::array()}};
  for (const auto& [key, bytes] : held) {
    nlohmann::json row{{"pci", key.first}, {"pid", key.second}};
    if (bytes) row["used"] = *bytes;
    answer["held"].push_back(std::move(row));
  }
  return answer;
}

}  // namespace chronos
