// Who holds memory of a device, in a partition or not: what its vendor says beside what the ledgers
// say. Reads procfs for names. Any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/facts/gpu_facts.hpp"
#include "core/registry.hpp"
#include "core/report.hpp"

namespace chronos {

struct Holder {
  pid_t pid = 0;
  std::optional<std::uint64_t> used_bytes;     // by the vendor
  std::optional<std::uint64_t> charged_bytes;  // by the ledger of its partition
  std::string partition_id;                    // empty: in none
  std::string user, command;                   // empty if not to be seen
};

// By pid. Those in partitions are there even where the vendor says nothing.
std::vector<Holder> holders_of(const Device& device, const GpuFacts& gpu,
                               const std::vector<PartitionInfo>& partitions);

Json holder_json(const Holder& holder);

}  // namespace chronos
