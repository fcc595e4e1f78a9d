// The few lines that the shim may write on the standard error of somebody's program.
#pragma once

#include <string_view>

namespace chronos::shim {

// What a line is about. Each is said once per process, whatever else happens.
enum class Topic { kRefusal, kEnded, kUnusable, kCoverage, kCount };

// Whether a line on `topic` is still to be said; true once per process, unless CHRONOS_LOG is
// "error" or "off". Any thread.
bool first_time(Topic topic);

// Writes "chronos: <text>\n" in one write, without allocating or touching stdio.
void say(std::string_view text);

}  // namespace chronos::shim
