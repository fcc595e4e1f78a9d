// What is needed to start a job's program: its environment, its words and whether it can be
// started at all.
#pragma once

#include <string>
#include <vector>

#include "cli/queue/job.hpp"
#include "cli/supervisor.hpp"
#include "core/launch.hpp"
#include "core/registry.hpp"
#include "core/result.hpp"

namespace chronos::queue {

// Facts of a job as variables, for its program and its finish hook.
using Variables = std::vector<std::pair<std::string, std::string>>;

// Lays `variables` over `environment` (NAME=value).
std::vector<std::string> overlaid(std::vector<std::string> environment, const Variables& variables);

// The entries of Store::environment_of().
std::vector<std::string> split_environment(const std::string& data);
std::string join_environment(const std::vector<std::string>& entries);

// The shell that lines are run by.
std::string shell_path();

// Without the partition's own variables. Errors: kSystem, for a folder or a virtual environment
// that is not there.
Result<cli::ChildCommand> prepare_command(const Job& job, const JobSpec& spec,
                                          const std::vector<std::string>& environment);

// By which the program sees the devices of these partitions and no others: CHRONOS_DEVICES for
// OpenCL, and the vendors' own variables. CUDA_VISIBLE_DEVICES has numbers, as Kairos sets it:
// those by which CUDA counts its devices; where there are none of those, as HIP does, which reads
// it, too, or else our own. Errors: kNoDevice, kSystem.
Result<Variables> device_variables(const Registry& registry,
                                   const std::vector<PartitionInfo>& partitions);

// "0,1" for partitions on these devices.
std::string device_list(const std::vector<PartitionInfo>& partitions);

}  // namespace chronos::queue
