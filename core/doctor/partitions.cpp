#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "core/doctor/facts.hpp"
#include "core/drivers.hpp"
#include "core/inventory.hpp"
#include "core/launch.hpp"
#include "core/look.hpp"
#include "core/registry.hpp"
#include "core/text.hpp"
#include "core/units_text.hpp"

namespace chronos::doctor {
namespace {

std::string described(const PartitionInfo& one) {
  return fmt::format("{}: {} of {} of device {} in use, {}", one.id, format_bytes(one.used_bytes),
                     format_bytes(one.limit_bytes), one.device_index,
                     one.state == PartitionState::kActive
                         ? format_duration(one.remaining_ns) + " left"
                         : std::string("has ended and drains"));
}

// As the shim takes it apart; each is judged alone.
void judge_named(Registry& registry, PartitionFact& fact) {
  std::string_view rest = *fact.named_variable;
  while (!rest.empty()) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    const std::string_view id = rest.substr(0, comma);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    if (id.empty()) continue;
    auto scope = named_partitions(registry, id);
    NamedPartition named{escaped(id.substr(0, id.find('@')), 80), {}, {}};
    if (!scope) {
      named.problem = scope.error().message;
      named.hint = scope.error().hint;
    }
    fact.named.push_back(std::move(named));
  }
  if (fact.named.empty() && !fact.named_variable->empty()) {
    fact.named.push_back({escaped(*fact.named_variable, 80), "it names no partition", {}});
  }
}

}  // namespace

void look_at_partitions(Facts& facts) {
  PartitionFact& fact = facts.partitions;
  if (const char* named = trusted_env("CHRONOS_PARTITION")) fact.named_variable = named;
  auto registry = Registry::open();
  if (!registry) {
    fact.error = registry.error().message;
    fact.hint = registry.error().hint;
    return;
  }
  auto all = registry->list();
  if (!all) {
    fact.error = all.error().message;
    fact.hint = all.error().hint;
    return;
  }
  fact.warnings = registry->warnings();
  for (const PartitionInfo& one : *all) {
    if (one.is_mine) {
      fact.own.push_back(described(one));
    } else {
      ++fact.others;
    }
  }
  if (fact.named_variable) judge_named(*registry, fact);
}

void look_at_devices(Facts& facts) {
  const Drivers drivers = find_drivers();
  auto state = StateDir::open();
  auto inventory = state && facts.state.error.empty() ? load_inventory(*state, Look::kAgain)
                                                      : look_at_drivers(drivers, LookOptions{});
  std::vector<std::string> warnings;
  if (inventory) {
    facts.devices = inventory->devices;
    warnings = inventory->warnings;
  } else {
    facts.device_error = inventory.error().message;
    facts.device_hint = inventory.error().hint;
    if (drivers.is_fallback) return;
  }
  for (const Driver& driver : drivers.list) {
    DriverFact fact{driver.label(), driver.problem};
    for (const std::string& line : warnings) {
      if (line.starts_with(fact.label + " ")) fact.problem = line.substr(fact.label.size() + 1);
    }
    // Without any device the error tells what each driver did.
    if (!inventory && fact.problem.empty()) continue;
    facts.drivers.push_back(std::move(fact));
  }
}

}  // namespace chronos::doctor
