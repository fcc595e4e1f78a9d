// The environment of a program that runs under the shim. Pure functions on text.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace chronos::cli {

inline constexpr std::string_view kShimFile = "libchronos_shim.so";

// `shim` first, then what `current` (LD_PRELOAD: separated by colons or blanks) names, without any
// other copy of the shim.
std::string merge_preload(std::string_view current, std::string_view shim);
// The same for OPENCL_LAYERS: separated by colons; blanks belong to a path.
std::string merge_layers(std::string_view current, std::string_view shim);

struct ShimEnvironment {
  std::string shim;                         // absolute path
  std::optional<std::string> partitions;    // CHRONOS_PARTITION; none: the variable is taken away
  std::string state_dir;                    // CHRONOS_STATE_DIR made absolute; empty: as it is
  std::string trace = {};                   // CHRONOS_TRACE; empty: as it is
  std::vector<std::string> variables = {};  // NAME=value, set as they are
};

// `environment` (NAME=value) changed so that a program started with it is held to the partitions.
std::vector<std::string> shim_environment(const std::vector<std::string>& environment,
                                          const ShimEnvironment& settings);

// The environment of this process.
std::vector<std::string> own_environment();

}  // namespace chronos::cli
