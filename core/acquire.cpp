#include "core/acquire.hpp"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <ctime>

#include "core/clock.hpp"
#include "core/inventory.hpp"
#include "core/reservation.hpp"
#include "core/text.hpp"
#include "core/units.hpp"
#include "core/users.hpp"

namespace chronos {
namespace {

std::string local_time(std::int64_t seconds) {
  const std::time_t when = seconds;
  std::tm local{};
  if (::localtime_r(&when, &local) == nullptr) return "an unknown time";
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}", local.tm_year + 1900, local.tm_mon + 1,
                     local.tm_mday, local.tm_hour, local.tm_min, local.tm_sec);
}

class Acquisition {
 public:
  Acquisition(Registry& registry, const AcquireRequest& request, const WaitOptions* wait)
      : registry_(registry), request_(request), wait_(wait) {
    unfit_.resize(request.candidates.size());
    if (wait_ != nullptr && wait_->timeout_ns) give_up_at_ = boot_now() + *wait_->timeout_ns;
  }

  Result<Acquired> run();

 private:
  struct Unfit {
    std::uint64_t until = 0;  // not tried before
    std::string why;
  };

  std::vector<std::size_t> fit() const;
  Result<std::vector<PartitionInfo>> hold(const std::vector<std::size_t>& indices);
  bool give_back_unfit(std::vector<PartitionInfo>& held);
  Result<void> pause();
  Error refusal();
  std::size_t index_of(const PartitionInfo& partition) const;
  bool time_is_up() const {
    return wait_ == nullptr || (give_up_at_ && boot_now() >= *give_up_at_);
  }

  Registry& registry_;
  const AcquireRequest& request_;
  const WaitOptions* wait_;
  std::optional<std::uint64_t> give_up_at_;
  std::vector<Unfit> unfit_;  // of each candidate
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
// held on to a part while waiting for more could wait for somebody who does the same.
bool Acquisition::give_back_unfit(std::vector<PartitionInfo>& held) {
  if (!request_.health.any()) return true;
  std::vector<Device> devices;
  for (const PartitionInfo& one : held) devices.push_back(request_.candidates[index_of(one)]);
  const GpuReport report = look_at_gpus(devices);
  bool all_fit = true;
  for (std::size_t i = 0; i < held.size(); ++i) {
    std::string why = unhealthy(report.of_device[i], request_.health);
    if (why.empty()) continue;
    if (!report.warnings.empty()) why += " (" + report.warnings.front() + ")";
    unfit_[index_of(held[i])] = {boot_now() + request_.look_again_ns, std::move(why)};
    all_fit = false;
  }
  if (all_fit) return true;
  for (const PartitionInfo& one : held) (void)registry_.release(one.handle());
  held.clear();
  return false;
}

// Until the first that was not fit may be tried again.
Result<void> Acquisition::pause() {
  std::uint64_t until = give_up_at_.value_or(UINT64_MAX);
  for (const Unfit& one : unfit_) {
    if (one.until != 0) until = std::min(until, one.until);
  }
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

Error Acquisition::refusal() {
  std::string each;
  auto partitions = registry_.list();
  for (std::size_t i = 0; i < request_.candidates.size(); ++i) {
    const Device& device = request_.candidates[i];
    std::string why = unfit_[i].why;
    for (const PartitionInfo& one : partitions ? *partitions : std::vector<PartitionInfo>()) {
      if (one.device_key != device.key) continue;
      why = one.state == PartitionState::kActive
                ? fmt::format("held by {} until {} ({})", user_name(one.owner),
                              local_time(one.expires_at), one.id)
                : fmt::format("still in use by {} ({} has ended)", user_name(one.owner), one.id);
    }
    if (why.empty()) continue;
    each += fmt::format("{}device {}: {}", each.empty() ? "" : "; ", device.index, why);
  }
  std::string hint = each.empty() ? "others wait in line for them" : each;
  if (wait_ == nullptr) hint += "; --wait waits in line";
  if (wait_ != nullptr && wait_->timeout_ns) {
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
      if (!held && held.error().code != ErrorCode::kNoCapacity) return pass_on(held);
      if (!held && time_is_up()) return tl::unexpected<Error>(refusal());
      continue;
    }
    if (time_is_up()) return tl::unexpected<Error>(refusal());
    auto paused = pause();
    if (!paused) return pass_on(paused);
  }
}

}  // namespace

Result<Acquired> acquire(Registry& registry, const AcquireRequest& request,
                         const WaitOptions* wait) {
  if (request.count == 0 || request.candidates.size() < request.count) {
    return fail(ErrorCode::kNoCapacity,
                fmt::format("Not enough free devices: {} asked for, of {}", request.count,
                            request.candidates.size()),
                "`chronos stats` lists the devices there are");
  }
  return Acquisition(registry, request, wait).run();
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
