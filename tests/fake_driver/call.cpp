#include "tests/fake_driver/call.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include "tests/fake_driver/config.hpp"
#include "tests/fake_driver/driver.hpp"

namespace chronos::fake {
namespace {

bool names(const std::vector<std::string>& list, const char* name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

}  // namespace

CallSite::CallSite(const char* name) {
  const Config* config = driver_config();
  if (config == nullptr) return;
  crash_ = names(config->crash_on, name);
  hang_ = names(config->hang_on, name);
  for (const Delay& delay : config->delays) {
    if (delay.call == name) microseconds_ += delay.microseconds;
  }
  for (const Fault& fault : config->faults) {
    if (fault.call == name) rules_.push_back({fault.after, fault.times, fault.error});
  }
  plain_ = !crash_ && !hang_ && microseconds_ == 0 && rules_.empty();
  if (crash_) std::fprintf(stderr, "fake driver: crashing in %s as configured\n", name);
}

cl_int CallSite::enter_configured() {
  if (crash_) std::abort();
  while (hang_) pause();
  if (microseconds_ != 0) std::this_thread::sleep_for(std::chrono::microseconds(microseconds_));
  const std::uint64_t call = calls_.fetch_add(1, std::memory_order_relaxed);
  for (const Rule& rule : rules_) {
    if (call >= rule.after && call - rule.after < rule.times) return rule.error;
  }
  return CL_SUCCESS;
}

}  // namespace chronos::fake
