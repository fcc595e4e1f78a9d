// Tries, in child processes, whether programs start with a library preloaded.
//
// `chronos` has one thread, and forks here.
#pragma once

#include <optional>
#include <string>

#include "core/result.hpp"

namespace chronos::cli {

// Programs that read, that fork and exec, and that are written in C++ or Python, with `library` in
// LD_PRELOAD. Errors: kDamaged, with what went wrong.
Result<void> try_by_variable(const std::string& library);

// The same as the machine is to be: in a mount namespace in which `text` is /etc/ld.so.preload,
// also for a user that is nobody and a program that is set-uid (AT_SECURE). `mapped`: the file that
// must then be in them. The machine itself sees nothing of it. True if it could be tried here;
// false where the kernel allows no such namespace. Errors: kDamaged.
Result<bool> try_by_file(const std::string& text, const std::string& mapped);

// The same on the machine as it is.
Result<void> try_as_it_is(const std::string& mapped);

}  // namespace chronos::cli
