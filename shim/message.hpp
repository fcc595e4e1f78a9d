// The few lines that the shim may write on the standard error of somebody's program.
#pragma once

#include <string_view>

namespace chronos::shim {

// What a line is about. Each is said once per process, or per partition that it goes over to.
enum class Topic { kRefusal, kEnded, kUnusable, kCoverage, kCount };

// Whether a line on `topic` is still to be said; true once, unless CHRONOS_LOG is
// "error" or "off". Any thread.
bool first_time(Topic topic);

// Forgets what has been said: another partition begins.
void say_anew();

// Writes "chronos: <text>\n" in one write, without allocating or touching stdio.
void say(std::string_view text);

}  // namespace chronos::shim
