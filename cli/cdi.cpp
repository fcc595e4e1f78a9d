#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "cli/arguments.hpp"
#include "cli/cdi_document.hpp"
#include "cli/verbs.hpp"
#include "core/grant.hpp"
#include "core/launch.hpp"
#include "core/paths.hpp"
#include "core/policy.hpp"
#include "core/registry.hpp"
#include "core/text.hpp"

namespace chronos::cli {
namespace {

constexpr char kFolder[] = "/etc/cdi";
constexpr char kFile[] = "/etc/cdi/chronos.json";

struct CdiArguments {
  std::string output;
  bool write = false, preload = false;
};

tl::unexpected<Error> cannot(std::string_view what, const std::string& path, int error,
                             std::string hint = {}) {
  return fail(ErrorCode::kSystem,
              fmt::format("cannot {} {}: {}", what, chronos::quoted(path), errno_text(error)),
              std::move(hint));
}

// A name may be used by several owners: in the container it means that of whoever runs there.
void add_device(std::vector<std::string>& devices, const std::string& name) {
  const bool taken =
      name == kCdiAll || std::find(devices.begin(), devices.end(), name) != devices.end();
  if (!taken) devices.push_back(name);
}

// A CDI name ends with a letter or a digit, which a partition's need not.
bool is_cdi_name(const std::string& name) {
  const char last = name.back();
  return last != '.' && last != '_' && last != '-';
}

Result<CdiSources> sources(bool preload) {
  Result<Registry> registry = Registry::open();
  if (!registry) return pass_on(registry);
  CdiSources from;
  from.state_dir = registry->state().path();
  if (from.state_dir == StateDir::kFallbackDir) {
    return fail(
        ErrorCode::kSystem,
        fmt::format("the state is in {}, which a container has for itself", StateDir::kFallbackDir),
        "run `sudo chronos setup`, which makes a directory that can be shared");
  }
  Result<std::string> shim = usable_shim_path();
  if (!shim) return pass_on(shim);
  from.shim = std::move(*shim);
  from.command = command_path();
  from.probe = probe_path();
  from.library = library_path();
  from.preload = preload;
  const std::string policy = kRootPolicyPath;
  if (::access(policy.c_str(), F_OK) == 0) from.policy_folder = policy.substr(0, policy.rfind('/'));
  Result<std::vector<PartitionInfo>> partitions = registry->list();
  if (!partitions) return pass_on(partitions);
  print_warning_lines(registry->warnings());
  for (const PartitionInfo& one : *partitions) {
    // Those of a running command end with it.
    const bool lasts = one.state == PartitionState::kActive && !one.held;
    if (!lasts || (!one.is_mine && ::geteuid() != 0)) continue;
    add_device(from.partitions, is_cdi_name(one.id) ? one.id : number_id(one.number));
  }
  return from;
}

Result<void> write_whole(int fd, std::string_view text, const std::string& path) {
  if (pwrite_all(fd, text.data(), text.size(), 0) && ::fchmod(fd, 0644) == 0 && ::fsync(fd) == 0) {
    return {};
  }
  return cannot("write", path, errno);
}

// Runtimes read the folder at any moment: they see the old file or the new one.
Result<void> write_by_rename(const std::string& path, std::string_view text) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) == 0 && !S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode)) {
    return fail(ErrorCode::kSystem, fmt::format("{} is not a regular file", chronos::quoted(path)),
                "name another");
  }
  std::string temporary = path + ".XXXXXX";
  UniqueFd fd(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!fd) {
    const bool denied = errno == EACCES || errno == EPERM;
    return cannot("write to", path, errno, denied ? "use sudo, or --output for another place" : "");
  }
  Result<void> done = write_whole(fd.get(), text, path);
  if (done && ::rename(temporary.c_str(), path.c_str()) != 0) done = cannot("write", path, errno);
  if (!done) ::unlink(temporary.c_str());
  return done;
}

Result<std::string> cdi(const CdiArguments& given) {
  Result<CdiSources> from = sources(given.preload);
  if (!from) return pass_on(from);
  const Json document = cdi_document(*from);
  Result<void> good = check_cdi(document);
  if (!good) return pass_on(good);
  const std::string text = to_text(document);
  if (!given.write && given.output.empty()) return text;
  const std::string path = given.write ? kFile : given.output;
  if (given.write && ::mkdir(kFolder, 0755) != 0 && errno != EEXIST) {
    return cannot("make", kFolder, errno, "use sudo, or --output for another place");
  }
  good = write_by_rename(path, text);
  if (!good) return pass_on(good);
  return fmt::format("Wrote {} with {} device{}\n", printable(path), from->partitions.size() + 1,
                     from->partitions.empty() ? "" : "s");
}

}  // namespace

int cdi_verb(const Invocation& invocation) {
  CdiArguments given;
  Arguments arguments("cdi", "[--write | --output FILE]",
                      "Describe partitions to Docker and Podman, as devices for --device.");
  CLI::App& app = arguments.app();
  CLI::Option* write =
      app.add_flag("--write", given.write, fmt::format("Write {} (as root)", kFile));
  CLI::Option* output =
      app.add_option("--output", given.output, "Write that file")->type_name("FILE");
  write->excludes(output);
  app.add_flag("--preload", given.preload,
               "Set LD_PRELOAD, too: for programs with a loader that has no\n"
               "layers; not for images without glibc, such as Alpine's");
  arguments.add_examples(
      "Prints a specification of the Container Device Interface: a device for each partition, and\n"
      "`all` for whatever partitions the user of the container has. Write it again when there are\n"
      "other partitions.\n\n"
      "  sudo chronos cdi --write\n"
      "  docker run --device chronos.dev/partition=train --device nvidia.com/gpu=0 IMAGE\n"
      "  podman run --device chronos.dev/partition=all -e CHRONOS_PARTITION=a,b IMAGE");
  if (auto status = arguments.parse(invocation.arguments)) return *status;
  if (output->count() > 0 && given.output.empty()) {
    return report({ErrorCode::kInvalid, "--output names no file", help_hint("cdi")});
  }
  Result<std::string> done = cdi(given);
  return done ? print(*done) : report(done.error());
}

}  // namespace chronos::cli
