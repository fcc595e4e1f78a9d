#include "core/acquire.hpp"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <iterator>

#include "core/clock.hpp"
#include "core/inventory.hpp"
#include "core/report.hpp"
#include "core/reservation.hpp"
#include "core/text.hpp"
#include "core/units.hpp"
#include "core/users.hpp"

namespace chronos {
namespace {

class Acquisition {
 public:
  Acquisition(Registry& registry, const AcquireRequest& request, const WaitOptions* wait,
              std::vector<Obstacle>& obstacles)
      : registry_(registry), request_(request), wait_(wait), obstacles_(obstacles) {
    unfit_.resize(request.candidates.size());
    if (wait_ != nullptr && wait_->timeout_ns) give_up_at_ = boot_now() + *wait_->timeout_ns;
  }

  Result<Acquired> run();

 private:
  struct Unfit {
    std::uint64_t until = 0;  // not tried before
    std::string why;
    bool was_known = false, is_hopeless = false;
  };

  std::vector<std::size_t> fit() const;
  Result<std::vector<PartitionInfo>> hold(const std::vector<std::size_t>& indices);
  bool give_back_unfit(std::vector<PartitionInfo>& held);
  Result<void> await_fitness();
  Result<void> pause();
  void find_obstacles();
  Error refusal();
  std::size_t index_of(const PartitionInfo& partition) const;
  // Whether there are enough of which somebody says what is asked for, or may.
  bool may_be_fit() const {
    const auto hopeless = std::count_if(unfit_.begin(), unfit_.end(),
                                        [](const Unfit& one) { return one.is_hopeless; });
    return unfit_.size() - static_cast<std::size_t>(hopeless) >= request_.count;
  }
  bool time_is_up() const {
    return wait_ == nullptr || (give_up_at_ && boot_now() >= *give_up_at_);
  }

