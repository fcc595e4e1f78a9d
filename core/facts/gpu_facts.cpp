#include "core/facts/gpu_facts.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>

#include "core/look.hpp"
#include "core/paths.hpp"
#include "core/posix.hpp"
#include "core/spawn.hpp"
#include "core/state_dir.hpp"
#include "core/text.hpp"

namespace chronos {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMaxAnswer = std::size_t{1} << 20;

std::optional<std::uint64_t> whole(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_unsigned()) return std::nullopt;
  return found->get<std::uint64_t>();
}

// None for what no GPU has, `most` or more.
std::optional<double> amount(const Json& object, const char* key, double unit, double most) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) return std::nullopt;
  const double value = found->get<double>() / unit;
  if (!(value >= 0 && value <= most)) return std::nullopt;
  return value;
}

std::string text(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

bool is_true(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_boolean() && found->get<bool>();
}

void forget_memory(GpuFacts& facts) {
  facts.total_bytes.reset();
  facts.used_bytes.reset();
  facts.free_bytes.reset();
}

Vendor vendor_of(const Device& device) {
  if (device.type != DeviceType::kGpu) return Vendor::kUnknown;
  auto has = [&](std::string_view word) {
    return device.vendor.find(word) != device.vendor.npos ||
           device.platform.find(word) != device.platform.npos;
  };
  if (has("NVIDIA")) return Vendor::kNvidia;
  if (has("Advanced Micro Devices") || has("AMD")) return Vendor::kAmd;
  return has("Intel") ? Vendor::kIntel : Vendor::kUnknown;
}

std::string in_groups(const std::string& uuid) {
  return fmt::format("{}-{}-{}-{}-{}", uuid.substr(0, 8), uuid.substr(8, 4), uuid.substr(12, 4),
                     uuid.substr(16, 4), uuid.substr(20));
}

}  // namespace

FactSources FactSources::of_this_process() {
  FactSources sources;
  auto take = [](std::string& to, const char* name) {
    const char* value = trusted_env(name);
    if (value != nullptr && *value != '\0') to = value;
  };
  take(sources.sys, "CHRONOS_TEST_SYS");
  take(sources.proc, "CHRONOS_TEST_PROC");
  take(sources.nvml, "CHRONOS_TEST_NVML");
  return sources;
}

std::string plain_pci(std::string_view given) {
  std::string plain(given);
  std::transform(plain.begin(), plain.end(), plain.begin(), [](unsigned char c) {
    return static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  });
  if (plain.size() > 12 && plain.starts_with("0000")) plain.erase(0, 4);  // eight digits of domain
  return is_pci_address(plain) ? plain : std::string();
}

std::string plain_uuid(std::string_view given) {
  if (given.starts_with("GPU-")) given.remove_prefix(4);
  std::string plain;
  for (const char c : given) {
    if (c != '-') plain += static_cast<char>(c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c);
  }
  return is_device_uuid(plain) ? plain : std::string();
}

Json to_wire(const GpuFacts& gpu) {
  Json json{{"name", gpu.name},     {"uuid", gpu.uuid},           {"pci", gpu.pci},
            {"source", gpu.source}, {"vendor_id", gpu.vendor_id}, {"mig", gpu.is_divided}};
  auto put = [&](const char* key, const auto& value, auto unit) {
    if (value) json[key] = *value * unit;
  };
  put("total", gpu.total_bytes, std::uint64_t{1});
  put("used", gpu.used_bytes, std::uint64_t{1});
  put("free", gpu.free_bytes, std::uint64_t{1});
  put("milliwatts", gpu.power_watts, 1000.0);
  put("most_milliwatts", gpu.power_limit_watts, 1000.0);
  put("percent", gpu.utilization_percent, 1.0);
  put("celsius", gpu.temperature_celsius, 1.0);
  if (!gpu.processes) return json;
  json["all"] = gpu.all_processes;
  json["processes"] = Json::array();
  for (const GpuProcess& one : *gpu.processes) {
    Json process{{"pid", one.pid}};
    if (one.used_bytes) process["used"] = *one.used_bytes;
    json["processes"].push_back(std::move(process));
  }
  return json;
}

