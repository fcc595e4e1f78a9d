// Many small pieces of work by as many threads as the caller may use, which are gone afterwards.
#pragma once

#include <cstddef>
#include <functional>

namespace chronos {

// Calls `work(first, end)` for consecutive ranges that make up 0 to `count`, in no order, also on
// threads of its own if there are `worth_a_thread` pieces for each: at most four, and no more than
// the processors that the caller may run on. They take none of the process's signals. Where no
// thread can be made, or there are too few pieces, the caller's does it all. What `work` throws
// comes out of here once all have stopped.
void in_parallel(std::size_t count, std::size_t worth_a_thread,
                 const std::function<void(std::size_t first, std::size_t end)>& work);

}  // namespace chronos
