// Changes the words of a grant while programs run on it: its limit, its deadline, what drains.
//
// A program reads these words anew for every charge, from a mapping and without a lock. So each is
// changed by one compare-and-swap of the mapped word: a reader sees the old value or the new one,
// and so does whoever comes after a writer that was killed. docs/formats.md says more.
//
// Who may write is the kernel's to say: the file is opened for writing, and never created.
// Threads: one at a time. Processes: the caller holds the registry's lock.
#pragma once

#include <boost/interprocess/mapped_region.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/grant.hpp"
#include "core/partition_files.hpp"
#include "core/result.hpp"

namespace chronos {

class GrantWriter {
 public:
  // Errors: as open_grant().
  static Result<GrantWriter> open(const StateDir& state, const FileName& name);

  const Grant& grant() const { return grant_; }       // as it was when it was opened
  const GrantWords& words() const { return words_; }  // as they stand after the last change here

  // From what words() says to `value`; what the caller loads afterwards is no older than that.
  // Errors: kSystem (the file cannot be written, or something else changed the word meanwhile);
  // then nothing has been changed.
  Result<void> set_limit(std::uint64_t value);
  Result<void> set_deadline(std::uint64_t value);
  Result<void> set_draining(std::uint64_t value);

 private:
  GrantWriter(OpenedGrant opened, std::unique_ptr<boost::interprocess::mapped_region> region);
  Result<void> replace(std::size_t offset, std::uint64_t& known, std::uint64_t value);

  UniqueFd fd_;
  Grant grant_;
  GrantWords words_;
  std::unique_ptr<boost::interprocess::mapped_region> region_;
};

}  // namespace chronos