GpuFacts from_wire(const Json& gpu) {
  GpuFacts facts;
  facts.source = text(gpu, "source");
  facts.vendor = facts.source == "amdgpu" ? Vendor::kAmd : Vendor::kIntel;
  facts.vendor_id = text(gpu, "vendor_id");
  facts.name = text(gpu, "name");
  facts.uuid = plain_uuid(text(gpu, "uuid"));
  if (facts.source.empty()) {
    facts.source = "nvml";
    facts.vendor = Vendor::kNvidia;
    if (!facts.uuid.empty()) facts.vendor_id = text(gpu, "uuid");
  }
  facts.pci = plain_pci(text(gpu, "pci"));
  facts.total_bytes = whole(gpu, "total");
  facts.used_bytes = whole(gpu, "used");
  facts.free_bytes = whole(gpu, "free");
  const std::uint64_t total = facts.total_bytes.value_or(UINT64_MAX);
  if (total == 0 || facts.used_bytes.value_or(0) > total || facts.free_bytes.value_or(0) > total) {
    forget_memory(facts);
  }
  facts.power_watts = amount(gpu, "milliwatts", 1000, 1e5);
  facts.power_limit_watts = amount(gpu, "most_milliwatts", 1000, 1e5);
  facts.utilization_percent = amount(gpu, "percent", 1, 100);
  facts.temperature_celsius = amount(gpu, "celsius", 1, 1000);
  facts.is_divided = is_true(gpu, "mig");
  const auto processes = gpu.find("processes");
  if (processes == gpu.end() || !processes->is_array()) return facts;
  facts.processes.emplace();
  facts.all_processes = is_true(gpu, "all");
  for (const Json& one : *processes) {
    const auto pid = one.is_object() ? whole(one, "pid") : std::nullopt;
    if (pid && *pid <= INT32_MAX) {
      facts.processes->push_back({static_cast<pid_t>(*pid), whole(one, "used")});
    }
  }
  return facts;
}

namespace {

struct Answer {
  Json json;
  std::string problem;
};

// Each question in a process of its own, all at once. `who` names each one's source.
std::vector<Answer> ask_helpers(const FactSources& sources,
                                const std::vector<std::vector<std::string>>& questions,
                                const std::vector<std::string>& who) {
  std::vector<Answer> answers(questions.size());
  const std::string probe = sources.probe.empty() ? probe_path() : sources.probe;
  if (probe.empty()) {
    for (Answer& one : answers) {
      one.problem = "the helper chronos-probe is missing from this installation";
    }
    return answers;
  }
  // The helper is not set-uid itself, so that a library would trust what this process must not.
  const auto environment = environment_is_untrusted()
                               ? std::vector<std::string>{"PATH=/usr/bin:/bin"}
                               : probe_environment(environ);
  std::vector<Command> commands;
  commands.reserve(questions.size());
  for (const auto& question : questions) commands.push_back({probe, question, environment});
  const std::vector<Captured> runs = run_and_capture(commands, sources.patience, kMaxAnswer);
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const Captured& run = runs[i];
    Answer& one = answers[i];
    one.json = Json::parse(run.output, nullptr, false);
    if (run.start_error != 0) {
      one.problem = "cannot run " + probe + ": " + errno_text(run.start_error);
    } else if (run.timed_out) {
      one.problem = fmt::format("{} did not answer within {:g} s", who[i],
                                static_cast<double>(sources.patience.count()) / 1000);
    } else if (!one.json.is_object()) {
      one.problem = who[i] + " crashed or gave no answer";
    } else if (const std::string error = text(one.json, "error"); !error.empty()) {
      one.problem = fmt::format("{}: {}", who[i], escaped(error, 200));
    }
    if (!one.problem.empty()) one.json = Json::object();
  }
  return answers;
}

void add_gpus(const Json& answer, std::vector<GpuFacts>& gpus) {
  const auto list = answer.find("gpus");
  if (list == answer.end() || !list->is_array()) return;
  for (const Json& gpu : *list) {
    if (gpu.is_object()) gpus.push_back(from_wire(gpu));
  }
}

void add_holders(const Json& answer, std::vector<GpuFacts>& gpus) {
  const auto held = answer.find("held");
  if (held == answer.end() || !held->is_array()) return;
  for (GpuFacts& gpu : gpus) {
    if (gpu.processes || gpu.pci.empty()) continue;
    gpu.processes.emplace();
    gpu.all_processes = is_true(answer, "all");
    for (const Json& one : *held) {
      const auto pid = one.is_object() ? whole(one, "pid") : std::nullopt;
      if (!pid || *pid > INT32_MAX || text(one, "pci") != gpu.pci) continue;
      gpu.processes->push_back({static_cast<pid_t>(*pid), whole(one, "used")});
    }
  }
}

