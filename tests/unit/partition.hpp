// A partition to charge, in the state directory of a TempState.
#pragma once

#include <cstdint>
#include <memory>

#include "catch.hpp"
#include "core/attachment.hpp"
#include "core/partition_files.hpp"
#include "core/registry.hpp"

namespace chronos::test {

constexpr std::uint64_t kMiB = 1 << 20;

inline std::unique_ptr<Attachment> partition_of(std::uint64_t bytes) {
  auto registry = Registry::open();
  CreateRequest request;
  request.device.key = "uuid:test";
  request.device.name = "Test GPU";
  request.device.total_bytes = 1 << 30;
  request.memory.bytes = bytes;
  request.duration_ns = 3600 * kNanosPerSecond;
  auto made = registry->create(request);
  REQUIRE(made);
  FileName name{made->owner, {}, FileKind::kGrant};
  REQUIRE(parse_token(made->token, name.token));
  auto attachment = Attachment::attach(registry->state(), *read_grant(registry->state(), name));
  REQUIRE(attachment);
  return std::move(*attachment);
}

}  // namespace chronos::test
