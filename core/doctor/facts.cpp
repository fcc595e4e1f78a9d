#include "core/doctor/facts.hpp"

#include <unistd.h>

#include <algorithm>

#include "core/posix.hpp"
#include "core/state_dir.hpp"

namespace chronos::doctor {
namespace {

std::optional<std::string> variable(const char* name) {
  const char* value = trusted_env(name);
  return value != nullptr && *value != '\0' ? std::optional<std::string>(value) : std::nullopt;
}

// As this process was started with it: the shim, if it is preloaded here too, has put its variables
// right since.
std::optional<std::string> variable_at_start(const char* name) {
  const std::optional<std::string> now = variable(name);
  std::string block;
  if (environment_is_untrusted() ||
      !read_small_file("/proc/self/environ", block, std::size_t{4} << 20)) {
    return now;
  }
  auto at_start = [&](std::string_view wanted) -> std::optional<std::string> {
    std::string_view rest = block;
    while (!rest.empty()) {
      const std::size_t end = std::min(rest.find('\0'), rest.size());
      const std::string_view entry = rest.substr(0, end);
      rest.remove_prefix(std::min(end + 1, rest.size()));
      if (entry.starts_with(wanted) && entry.size() > wanted.size() + 1 &&
          entry[wanted.size()] == '=') {
        return std::string(entry.substr(wanted.size() + 1));
      }
    }
    return std::nullopt;
  };
  const std::optional<std::string> preload = at_start("LD_PRELOAD");
  const bool shim_is_here = preload && preload->find("libchronos_shim.so") != preload->npos;
  return shim_is_here ? at_start(name) : now;
}

// A name without a slash is looked for by the dynamic linker.
void note_missing(const std::string& list, std::string_view separators,
                  std::vector<std::string>& missing) {
  std::string_view rest = list;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find_first_of(separators), rest.size());
    const std::string path(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (path.find('/') != path.npos && ::access(path.c_str(), R_OK) != 0) missing.push_back(path);
  }
}

}  // namespace

Facts gather(const std::string& version) {
  Facts facts;
  facts.version = version;
  facts.preload_variable = variable_at_start("LD_PRELOAD");
  facts.layers_variable = variable_at_start("OPENCL_LAYERS");
  facts.lifetime_variable = variable("CHRONOS_LIFETIME");
  facts.log_variable = variable("CHRONOS_LOG");
  if (facts.preload_variable) note_missing(*facts.preload_variable, ": ", facts.missing_files);
  if (facts.layers_variable) note_missing(*facts.layers_variable, ":", facts.missing_files);
  look_at_system(facts);
  look_at_state(facts);
  look_at_devices(facts);
  look_at_doors(facts);
  look_at_partitions(facts);
  facts.enforcement = enforce::look(version);
  return facts;
}

}  // namespace chronos::doctor