// Whether processes may exist that are not in this procfs: those of other pid namespaces, and with
// hidepid those of others.
bool hides_processes(const FactSources& sources) {
  constexpr ino_t kInitialPidNamespace = 0xEFFFFFFC;
  if (sources.proc != "/proc") return false;
  struct stat space {
  }, first{};
  return ::stat("/proc/self/ns/pid", &space) != 0 || space.st_ino != kInitialPidNamespace ||
         ::stat("/proc/1", &first) != 0;
}

struct Sources {
  std::vector<GpuFacts> gpus;
  std::string nvml_problem, drm_problem;
};

Sources ask_all(const FactSources& sources) {
  constexpr std::size_t kMostCards = 64;
  std::vector<std::string> cards = drm_cards(sources.sys);
  if (cards.size() > kMostCards) cards.resize(kMostCards);
  std::vector<std::vector<std::string>> questions{{"--nvml", sources.nvml}};
  std::vector<std::string> who{sources.nvml};
  for (const std::string& card : cards) {
    questions.push_back({"--drm", sources.sys, card});
    who.push_back(fmt::format("the kernel ({}/class/drm/{})", sources.sys, card));
  }
  if (!cards.empty()) {
    questions.push_back({"--holders", sources.proc});
    who.push_back("the kernel (" + sources.proc + ")");
  }
  std::vector<Answer> answers = ask_helpers(sources, questions, who);
  Sources found;
  for (std::size_t i = 1; i <= cards.size(); ++i) {
    add_gpus(answers[i].json, found.gpus);
    if (found.drm_problem.empty()) found.drm_problem = answers[i].problem;
  }
  if (!found.gpus.empty()) add_holders(answers.back().json, found.gpus);
  add_gpus(answers.front().json, found.gpus);
  found.nvml_problem = answers.front().problem;
  if (hides_processes(sources)) {
    for (GpuFacts& gpu : found.gpus) gpu.all_processes = false;
  }
  return found;
}

// A part of a divided GPU is at its address, but has little of what the whole one has.
bool is_part_of(const Device& device, const GpuFacts& gpu) {
  return gpu.is_divided && !device.uuid.empty() && gpu.uuid != device.uuid && !device.pci.empty() &&
         gpu.pci == plain_pci(device.pci);
}

bool is_of(const Device& device, const GpuFacts& gpu) {
  if (!device.uuid.empty() && gpu.uuid == device.uuid) return true;
  return !device.pci.empty() && gpu.pci == plain_pci(device.pci) && !is_part_of(device, gpu);
}

}  // namespace

GpuReport look_at_gpus(const std::vector<Device>& devices, const FactSources& sources) {
  GpuReport report;
  const Sources known = ask_all(sources);
  bool nvidia_unknown = false, other_unknown = false;
  for (const Device& device : devices) {
    const auto match = std::find_if(known.gpus.begin(), known.gpus.end(),
                                    [&](const GpuFacts& gpu) { return is_of(device, gpu); });
    GpuFacts facts;
    if (match != known.gpus.end()) {
      facts = *match;
      // No driver of OpenCL hides three quarters of what there is.
      if (facts.total_bytes.value_or(0) / 4 > device.total_bytes) forget_memory(facts);
    } else {
      facts.source = "opencl";
      facts.vendor = vendor_of(device);
      const bool is_nvidia = facts.vendor == Vendor::kNvidia;
      nvidia_unknown = nvidia_unknown || is_nvidia;
      other_unknown = other_unknown || (!is_nvidia && device.type == DeviceType::kGpu);
    }
    if (!facts.total_bytes) facts.total_bytes = device.total_bytes;
    if (facts.name.empty()) facts.name = device.name;
    if (facts.uuid.empty()) facts.uuid = device.uuid;
    if (facts.pci.empty()) facts.pci = device.pci;
    if (facts.vendor == Vendor::kNvidia && facts.vendor_id.empty() && !facts.uuid.empty()) {
      const bool is_part =
          std::any_of(known.gpus.begin(), known.gpus.end(),
                      [&](const GpuFacts& gpu) { return is_part_of(device, gpu); });
      facts.vendor_id = (is_part ? "MIG-" : "GPU-") + in_groups(facts.uuid);
    }
    report.of_device.push_back(std::move(facts));
  }
  // Who has no NVIDIA GPU need not hear that its library is missing.
  if (nvidia_unknown && !known.nvml_problem.empty()) {
    report.warnings.push_back(known.nvml_problem);
  }
  if (other_unknown && !known.drm_problem.empty()) report.warnings.push_back(known.drm_problem);
  return report;
}

}  // namespace chronos
