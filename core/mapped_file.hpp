// Maps files that were opened and checked before, through Boost.Interprocess. Any thread.
#pragma once

#include <boost/interprocess/mapped_region.hpp>
#include <cstddef>
#include <memory>

#include "core/result.hpp"

namespace chronos {

// The first `size` bytes of the open file `fd`. Never of a descriptor that is locked: a mapping
// keeps the lock of its open file description alive in forked children. Errors: kSystem.
Result<std::unique_ptr<boost::interprocess::mapped_region>> map_file(
    int fd, boost::interprocess::mode_t mode, std::size_t size);

}  // namespace chronos
