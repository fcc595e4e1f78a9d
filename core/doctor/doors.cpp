// Each door is tried in a real child: chronos-probe uses OpenCL through a loader as any program
// does, with the shim brought in by one way only, and the trace tells which doors fired.
#include <fmt/format.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/doctor/facts.hpp"
#include "core/launch.hpp"
#include "core/look.hpp"
#include "core/paths.hpp"
#include "core/posix.hpp"
#include "core/spawn.hpp"
#include "core/state_dir.hpp"
#include "core/text.hpp"
#include "core/trace.hpp"

namespace chronos::doctor {
namespace {

constexpr std::chrono::milliseconds kPatience{15'000};
constexpr std::size_t kMaxAnswer = 16384;
constexpr char kLoader[] = "libOpenCL.so.1";

enum class Way { kPreload, kLayers, kDriverDoor };

std::string text_in(const nlohmann::json& json, const char* key) {
  auto at = json.find(key);
  return at != json.end() && at->is_string() ? escaped(at->get<std::string>(), 300) : std::string();
}

struct Attempt {
  Way way;
  std::string loader;
  TraceDirectory trace;
  Trial trial;
  nlohmann::json answer;
};

Command command_of(const Attempt& attempt, const std::string& probe, const std::string& shim) {
  Command command{probe, {"--through", attempt.loader}, {}};
  if (attempt.way == Way::kDriverDoor) command.arguments.emplace_back("--without-layers");
  if (environment_is_untrusted()) {
    command.environment = {"PATH=/usr/bin:/bin"};
  } else {
    command.environment = probe_environment(environ);
  }
  std::erase_if(command.environment, [](const std::string& entry) {
    return entry.starts_with("LD_PRELOAD=") || entry.starts_with("CHRONOS_TRACE=") ||
           entry.starts_with("CHRONOS_LOG=");
  });
  command.environment.push_back((attempt.way == Way::kLayers ? "OPENCL_LAYERS=" : "LD_PRELOAD=") +
                                shim);
  command.environment.push_back("CHRONOS_LOG=error");
  command.environment.push_back("CHRONOS_TRACE=" + attempt.trace.path());
  return command;
}

void judge(Attempt& attempt, const Captured& run) {
  Trial& trial = attempt.trial;
  attempt.answer = nlohmann::json::parse(run.output, nullptr, false);
  if (!attempt.answer.is_object()) attempt.answer = nlohmann::json::object();
  if (run.start_error != 0) {
    trial.problem = "the helper cannot be run: " + errno_text(run.start_error);
  } else if (run.timed_out) {
    trial.problem = "a program that used it did not come to an end";
  } else if (run.status_known && WIFSIGNALED(run.status)) {
    trial.problem = fmt::format("a program that used it crashed (signal {})", WTERMSIG(run.status));
  } else if (attempt.answer.contains("error")) {
    trial.problem = text_in(attempt.answer, "error");
  } else if (!attempt.answer.contains("devices")) {
    trial.problem = "a program that used it ended without an answer";
  } else if (attempt.answer["devices"].is_number_unsigned()) {
    trial.devices = attempt.answer["devices"].get<unsigned>();
  }
  auto traces = read_traces(attempt.trace.path());
  if (!traces) return;
  for (const ProcessTrace& process : traces->processes) {
    trial.layer = trial.layer || (process.layer_opened > 0 && process.layer_calls > 0);
    trial.driver = trial.driver || process.drivers_patched > 0;
    trial.shim_version = process.shim_version;
  }
}

// Where the dynamic linker looks, and where vendors put theirs.
std::vector<std::string> other_loaders() {
  std::vector<std::string> folders;
  if (const char* named = trusted_env("LD_LIBRARY_PATH")) {
    std::string_view rest = named;
    while (!rest.empty()) {
      const std::size_t end = std::min(rest.find_first_of(":;"), rest.size());
      if (end > 0) folders.emplace_back(rest.substr(0, end));
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }
  for (const char* folder :
       {"/usr/local/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64",
        "/usr/lib", "/usr/local/cuda/lib64", "/opt/rocm/lib", "/opt/intel/oneapi/lib"}) {
    folders.emplace_back(folder);
  }
  std::vector<std::string> found;
  for (const std::string& folder : folders) {
    char resolved[PATH_MAX];
    if (::realpath((folder + "/" + kLoader).c_str(), resolved) == nullptr) continue;
    if (std::find(found.begin(), found.end(), resolved) == found.end())
      found.emplace_back(resolved);
  }
  constexpr std::size_t kMost = 8;
  if (found.size() > kMost) found.resize(kMost);
  return found;
}

LoaderFact loader_fact(const Attempt& attempt) {
  LoaderFact fact;
  fact.is_found = attempt.loader == kLoader;
  fact.path = text_in(attempt.answer, "path");
  if (fact.path.empty()) fact.path = attempt.loader;
  fact.name = text_in(attempt.answer, "name");
  fact.version = text_in(attempt.answer, "version");
  fact.vendor = text_in(attempt.answer, "vendor");
  if (attempt.answer.contains("error")) fact.problem = attempt.trial.problem;
  fact.layers = attempt.trial;
  return fact;
}

// Where a shared library keeps its version for those who only have the file.
std::string marked_version(const std::string& path) {
  constexpr std::string_view kMark = "CHRONOS_LIBRARY_VERSION=";
  std::string text;
  if (!read_small_file(path.c_str(), text, std::size_t{64} << 20)) return {};
  const std::size_t at = text.find(kMark);
  if (at == text.npos) return {};
  return escaped(text.c_str() + at + kMark.size(), 40);
}

}  // namespace

void look_at_doors(Facts& facts) {
  facts.library = library_path();
  if (!facts.library.empty()) facts.library_version = marked_version(facts.library);
  auto shim = usable_shim_path();
  if (!shim) {
    facts.shim_problem = shim.error().message;
    facts.shim_hint = shim.error().hint;
    return;
  }
  facts.shim = *shim;
  const std::string probe = probe_path();
  if (probe.empty()) {
    facts.preload.problem = "the helper chronos-probe is missing from this installation";
    facts.driver_door.problem = facts.preload.problem;
    return;
  }

  std::vector<Attempt> attempts;
  auto add = [&](Way way, const std::string& loader) {
    auto trace = TraceDirectory::make();
    if (trace) attempts.push_back({way, loader, std::move(*trace), {}, {}});
  };
  add(Way::kPreload, kLoader);
  add(Way::kDriverDoor, kLoader);
  add(Way::kLayers, kLoader);
  for (const std::string& path : other_loaders()) add(Way::kLayers, path);
  std::vector<Command> commands;
  for (const Attempt& attempt : attempts) commands.push_back(command_of(attempt, probe, *shim));
  const std::vector<Captured> runs = run_and_capture(commands, kPatience, kMaxAnswer);
  for (std::size_t i = 0; i < attempts.size(); ++i) {
    judge(attempts[i], runs[i]);
    switch (attempts[i].way) {
      case Way::kPreload:
        facts.preload = attempts[i].trial;
        break;
      case Way::kDriverDoor:
        facts.driver_door = attempts[i].trial;
        break;
      case Way::kLayers: {
        LoaderFact fact = loader_fact(attempts[i]);
        auto same = [&](const LoaderFact& known) { return known.path == fact.path; };
        if (std::none_of(facts.loaders.begin(), facts.loaders.end(), same)) {
          facts.loaders.push_back(std::move(fact));
        }
        break;
      }
    }
  }
}

}  // namespace chronos::doctor
