#include "cli/waiting.hpp"

#include <fmt/format.h>

#include "cli/arguments.hpp"
#include "cli/ending_signals.hpp"
#include "core/units.hpp"
#include "core/users.hpp"

namespace chronos::cli {
namespace {

void say_what_is_waited_for(int device, const WaitState& now) {
  std::string line =
      fmt::format("Waiting for {} on device {} ({} available)", format_bytes(now.asked_bytes),
                  device, format_bytes(now.available_bytes));
  if (now.ahead > 0) {
    line += fmt::format(", behind {} other{} in line", now.ahead, now.ahead == 1 ? "" : "s");
  } else if (now.next_to_end) {
    line += fmt::format(
        "; next, {} of {} ends in {}", printable(now.next_to_end->id),
        printable(user_name(now.next_to_end->owner)),
        format_duration(now.next_to_end->remaining_ns / kNanosPerSecond * kNanosPerSecond));
  }
  print_warning_line(line);
}

}  // namespace

Result<Patience> parse_patience(const std::string& text) {
  if (text == "forever") return Patience();
  Result<std::uint64_t> timeout = parse_wait(text);
  if (!timeout) return pass_on(timeout);
  return Patience(*timeout);
}

Result<PartitionInfo> create_in_line(Registry& registry, const CreateRequest& request,
                                     Patience patience) {
  EndingSignals signals;
  WaitOptions options;
  options.timeout_ns = patience;
  options.cancel_fd = signals.fd();
  options.on_change = [&](const WaitState& now) {
    say_what_is_waited_for(request.device.index, now);
  };
  Result<PartitionInfo> made = registry.create_when_free(request, options);
  if (!made && made.error().code == ErrorCode::kCancelled) signals.deliver();
  return made;
}

}  // namespace chronos::cli
