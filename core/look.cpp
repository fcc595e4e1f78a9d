#include "core/look.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "core/inventory_format.hpp"
#include "core/paths.hpp"
#include "core/posix.hpp"
#include "core/spawn.hpp"
#include "core/text.hpp"

namespace chronos {
namespace {

constexpr std::size_t kMaxAnswer = std::size_t{1} << 20;
constexpr std::string_view kShim = "libchronos_shim.so";

// Not handed to the probe. Layers and the partition would put the shim in the way; the others hide
// devices or number them anew, and the numbers must be the same for every process and user.
constexpr std::array<std::string_view, 10> kDropped = {
    "OPENCL_LAYERS",          "CHRONOS_PARTITION",    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",     "ZE_AFFINITY_MASK",     "ONEAPI_DEVICE_SELECTOR",
    "SYCL_DEVICE_FILTER"};

// LD_PRELOAD without the shim: names parted by colons or spaces.
std::string without_shim(std::string_view list) {
  std::string kept;
  while (!list.empty()) {
    std::size_t end = std::min(list.find_first_of(": "), list.size());
    std::string_view entry = list.substr(0, end);
    if (!entry.empty() && entry.substr(entry.rfind('/') + 1) != kShim) {
      if (!kept.empty()) kept += ':';
      kept += entry;
    }
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return kept;
}

std::string signal_text(int signal) {
  const char* name = ::sigdescr_np(signal);
  return name == nullptr ? fmt::format("signal {}", signal)
                         : fmt::format("signal {}, {}", signal, name);
}

std::string seconds_text(std::chrono::milliseconds time) {
  return fmt::format("{:g} s", static_cast<double>(time.count()) / 1000);
}

// What a driver did instead of answering; empty if it answered.
std::string problem_of(const Captured& run, const ProbeAnswer& answer,
                       std::chrono::milliseconds timeout) {
  std::string where = answer.step.empty() ? std::string() : " while " + answer.step;
  if (!answer.platform.empty()) where += " of platform '" + answer.platform + "'";
  if (!answer.error.empty() && !answer.garbage) return answer.error;
  if (run.timed_out) return "did not answer within " + seconds_text(timeout) + where;
  if (run.too_much || answer.garbage) return "gave an answer that makes no sense" + where;
  if (run.status_known && WIFSIGNALED(run.status)) {
    return "crashed (" + signal_text(WTERMSIG(run.status)) + ")" + where;
  }
  if (answer.done) return {};
  if (run.status_known && WIFEXITED(run.status)) {
    return fmt::format("ended the process with status {}{}", WEXITSTATUS(run.status), where);
  }
  return "ended without an answer" + where;
}

tl::unexpected<Error> no_driver() {
  return fail(ErrorCode::kNoDevice, "no OpenCL driver is installed",
              "install the driver of the GPU's vendor, or for the CPU: apt-get install "
              "pocl-opencl-icd");
}

}  // namespace

std::vector<std::string> probe_environment(char* const* environment) {
  constexpr std::string_view kPreload = "LD_PRELOAD=";
  std::vector<std::string> kept;
  for (; environment != nullptr && *environment != nullptr; ++environment) {
    std::string_view entry = *environment;
    std::string_view name = entry.substr(0, entry.find('='));
    if (std::find(kDropped.begin(), kDropped.end(), name) != kDropped.end()) continue;
    if (entry.starts_with(kPreload)) {
      std::string list = without_shim(entry.substr(kPreload.size()));
      if (!list.empty()) kept.push_back(std::string(kPreload) + list);
    } else {
      kept.emplace_back(entry);
    }
  }
  return kept;
}

Result<Inventory> look_at_drivers(const Drivers& drivers, const LookOptions& options) {
  const std::string probe = options.probe.empty() ? probe_path() : options.probe;
  if (probe.empty()) {
    return fail(ErrorCode::kSystem, "the helper chronos-probe is missing from this installation",
                "install Chronos again; chronos-probe belongs into libexec/chronos");
  }
  std::vector<Command> commands;
  // The probe is not set-uid itself, so that its drivers would trust what this process must not.
  const std::vector<std::string> environment = environment_is_untrusted()
                                                   ? std::vector<std::string>{"PATH=/usr/bin:/bin"}
                                                   : probe_environment(environ);
  for (const Driver& driver : drivers.list) {
    if (driver.problem.empty()) commands.push_back({probe, {driver.library}, environment});
  }
  std::vector<Captured> runs = run_and_capture(commands, options.timeout, kMaxAnswer);

  Inventory inventory;
  std::vector<Device> devices;
  std::string each;  // what each driver did, if there is no device at all
  auto run = runs.begin();
  for (const Driver& driver : drivers.list) {
    std::string problem = driver.problem;
    std::size_t before = devices.size();
    if (problem.empty()) {
      if (run->start_error != 0) {
        return fail(ErrorCode::kSystem,
                    "cannot run " + probe + ": " + errno_text(run->start_error));
      }
      ProbeAnswer answer = parse_probe_answer(run->output);
      problem = problem_of(*run, answer, options.timeout);
      std::move(answer.devices.begin(), answer.devices.end(), std::back_inserter(devices));
      ++run;
    }
    if (!problem.empty()) inventory.warnings.push_back(driver.label() + " " + problem);
    if (devices.size() == before) {
      each += (each.empty() ? "" : "; ") + driver.label() + " " +
              (problem.empty() ? "has no device" : problem);
    }
  }
  // No loader, or a loader without a driver behind it.
  bool is_quiet = inventory.warnings.empty() || each.find("cannot be loaded") != each.npos;
  if (devices.empty() && drivers.is_fallback && is_quiet) return no_driver();
  inventory.devices = arrange(std::move(devices));
  if (inventory.devices.empty()) {
    return fail(ErrorCode::kNoDevice, "no OpenCL device was found: " + each,
                "`clinfo -l` shows what the drivers say; a GPU may need another group or a driver "
                "that is loaded");
  }
  return inventory;
}

}  // namespace chronos
