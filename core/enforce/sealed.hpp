// A shared library that may be cut off anywhere without harm.
//
// ld.so maps what a library's program headers say without a look at the file's size: of a library
// that was truncated a page is missing, and every program that preloads it dies of SIGBUS. If the
// headers themselves are the last thing in the file, then whatever is cut off takes them along, and
// ld.so, which must read them first, says "cannot read file data", ignores the library and goes on.
//
// Pure functions; any thread.
#pragma once

#include <string>
#include <string_view>

#include "core/result.hpp"

namespace chronos::enforce {

// `library`, the bytes of an ELF file of this machine's kind, with its program headers at the end,
// and before them a line that says `version` and a checksum. Errors: kDamaged.
Result<std::string> seal(std::string_view library, std::string_view version);

struct Seal {
  bool is_whole = false;  // made by seal(), and not a byte is different since
  std::string version;
};
Seal read_seal(std::string_view file);

}  // namespace chronos::enforce
