#include "core/doctor/findings.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "core/text.hpp"
#include "core/units_text.hpp"
#include "core/users.hpp"

namespace chronos::doctor {
namespace {

constexpr char kShim[] = "libchronos_shim.so";
constexpr uid_t kOverflowUid = 65534;            // how a user namespace shows who is not in it
constexpr std::uint64_t kLittleSpace = 1 << 20;  // some forty partitions

class Findings {
 public:
  void ok(const char* topic, std::string text) { add(Status::kOk, topic, std::move(text), {}); }
  void note(const char* topic, std::string text, std::string remedy = {}) {
    add(Status::kNote, topic, std::move(text), std::move(remedy));
  }
  void warning(const char* topic, std::string text, std::string remedy) {
    add(Status::kWarning, topic, std::move(text), std::move(remedy));
  }
  void problem(const char* topic, std::string text, std::string remedy) {
    add(Status::kProblem, topic, std::move(text), std::move(remedy));
  }
  std::vector<Finding> take() { return std::move(list_); }

 private:
  void add(Status status, const char* topic, std::string text, std::string remedy) {
    list_.push_back({status, topic, escaped(text, 1000), escaped(remedy, 500)});
  }
  std::vector<Finding> list_;
};

std::string or_else(const std::string& text, const char* otherwise) {
  return text.empty() ? otherwise : text;
}

bool names_shim(std::string_view path) { return path.substr(path.rfind('/') + 1) == kShim; }

std::vector<std::string> parts_of(std::string_view list, std::string_view separators) {
  std::vector<std::string> parts;
  while (!list.empty()) {
    const std::size_t end = std::min(list.find_first_of(separators), list.size());
    if (end > 0) parts.emplace_back(list.substr(0, end));
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return parts;
}

void about_installation(const Facts& facts, Findings& out) {
  if (!facts.shim_problem.empty()) {
    out.problem("installation", facts.shim_problem, or_else(facts.shim_hint, "install it again"));
  }
  auto differs = [&](const std::string& version, const std::string& what) {
    if (version.empty() || version == facts.version) return;
    out.problem("installation",
                fmt::format("{} is of version {}, this is {}", what, version, facts.version),
                "install Chronos again: its parts must be of one version");
  };
  differs(facts.library_version, facts.library);
  differs(facts.preload.shim_version, facts.shim);
  if (facts.library.empty()) {
    out.note("installation",
             "libchronos.so is not installed beside this: no C interface, no Python");
  } else if (facts.library_version.empty()) {
    out.warning("installation", facts.library + " does not say its version",
                "install Chronos again");
  }
  if (facts.shim_problem.empty()) {
    out.ok("installation", fmt::format("version {}, shim {}", facts.version, facts.shim));
  }
}

void about_devices(const Facts& facts, Findings& out) {
  for (const DriverFact& driver : facts.drivers) {
    if (driver.problem.empty()) {
      out.ok("driver", driver.label + " answers");
    } else {
      out.warning("driver", driver.label + " " + driver.problem,
                  "its devices cannot be partitioned; install it again, or remove its .icd file");
    }
  }
  if (!facts.device_error.empty()) {
    out.problem("device", facts.device_error,
                or_else(facts.device_hint, "install the driver of the GPU's vendor"));
  }
  for (const Device& device : facts.devices) {
    const std::string text =
        fmt::format("device {}: {}, {}, known by {}", device.index,
                    or_else(device.name, "without a name"), format_bytes(device.total_bytes),
                    !device.uuid.empty()  ? "its UUID " + device.uuid
                    : !device.pci.empty() ? "its PCI address " + device.pci
                                          : "platform, name and number only");
    const bool by_name = device.key.starts_with("name:");
    const auto alike =
        std::count_if(facts.devices.begin(), facts.devices.end(), [&](const Device& other) {
          return other.name == device.name && other.platform == device.platform;
        });
    if (by_name && alike > 1) {
      out.note("device", text + "; it is told from others alike by their order");
    } else {
      out.ok("device", text);
    }
  }
}

std::string loader_text(const LoaderFact& loader) {
  const bool ocl_icd = loader.vendor.starts_with("OCL");
  std::string name =
      ocl_icd ? "ocl-icd" : or_else(loader.name, "a loader that does not name itself");
  if (!loader.version.empty()) name += " " + loader.version;
  return fmt::format("{} ({})", name, loader.path);
}

void about_loaders(const Facts& facts, Findings& out) {
  for (const LoaderFact& loader : facts.loaders) {
    if (!loader.problem.empty()) {
      if (loader.is_found) {
        out.problem("loader", fmt::format("{} {}", loader.path, loader.problem),
                    "install an ICD loader: apt-get install ocl-icd-libopencl1");
      } else {
        out.note("loader", fmt::format("{} {}", loader.path, loader.problem));
      }
    } else if (!loader.layers.problem.empty()) {
      out.warning("loader", fmt::format("{}: {}", loader_text(loader), loader.layers.problem),
                  "see the drivers above");
    } else if (loader.layers.devices == 0) {
      out.note("loader",
               loader_text(loader) + ": offers no device, so that its layers are untried");
    } else if (loader.layers.layer) {
      out.ok("loader", loader_text(loader) + ": OPENCL_LAYERS works");
    } else {
      out.warning(
          "loader",
          loader_text(loader) + ": has no layers, so OPENCL_LAYERS alone does nothing there",
          "use `chronos run` or LD_PRELOAD for its programs; loaders since 2021 have layers");
    }
  }
}

void about_doors(const Facts& facts, Findings& out) {
  if (!facts.shim_problem.empty()) return;
  const bool no_device = !facts.device_error.empty();
  const Trial& preload = facts.preload;
  const bool loader_fails =
      std::any_of(facts.loaders.begin(), facts.loaders.end(),
                  [](const LoaderFact& one) { return one.is_found && !one.problem.empty(); });
  if (!preload.problem.empty()) {
    if (loader_fails) return;  // has been said
    out.problem("doors", "LD_PRELOAD was tried in a child: " + preload.problem,
                "see the drivers above; `clinfo` without Chronos should work");
    return;
  }
  if (preload.devices == 0) {
    if (!no_device) {
      out.problem("doors", "a program that uses the system's loader sees no device",
                  "compare `clinfo -l`; the loader must find the same drivers");
    }
    return;
  }
  if (!preload.layer && !facts.driver_door.driver) {
    out.problem("doors", "LD_PRELOAD reaches no program: neither door fires in a child",
                "report this with the output of `chronos doctor --json`");
    return;
  }
  out.ok("doors",
         fmt::format("LD_PRELOAD (`chronos run`) reaches programs by {}",
                     preload.layer && facts.driver_door.driver ? "both doors, layer and driver"
                     : preload.layer                           ? "the layer door"
                                                               : "the driver door"));
  if (!facts.driver_door.driver) {
    out.warning("doors", "the driver door does not fire: loaders without layers are not reached",
                or_else(facts.driver_door.problem,
                        "a driver whose table cannot be written to, or "
                        "another library that takes dlsym over"));
  }
}

void about_state(const Facts& facts, Findings& out) {
  const StateFact& state = facts.state;
  const SystemFact& system = facts.system;
  if (!state.error.empty()) {
    if (state.is_missing && state.named) {
      out.note("state", state.error + ": there are no partitions yet",
               "the first `chronos create` makes it");
    } else {
      out.problem("state", state.error,
                  or_else(state.hint,
                          "it must be readable and writable by all, and sticky, as "
                          "/dev/shm is: chmod 1777"));
    }
    return;
  }
  const bool shared = (state.mode & 0022) != 0;
  const bool sticky = (state.mode & 01000) != 0;
  out.ok("state", fmt::format("partitions are kept in {}, of {}, mode {:04o}, {} free", state.path,
                              user_name(state.owner), state.mode, format_bytes(state.free_bytes)));
  if (shared && !sticky) {
    out.problem("state", state.path + " is not sticky: other users can take your partitions away",
                "chmod +t " + state.path);
  } else if (shared && state.owner != 0 && !state.named && !system.in_user_namespace) {
    out.problem("state",
                fmt::format("{} belongs to {}, who can take everybody's partitions away",
                            state.path, user_name(state.owner)),
                "chown root " + state.path);
  }
  if (!shared) {
    out.note("state", state.path + " is private to its owner: users do not see each other there");
  }
  if (!state.in_memory) {
    out.warning("state",
                state.path + " is not in shared memory: slower, and its files outlive a boot",
                "name a directory on a tmpfs in CHRONOS_STATE_DIR");
  }
  if (state.free_bytes < kLittleSpace) {
    out.problem("state",
                fmt::format("only {} are free in {}", format_bytes(state.free_bytes), state.path),
                "free space there: a partition needs 24 KiB");
  }
  if (state.path == "/dev/shm" && system.logind_runs && system.removes_ipc && system.uid != 0 &&
      system.uid >= kFirstOrdinaryUid) {
    out.warning("state",
                "logind removes your files in /dev/shm, and so your partitions, when you log out",
                "let root make /run/chronos (mode 1777), or set RemoveIPC=no in "
                "/etc/systemd/logind.conf");
  }
}

void about_system(const Facts& facts, Findings& out) {
  const SystemFact& system = facts.system;
  if (system.untrusted_environment) {
    out.warning("system", "this runs with raised privileges: the environment is not trusted",
                "run it as an ordinary program");
  }
  if (!system.has_proc) {
    out.problem("system", "/proc is not mounted: processes cannot be told apart",
                "mount -t proc proc /proc");
  }
  if (system.in_user_namespace) {
    out.warning(
        "system",
        fmt::format("this is a user namespace: files of those outside of it show as owned by "
                    "{}, and their partitions are not believed",
                    kOverflowUid),
        "create and use partitions on the same side of the namespace");
  }
  if (system.in_time_namespace) {
    out.note("system", "this is a time namespace: deadlines are corrected by its offset");
  }
  if (system.hidepid != 0 && system.uid != 0) {
    out.note("system",
             fmt::format("/proc is mounted with hidepid={}: whether other users' processes "
                         "live is known from their locks only",
                         system.hidepid));
  }
  if (system.protected_regular == 0) {
    out.note("system",
             "fs.protected_regular is 0: the kernel lets files in sticky directories be "
             "opened for creation by others; Chronos never does that");
  }
  if (system.protected_symlinks == 0) {
    out.note("system", "fs.protected_symlinks is 0; Chronos follows no links in its directory");
  }
  if (system.protected_hardlinks == 0) {
    out.note("system",
             "fs.protected_hardlinks is 0: others can keep a name of your ended partitions");
  }
}

void about_partitions(const Facts& facts, Findings& out) {
  const PartitionFact& fact = facts.partitions;
  if (!fact.error.empty() && facts.state.error.empty()) {
    out.problem("partitions", "partitions cannot be looked up: " + fact.error,
                or_else(fact.hint, "see the state directory above"));
  }
  for (const std::string& line : fact.warnings) {
    out.problem("partitions", line,
                "until it is gone, allocations that it might concern are refused");
  }
  for (const std::string& line : fact.own) out.ok("partitions", line);
  if (fact.own.empty() && fact.error.empty()) {
    out.note("partitions",
             fmt::format("{} has no partition: programs that name none are not limited",
                         facts.system.user),
             "chronos create <device> <memory> <duration>");
  }
  if (fact.others > 0) {
    out.ok("partitions", fmt::format("{} of other users", fact.others));
  }
}

void about_preload(const Facts& facts, Findings& out) {
  if (!facts.preload_variable) return;
  const auto parts = parts_of(*facts.preload_variable, ": \t\n");
  const auto shim = std::find_if(parts.begin(), parts.end(), names_shim);
  if (shim == parts.end()) {
    out.note("environment", "LD_PRELOAD is set and does not name the shim; `chronos run` adds it");
  } else if (shim->front() != '/') {
    out.problem(
        "environment",
        fmt::format("LD_PRELOAD names the shim by the relative path {}: it is another file, "
                    "or none, to whoever runs in another folder",
                    *shim),
        "name it by its absolute path: " + or_else(facts.shim, kShim));
  } else if (*shim != facts.shim) {
    out.note("environment", fmt::format("LD_PRELOAD names {}, this installation has {}", *shim,
                                        or_else(facts.shim, "none")));
  } else {
    out.ok("environment", "LD_PRELOAD names the shim");
  }
}

void about_layers(const Facts& facts, Findings& out) {
  if (!facts.layers_variable) return;
  const auto parts = parts_of(*facts.layers_variable, ":");
  const auto shim = std::find_if(parts.begin(), parts.end(), names_shim);
  if (shim == parts.end()) {
    out.note("environment",
             "OPENCL_LAYERS is set and does not name the shim; `chronos run` and "
             "LD_PRELOAD add it");
  } else if (shim->front() != '/') {
    out.problem("environment",
                fmt::format("OPENCL_LAYERS names the shim by the relative path {}", *shim),
                "name it by its absolute path: " + or_else(facts.shim, kShim));
  } else if (shim != parts.begin()) {
    out.warning("environment",
                "OPENCL_LAYERS does not name the shim first: ocl-icd cuts the list at the first "
                "colon, so that children of a program lose the shim",
                "OPENCL_LAYERS=" + *shim + ":...");
  } else {
    out.ok("environment", "OPENCL_LAYERS names the shim first");
  }
}

void about_environment(const Facts& facts, Findings& out) {
  about_preload(facts, out);
  about_layers(facts, out);
  for (const std::string& path : facts.missing_files) {
    out.problem("environment",
                fmt::format("LD_PRELOAD or OPENCL_LAYERS names {}, which cannot be read", path),
                "correct the path, or unset the variable");
  }
  for (const NamedPartition& named : facts.partitions.named) {
    if (named.problem.empty()) {
      out.ok("environment", fmt::format("CHRONOS_PARTITION names {}", named.id));
    } else {
      out.problem(
          "environment",
          fmt::format("CHRONOS_PARTITION names {}, which cannot be used, so every allocation "
                      "is refused: {}",
                      named.id, named.problem),
          or_else(named.hint, "unset CHRONOS_PARTITION, or name one of `chronos list`"));
    }
  }
  if (facts.state.named && facts.state.error.empty()) {
    out.note("environment",
             "CHRONOS_STATE_DIR is set: only who sets the same sees these partitions");
  }
  if (facts.lifetime_variable && *facts.lifetime_variable != "counts") {
    out.warning("environment",
                fmt::format("CHRONOS_LIFETIME={} means nothing", *facts.lifetime_variable),
                "the only value is counts; or unset it");
  }
  constexpr std::array kLevels = {"error", "warn", "info", "debug", "off"};
  if (facts.log_variable &&
      std::find(kLevels.begin(), kLevels.end(), *facts.log_variable) == kLevels.end()) {
    out.warning("environment", fmt::format("CHRONOS_LOG={} means nothing", *facts.log_variable),
                "error, warn, info or debug");
  }
}

}  // namespace

std::vector<Finding> findings(const Facts& facts) {
  Findings out;
  about_installation(facts, out);
  about_devices(facts, out);
  about_loaders(facts, out);
  about_doors(facts, out);
  about_state(facts, out);
  about_system(facts, out);
  about_partitions(facts, out);
  about_environment(facts, out);
  std::vector<Finding> all = out.take();
  for (Finding& one : enforcement_findings(facts.enforcement)) all.push_back(std::move(one));
  return all;
}

}  // namespace chronos::doctor
