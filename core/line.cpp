#include "core/line.hpp"

#include <algorithm>
#include <numeric>

namespace chronos {

bool Claim::wants(const std::string& device_key) const {
  return std::any_of(wishes.begin(), wishes.end(),
                     [&](const Wish& wish) { return wish.device_key == device_key; });
}

void Outlook::add_device(const std::string& key, std::uint64_t total_bytes) {
  devices_.try_emplace(key, State{total_bytes, 0, {}});
}

std::uint64_t Outlook::total_bytes(const std::string& key) const {
  const auto found = devices_.find(key);
  return found == devices_.end() ? 0 : found->second.total;
}

void Outlook::take(const std::string& key, std::uint64_t bytes, std::uint64_t until_ns) {
  const auto found = devices_.find(key);
  if (found == devices_.end()) return;
  found->second.taken.push_back({until_ns, std::min(bytes, found->second.total)});
}

void Outlook::drain(const std::string& key, std::uint64_t bytes) {
  const auto found = devices_.find(key);
  if (found != devices_.end()) found->second.draining += std::min(bytes, found->second.total);
}

std::uint64_t Outlook::room(const std::string& key) const {
  const auto found = devices_.find(key);
  if (found == devices_.end()) return 0;
  const State& state = found->second;
  const std::uint64_t used =
      std::accumulate(state.taken.begin(), state.taken.end(), state.draining,
                      [](std::uint64_t sum, const Taken& taken) { return sum + taken.bytes; });
  return state.total > used ? state.total - used : 0;
}

// The first moment at which there may be room for `wanted`.
std::uint64_t Outlook::room_from(const State& state, std::uint64_t wanted) const {
  if (wanted > state.total) return kNever;
  std::vector<Taken> taken = state.taken;
  std::sort(taken.begin(), taken.end(),
            [](const Taken& a, const Taken& b) { return a.until < b.until; });
  std::uint64_t used =
      std::accumulate(taken.begin(), taken.end(), std::uint64_t{0},
                      [](std::uint64_t sum, const Taken& one) { return sum + one.bytes; });
  std::uint64_t when = now_;
  for (const Taken& one : taken) {
    if (used <= state.total - wanted) return when;
    used -= one.bytes;
    when = std::max(now_, one.until);
  }
  return when;
}

std::uint64_t Outlook::start_of(const Claim& claim) const {
  std::vector<std::uint64_t> starts;
  starts.reserve(claim.wishes.size());
  for (const Claim::Wish& wish : claim.wishes) {
    const auto found = devices_.find(wish.device_key);
    if (found != devices_.end()) starts.push_back(room_from(found->second, wish.bytes));
  }
  if (claim.count == 0 || starts.size() < claim.count) return kNever;
  const auto nth = starts.begin() + static_cast<std::ptrdiff_t>(claim.count - 1);
  std::nth_element(starts.begin(), nth, starts.end());
  return *nth;
}

namespace {

std::vector<std::size_t> in_order_of_choice(const Outlook& outlook, const Claim& claim,
                                            Choice choice) {
  std::vector<std::size_t> order;
  std::vector<std::uint64_t> room;
  for (std::size_t i = 0; i < claim.wishes.size(); ++i) {
    room.push_back(outlook.room(claim.wishes[i].device_key));
    if (claim.wishes[i].bytes <= room.back()) order.push_back(i);
  }
  if (choice == Choice::kInOrder) return order;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    // Best fit: where the least is left over.
    const std::uint64_t left_a = room[a] - claim.wishes[a].bytes;
    const std::uint64_t left_b = room[b] - claim.wishes[b].bytes;
    return choice == Choice::kBestFit ? left_a < left_b : left_a > left_b;
  });
  return order;
}

}  // namespace

Turn turn_of(const Outlook& outlook, const Claim& claim, Choice choice,
             std::span<const Claim> ahead) {
  Turn turn;
  const std::uint64_t until = outlook.now() + claim.duration_ns < outlook.now()
                                  ? Outlook::kNever
                                  : outlook.now() + claim.duration_ns;
  std::vector<std::uint64_t> starts;
  starts.reserve(ahead.size());
  for (const Claim& one : ahead) {
    starts.push_back(one.is_for_one_device() ? 0 : outlook.start_of(one));
  }
  Outlook taken = outlook;
  // The first of those ahead who would be kept waiting.
  auto kept_waiting = [&](const Claim::Wish& wish) -> std::optional<std::size_t> {
    std::optional<Outlook> then;
    for (std::size_t i = 0; i < ahead.size(); ++i) {
      if (!ahead[i].wants(wish.device_key)) continue;
      if (ahead[i].is_for_one_device()) return i;
      if (!then) {
        then = taken;
        then->take(wish.device_key, wish.bytes, until);
      }
      if (then->start_of(ahead[i]) > starts[i]) return i;
    }
    return std::nullopt;
  };
  const std::vector<std::size_t> order = in_order_of_choice(outlook, claim, choice);
  turn.with_room = order.size();
  std::optional<std::size_t> behind;
  for (const std::size_t at : order) {
    if (turn.chosen.size() == claim.count) break;
    const Claim::Wish& wish = claim.wishes[at];
    if (auto first = kept_waiting(wish)) {
      behind = std::min(behind.value_or(*first), *first);
      continue;
    }
    taken.take(wish.device_key, wish.bytes, until);
    turn.chosen.push_back(at);
  }
  if (turn.chosen.size() < claim.count && turn.with_room >= claim.count) turn.behind = behind;
  return turn;
}

}  // namespace chronos
