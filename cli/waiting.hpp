// Waiting in line, as `--wait [T]` asks for. One thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/registry.hpp"
#include "core/result.hpp"

namespace chronos::cli {

using Patience = std::optional<std::uint64_t>;  // nanoseconds; none: for ever

// A time, 0, or `forever`. Errors: kInvalid.
Result<Patience> parse_patience(const std::string& text);

// As Registry::create_when_free(). Says on stderr what is waited for; a signal that ends programs
// ends this one, out of line.
Result<PartitionInfo> create_in_line(Registry& registry, const CreateRequest& request,
                                     Patience patience);

}  // namespace chronos::cli
