#include "cli/arguments.hpp"
#include "cli/devices.hpp"
#include "cli/verbs.hpp"
#include "core/report.hpp"

namespace chronos::cli {

int available_verb(const Invocation& invocation) {
  std::string text;
  Arguments arguments("available", "[options] <device>",
                      "Print the percentage of a device that a partition can get.");
  arguments.app()
      .add_option("device", text, "Number of the device (see `chronos stats`)")
      ->required();
  arguments.add_json();
  if (auto status = arguments.parse(invocation.arguments)) return *status;

  Result<int> number = parse_device(text);
  if (!number) return report(number.error());
  Result<Registry> registry = Registry::open();
  if (!registry) return report(registry.error());
  Result<Device> device = device_by_number(*registry, *number);
  if (!device) return report(device.error());
  Result<std::vector<PartitionInfo>> partitions = registry->list();
  if (!partitions) return report(partitions.error());
  print_warnings(*registry);

  DeviceUse use = Registry::use_of(*device, *partitions);
  if (arguments.json()) return print(to_text(available_json(*device, use)));
  return print(percent_of(use.available_bytes, device->total_bytes) + "\n");
}

}  // namespace chronos::cli
