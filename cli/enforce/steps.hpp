// `chronos enforce on` and `off`, without what they print. For root; nobody else holds the lock.
//
// What was in /etc/ld.so.preload is kept in /etc/chronos, and is there before anything is changed.
// Killed at any instant, either leaves that file as it was or as it is to be.
#pragma once

#include <string>
#include <vector>

#include "core/result.hpp"

namespace chronos::cli {

// What was done, and what should be known about it.
struct EnforceReport {
  bool was_so = false;  // there was nothing to do
  std::vector<std::string> remarks;
};

// Tries everything first; if programs do not start with it after all, puts everything back.
Result<EnforceReport> switch_on(const std::string& shim, const std::string& version);

// Needs nothing of Chronos but this program.
Result<EnforceReport> switch_off();

}  // namespace chronos::cli
