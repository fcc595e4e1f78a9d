#include "cli/queue/prepare.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "cli/queue/place.hpp"
#include "core/acquire.hpp"
#include "core/inventory.hpp"
#include "core/posix.hpp"
#include "core/text.hpp"

namespace chronos::queue {
namespace {

std::string_view value_of(const std::vector<std::string>& environment, std::string_view name) {
  for (const std::string& entry : environment) {
    if (entry.size() > name.size() && entry[name.size()] == '=' && entry.starts_with(name)) {
      return std::string_view(entry).substr(name.size() + 1);
    }
  }
  return {};
}

void unset(std::vector<std::string>& environment, std::string_view name) {
  std::erase_if(environment, [&](const std::string& entry) {
    return entry.size() > name.size() && entry[name.size()] == '=' && entry.starts_with(name);
  });
}

std::string single_quoted(const std::string& text) {
  std::string out = "'";
  for (char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

Result<void> check_folder(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    return fail(ErrorCode::kSystem,
                fmt::format("cannot work in {}: {}", path_text(path), errno_text(errno)));
  }
  if (!S_ISDIR(status.st_mode) || ::access(path.c_str(), X_OK) != 0) {
    return fail(ErrorCode::kSystem,
                fmt::format("cannot work in {}: {}", path_text(path),
                            errno_text(S_ISDIR(status.st_mode) ? errno : ENOTDIR)));
  }
  return {};
}

}  // namespace

std::vector<std::string> overlaid(std::vector<std::string> environment,
                                  const Variables& variables) {
  for (const auto& [name, value] : variables) {
    unset(environment, name);
    environment.push_back(fmt::format("{}={}", name, value));
  }
  return environment;
}

std::vector<std::string> split_environment(const std::string& data) {
  std::vector<std::string> entries;
  for (std::size_t at = 0; at < data.size();) {
    const std::size_t end = std::min(data.find('\0', at), data.size());
    entries.push_back(data.substr(at, end - at));
    at = end + 1;
  }
  return entries;
}

std::string join_environment(const std::vector<std::string>& entries) {
  std::string data;
  for (const std::string& entry : entries) {
    data += entry;
    data += '\0';
  }
  return data;
}

std::string shell_path() { return ::access("/bin/bash", X_OK) == 0 ? "/bin/bash" : "/bin/sh"; }

Result<cli::ChildCommand> prepare_command(const Job& job, const JobSpec& spec,
                                          const std::vector<std::string>& environment) {
  auto folder = check_folder(spec.directory);
  if (!folder) return pass_on(folder);
  cli::ChildCommand command;
  command.die_with_parent = true;
  command.environment = environment;
  for (const auto& [name, value] : spec.env) {
    command.environment = overlaid(std::move(command.environment), {{name, value}});
  }
  const std::string activate = spec.venv + "/bin/activate";
  if (!spec.venv.empty()) {
    if (::access(activate.c_str(), R_OK) != 0) {
      return fail(ErrorCode::kSystem,
                  fmt::format("no virtual environment in {}: {}: {}", path_text(spec.venv),
                              path_text(activate), errno_text(errno)));
    }
    const std::string path(value_of(command.environment, "PATH"));
    command.environment =
        overlaid(std::move(command.environment),
                 {{"VIRTUAL_ENV", spec.venv},
                  {"PATH", spec.venv + "/bin" + (path.empty() ? "" : ":") + path}});
    unset(command.environment, "PYTHONHOME");
  }
  if (spec.shell.empty()) {
    command.arguments = spec.command;
  } else {
    const std::string before = spec.venv.empty() ? "" : ". " + single_quoted(activate) + " && ";
    command.arguments = {shell_path(), "-c", before + spec.shell};
  }
  command.environment = overlaid(std::move(command.environment),
                                 {{"CUDA_VISIBLE_DEVICES", job.devices},
                                  {"CHRONOS_JOB_ID", fmt::format("{}", job.id)},
                                  {"CHRONOS_JOB_NAME", job.name},
                                  {"CHRONOS_JOB_ATTEMPT", fmt::format("{}", job.attempt)},
                                  {"CHRONOS_JOB_DEVICES", job.devices},
                                  {kTokenVariable, job.token}});
  return command;
}

Result<Variables> device_variables(const Registry& registry,
                                   const std::vector<PartitionInfo>& partitions) {
  auto inventory = load_inventory(registry.state());
  if (!inventory) return pass_on(inventory);
  Acquired held{partitions, {}};
  for (const Device& device : inventory->devices) {
    const bool is_ours =
        std::any_of(partitions.begin(), partitions.end(),
                    [&](const PartitionInfo& one) { return one.device_key == device.key; });
    if (is_ours) held.devices.push_back(device);
  }
  auto variables = variables_for(registry, held, CudaNames::kNumbers);
  if (!variables) return variables;
  auto value_of_one = [&](std::string_view name) -> std::optional<std::string> {
    for (const auto& [one, value] : *variables) {
      if (one == name) return value;
    }
    return std::nullopt;
  };
  if (!value_of_one("CUDA_VISIBLE_DEVICES")) {
    variables->emplace_back("CUDA_VISIBLE_DEVICES",
                            value_of_one("HIP_VISIBLE_DEVICES").value_or(device_list(partitions)));
  }
  variables->emplace_back("CHRONOS_DEVICES", "partitions");
  return variables;
}

std::string device_list(const std::vector<PartitionInfo>& partitions) {
  std::vector<int> indexes;
  for (const PartitionInfo& one : partitions) indexes.push_back(one.device_index);
  std::sort(indexes.begin(), indexes.end());
  return fmt::format("{}", fmt::join(indexes, ","));
}

}  // namespace chronos::queue
