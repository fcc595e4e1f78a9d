// The Container Device Interface specification that `chronos cdi` writes, and the rules that any
// such document must keep (CDI SPEC.md 1.1.0). Pure functions; any thread.
#pragma once

#include <string>
#include <vector>

#include "core/report.hpp"
#include "core/result.hpp"

namespace chronos::cli {

inline constexpr char kCdiKind[] = "chronos.dev/partition";
// The device that names no partition: programs find those of their own user.
inline constexpr char kCdiAll[] = "all";

// Where things are on the machine; what is empty is left out.
struct CdiSources {
  std::string state_dir, shim, command, probe, library, policy_folder;
  bool preload = false;                 // LD_PRELOAD besides OPENCL_LAYERS
  std::vector<std::string> partitions;  // a device for each
};

Json cdi_document(const CdiSources& from);

// Errors: kInvalid, saying what no container runtime would take.
Result<void> check_cdi(const Json& document);

}  // namespace chronos::cli
