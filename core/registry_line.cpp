// A request beside those in line before it.
#include "core/registry_line.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "core/drivers.hpp"
#include "core/inventory_store.hpp"
#include "core/reservation.hpp"
#include "core/units.hpp"
#include "core/users.hpp"

namespace chronos {

std::string asked_text(const Claim& claim) {
  std::uint64_t most = 0;
  for (const Claim::Wish& wish : claim.wishes) most = std::max(most, wish.bytes);
  const std::string bytes = format_bytes(most);
  if (claim.is_for_one_device()) return bytes;
  return fmt::format("{} on {} of {} devices", bytes, claim.count, claim.wishes.size());
}

namespace {

// The candidates, and what the remembered inventory knows of what else is waited for: a ticket can
// name devices that do not exist.
std::vector<Device> devices_in_play(const StateDir& state, const std::vector<Device>& candidates,
                                    const std::vector<Waiting>& ahead) {
  std::vector<Device> devices = candidates;
  auto is_known = [&](const Claim::Wish& wish) {
    return std::any_of(devices.begin(), devices.end(),
                       [&](const Device& device) { return device.key == wish.device_key; });
  };
  // Whoever waits for a single device is in the way of its own line only.
  const bool all_known = std::all_of(ahead.begin(), ahead.end(), [&](const Waiting& one) {
    const auto& wishes = one.claim.wishes;
    const bool concerns_us = std::any_of(wishes.begin(), wishes.end(), is_known);
    return one.claim.is_for_one_device() || !concerns_us ||
           std::all_of(wishes.begin(), wishes.end(), is_known);
  });
  if (all_known) return devices;
  auto stored = InventoryStore(state, find_drivers().key).read([](const auto&) { return true; });
  if (!stored) return devices;
  for (Device& device : stored->inventory.devices) {
    if (!is_known({device.key, 0})) devices.push_back(std::move(device));
  }
  return devices;
}

}  // namespace

Registry::Judged Registry::weigh(const ReserveRequest& request, uid_t owner, const Look& seen,
                                 const std::vector<Waiting>& ahead) const {
  const std::vector<Device> devices = devices_in_play(state_, request.candidates, ahead);
  Judged judged{{{}, request.count, request.duration_ns}, {}, {}, seen.outlook(devices), {}};
  const std::size_t more = request.count - 1;
  for (std::size_t i = 0; i < request.candidates.size(); ++i) {
    const Device& device = request.candidates[i];
    const std::uint64_t bytes = request.memory.on(device.total_bytes);
    auto allowed =
        seen.may_have(owner, device, bytes, request.duration_ns, nullptr, ::geteuid(), more);
    if (allowed) {
      judged.claim.wishes.push_back({device.key, bytes});
      judged.candidate_of_wish.push_back(i);
    } else if (!judged.forbidden) {
      judged.forbidden = allowed.error();
    }
  }
  // Nobody can block a device with a ticket, written by hand, for what they may not have.
  for (const Waiting& waiting : ahead) {
    Claim claim{{}, waiting.claim.count, waiting.claim.duration_ns};
    const uid_t waiter = waiting.file.uid;
    for (const Claim::Wish& wish : waiting.claim.wishes) {
      const auto device = std::find_if(devices.begin(), devices.end(), [&](const Device& one) {
        return one.key == wish.device_key;
      });
      if (device == devices.end() || wish.bytes > device->total_bytes) continue;
      if (seen.may_have(waiter, *device, wish.bytes, claim.duration_ns, nullptr, waiter,
                        claim.count - 1)) {
        claim.wishes.push_back(wish);
      }
    }
    if (claim.wishes.size() < claim.count) claim.wishes.clear();
    judged.ahead.push_back(std::move(claim));
  }
  return judged;
}

std::vector<bool> Registry::Judged::pass(const std::function<bool(std::size_t)>& passed_over) {
  std::vector<bool> could(ahead.size());
  for (std::size_t i = 0; i < ahead.size(); ++i) {
    if (ahead[i].wishes.empty()) continue;
    const Turn turn = turn_of(outlook, ahead[i], Choice::kInOrder, {ahead.data(), i});
    could[i] = turn.chosen.size() == ahead[i].count;
    if (could[i] && passed_over(i)) ahead[i].wishes.clear();
  }
  return could;
}

std::optional<Error> Registry::turn_of_another(const Look& look, const Device& device,
                                               std::uint64_t bytes,
                                               std::uint64_t duration_ns) const {
  const std::vector<Waiting> ahead = read_tickets(state_, look.names);
  ReserveRequest request;
  request.candidates = {device};
  request.memory.bytes = bytes;
  Judged judged = weigh(request, ::geteuid(), look, ahead);
  judged.claim = {{{device.key, bytes}}, 1, duration_ns};
  (void)judged.pass([](std::size_t) { return true; });  // those who could go, and have not
  const Turn turn = turn_of(judged.outlook, judged.claim, Choice::kInOrder, judged.ahead);
  if (!turn.behind) return std::nullopt;
  const Waiting& other = ahead[*turn.behind];
  return Error{
      ErrorCode::kNoCapacity, fmt::format("Not enough available memory on device {}", device.index),
      fmt::format("asked {}, available {}, but {} waits in line for {}; `chronos create --wait` "
                  "joins the line",
                  format_bytes(bytes), format_bytes(judged.outlook.room(device.key)),
                  user_name(other.file.uid), asked_text(other.claim))};
}

}  // namespace chronos