  Registry& registry_;
  const AcquireRequest& request_;
  const WaitOptions* wait_;
  std::vector<Obstacle>& obstacles_;
  std::optional<std::uint64_t> give_up_at_;
  std::vector<Unfit> unfit_;  // of each candidate
  // What the policy says to those that are left when what it allows is not fit.
  std::string forbidden_;
};

std::vector<std::size_t> Acquisition::fit() const {
  std::vector<std::size_t> indices;
  const std::uint64_t now = boot_now();
  for (std::size_t i = 0; i < unfit_.size(); ++i) {
    if (unfit_[i].until <= now) indices.push_back(i);
  }
  return indices;
}

std::size_t Acquisition::index_of(const PartitionInfo& partition) const {
  const auto& all = request_.candidates;
  return static_cast<std::size_t>(
      std::find_if(all.begin(), all.end(),
                   [&](const Device& device) { return device.key == partition.device_key; }) -
      all.begin());
}

Result<std::vector<PartitionInfo>> Acquisition::hold(const std::vector<std::size_t>& indices) {
  ReserveRequest request;
  for (const std::size_t i : indices) request.candidates.push_back(request_.candidates[i]);
  request.count = request_.count;
  request.memory.fraction = 1;
  request.duration_ns = request_.duration_ns;
  request.name = request_.name;
  request.held = true;
  request.choice = Choice::kInOrder;
  if (wait_ == nullptr) return registry_.reserve(request);
  WaitOptions options = *wait_;
  const std::uint64_t now = boot_now();
  auto at_most = [&](std::uint64_t until) {
    const std::uint64_t left = until > now ? until - now : 0;
    options.timeout_ns = std::min(options.timeout_ns.value_or(left), left);
  };
  if (give_up_at_) at_most(*give_up_at_);
  // What was not fit may be by then, and the line knows only of those it was joined for.
  for (const Unfit& one : unfit_) {
    if (one.until > now) at_most(one.until);
  }
  auto waiting = Reservation::join(registry_, std::move(request), options);
  if (!waiting) return pass_on(waiting);
  return waiting->wait();
}

// Whether all that is held is fit; else what is not, and with it the rest, is given back: whoever
// held on to a part while waiting for more could wait for somebody who does the same. Of the others
// it is only noted that nobody says of them what is asked for, so that a source which hangs is not
// asked for each of them.
bool Acquisition::give_back_unfit(std::vector<PartitionInfo>& held) {
  if (!request_.health.any()) return true;
  std::vector<bool> is_held(unfit_.size());
  for (const PartitionInfo& one : held) is_held[index_of(one)] = true;
  const GpuReport report = look_at_gpus(request_.candidates);
  bool all_fit = true;
  for (std::size_t i = 0; i < unfit_.size(); ++i) {
    const GpuFacts& gpu = report.of_device[i];
    const bool known = is_known(gpu, request_.health);
    // What was known once will be again; what nobody ever said, nobody will.
    unfit_[i].was_known = unfit_[i].was_known || known;
    unfit_[i].is_hopeless = !unfit_[i].was_known;
    if (!is_held[i] && !unfit_[i].is_hopeless) continue;
    std::string why = unhealthy(gpu, request_.health);
    if (why.empty()) continue;
    if (!known && !report.warnings.empty()) why += " (" + report.warnings.front() + ")";
    unfit_[i].until = boot_now() + request_.look_again_ns;
    unfit_[i].why = std::move(why);
    all_fit = all_fit && !is_held[i];
  }
  if (all_fit) return true;
  for (const PartitionInfo& one : held) (void)registry_.release(one.handle());
  held.clear();
  return false;
}

// Until the first that was not fit may be tried again.
Result<void> Acquisition::pause() {
  std::uint64_t until = UINT64_MAX;
  const std::uint64_t start = boot_now();
  for (const Unfit& one : unfit_) {
    if (one.until > start) until = std::min(until, one.until);
  }
  if (until == UINT64_MAX) return {};
  until = std::min(until, give_up_at_.value_or(until));
  for (;;) {
    const std::uint64_t now = boot_now();
    if (now >= until) return {};
    const std::uint64_t ms = std::min<std::uint64_t>((until - now) / 1'000'000 + 1, 60'000);
    pollfd cancel{wait_->cancel_fd, POLLIN, 0};
    if (::poll(&cancel, 1, static_cast<int>(ms)) > 0) {
      return fail(ErrorCode::kCancelled, "gave up waiting");
    }
  }
}

// Then all of them are tried: what the policy allows may have changed, too.
Result<void> Acquisition::await_fitness() {
  if (request_.on_unfit) {
    std::string each;
    for (std::size_t i = 0; i < unfit_.size(); ++i) {
      if (unfit_[i].until == 0) continue;
      each += fmt::format("{}device {} {}", each.empty() ? "" : "; ", request_.candidates[i].index,
                          unfit_[i].why);
    }
    request_.on_unfit(each);
  }
  auto paused = pause();
  if (!forbidden_.empty()) {
    for (Unfit& one : unfit_) one.until = 0;
  }
  return paused;
}

void Acquisition::find_obstacles() {
  obstacles_.clear();
  auto partitions = registry_.list();
  for (std::size_t i = 0; i < request_.candidates.size(); ++i) {
    const Device& device = request_.candidates[i];
    bool is_held = false;
    for (const PartitionInfo& one : partitions ? *partitions : std::vector<PartitionInfo>()) {
      if (one.device_key != device.key) continue;
      is_held = true;
      const bool active = one.state == PartitionState::kActive;
      const std::string owner = user_name(one.owner);
      obstacles_.push_back(
          {device.index,
           active ? fmt::format("held by {} until {} ({})", owner, utc_text(one.expires_at), one.id)
                  : fmt::format("still in use by {} ({} has ended)", owner, one.id),
           one});
    }
    if (!is_held && !unfit_[i].why.empty()) obstacles_.push_back({device.index, unfit_[i].why, {}});
  }
}

Error Acquisition::refusal() {
  find_obstacles();
  std::string hint;
  for (const Obstacle& one : obstacles_) {
    hint += fmt::format("{}device {}: {}", hint.empty() ? "" : "; ", one.device, one.reason);
  }
  if (!forbidden_.empty()) hint += (hint.empty() ? "" : "; ") + forbidden_;
  if (hint.empty()) hint = "others wait in line for them";
  if (wait_ == nullptr && may_be_fit() && !request_.wait_hint.empty())
    hint += "; " + request_.wait_hint;
  if (!may_be_fit()) {
    hint += "; waiting would not help";
  } else if (wait_ != nullptr && wait_->timeout_ns) {
    hint = fmt::format("waited {}; {}", format_duration(*wait_->timeout_ns), hint);
  }
  return {ErrorCode::kNoCapacity,
          fmt::format("Not enough free devices: {} asked for, of {}", request_.count,
                      request_.candidates.size()),
          hint};
}

Result<Acquired> Acquisition::run() {
  for (;;) {
    const std::vector<std::size_t> indices = fit();
    bool forbidden = false;
    if (indices.size() >= request_.count) {
      auto held = hold(indices);
      if (held && give_back_unfit(*held)) {
        Acquired acquired;
        for (const PartitionInfo& one : *held) {
          acquired.devices.push_back(request_.candidates[index_of(one)]);
        }
        acquired.partitions = std::move(*held);
        return acquired;
      }
      if (held && !may_be_fit()) return tl::unexpected<Error>(refusal());
      if (held) continue;
      const Error& error = held.error();
      // Where others of the candidates are only not fit, what the policy forbids among the rest
      // is no last word.
      forbidden = error.code == ErrorCode::kPermission && indices.size() < unfit_.size();
      if (forbidden) forbidden_ = error.message;
      if (!forbidden && error.code != ErrorCode::kNoCapacity) return pass_on(held);
    }
    if (time_is_up()) return tl::unexpected<Error>(refusal());
    if (indices.size() >= request_.count && !forbidden) continue;
    auto paused = await_fitness();
    if (!paused) return pass_on(paused);
  }
}

// Whether fewer than are asked for have as much memory in all as is to be free: waiting would be
// for nothing. OpenCL may say less than there is, so the vendor has the last word.
std::optional<Error> too_small(const AcquireRequest& request, std::vector<Obstacle>& obstacles) {
  const std::uint64_t least = request.health.min_free_bytes.value_or(0);
  std::vector<Device> small;
  std::copy_if(request.candidates.begin(), request.candidates.end(), std::back_inserter(small),
               [&](const Device& device) { return device.total_bytes < least; });
  if (request.candidates.size() - small.size() >= request.count) return std::nullopt;
  const GpuReport report = look_at_gpus(small);
  std::string each;
  for (std::size_t i = 0; i < small.size(); ++i) {
    const std::uint64_t total =
        std::max(report.of_device[i].total_bytes.value_or(0), small[i].total_bytes);
    if (total >= least) continue;
    obstacles.push_back({small[i].index, fmt::format("has {} in all", format_bytes(total)), {}});
    each += fmt::format("{}device {}: {}", each.empty() ? "" : "; ", small[i].index,
                        obstacles.back().reason);
  }
  if (request.candidates.size() - obstacles.size() >= request.count) return std::nullopt;
  return Error{ErrorCode::kNoCapacity,
               fmt::format("Not enough devices with {}: {} asked for, of {}", format_bytes(least),
                           request.count, request.candidates.size()),
               each + "; waiting would not help"};
}

}  // namespace

Result<Acquired> acquire(Registry& registry, const AcquireRequest& request, const WaitOptions* wait,
                         std::vector<Obstacle>* obstacles) {
  std::vector<Obstacle> mine;
  std::vector<Obstacle>& found = obstacles == nullptr ? mine : *obstacles;
  found.clear();
  if (request.count == 0 || request.candidates.size() < request.count) {
    return fail(ErrorCode::kNoCapacity,
                fmt::format("Not enough free devices: {} asked for, of {}", request.count,
                            request.candidates.size()),
                "`chronos stats` lists the devices there are");
  }
  if (auto error = too_small(request, found)) return tl::unexpected<Error>(std::move(*error));
  found.clear();
  return Acquisition(registry, request, wait, found).run();
}

Result<std::vector<std::pair<std::string, std::string>>> variables_for(const Registry& registry,
                                                                       const Acquired& acquired,
                                                                       CudaNames names) {
  auto inventory = load_inventory(registry.state());
  if (!inventory) return pass_on(inventory);
  const std::vector<Device>& all = inventory->devices;
  std::vector<std::size_t> chosen;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const bool taken = std::any_of(acquired.devices.begin(), acquired.devices.end(),
                                   [&](const Device& device) { return device.key == all[i].key; });
    if (taken) chosen.push_back(i);
  }
  return vendor_variables(look_at_gpus(all).of_device, chosen, names);
}

}  // namespace chronos
