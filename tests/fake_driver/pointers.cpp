#include "tests/fake_driver/pointers.hpp"

#include <sys/mman.h>

#include <cstring>
#include <map>
#include <mutex>
#include <utility>

#include "tests/fake_driver/driver.hpp"
#include "tests/fake_driver/memory.hpp"

namespace chronos::fake {
namespace {

struct Pointers {
  std::mutex mutex;  // guards `by_base`
  std::map<const char*, Allocation> by_base;
};
Pointers& pointers() {
  static auto* const instance = new Pointers;
  return *instance;
}

}  // namespace

void lock_pointers() { pointers().mutex.lock(); }
void unlock_pointers() { pointers().mutex.unlock(); }

void* allocate(Allocation wanted) {
  wanted.generation = driver()->witness.generation();
  if (!count(wanted.counted_on, wanted.size)) return nullptr;
  void* const memory = mmap(nullptr, wanted.size, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    uncount(wanted.counted_on, wanted.size, wanted.generation);
    return nullptr;
  }
  if (driver()->config.back_memory) std::memset(memory, 0, wanted.size);  // makes it resident
  wanted.base = static_cast<char*>(memory);
  retain(wanted.context);
  if (wanted.device != nullptr && wanted.device->parent != nullptr) retain(wanted.device);
  const std::lock_guard<std::mutex> guard(pointers().mutex);
  pointers().by_base.emplace(wanted.base, std::move(wanted));
  return memory;
}

bool free_allocation(Family family, cl_context context, const void* base) {
  Allocation gone;
  {
    const std::lock_guard<std::mutex> guard(pointers().mutex);
    auto& by_base = pointers().by_base;
    const auto found = by_base.find(static_cast<const char*>(base));
    if (found == by_base.end() || found->second.family != family ||
        found->second.context != context) {
      return false;
    }
    gone = std::move(found->second);
    by_base.erase(found);
  }
  munmap(gone.base, gone.size);
  uncount(gone.counted_on, gone.size, gone.generation);
  if (gone.device != nullptr) release(gone.device);
  release(gone.context);
  return true;
}

std::optional<Allocation> find_allocation(Family family, cl_context context, const void* place) {
  const auto* const at = static_cast<const char*>(place);
  const std::lock_guard<std::mutex> guard(pointers().mutex);
  const auto& by_base = pointers().by_base;
  auto after = by_base.upper_bound(at);
  if (after == by_base.begin()) return std::nullopt;
  const Allocation& found = (--after)->second;
  if (found.family != family || found.context != context || at >= found.base + found.size) {
    return std::nullopt;
  }
  return found;
}

bool is_svm(cl_context context, const void* place, std::size_t size) {
  const auto found = find_allocation(Family::kSvm, context, place);
  if (!found) return false;
  const auto offset = static_cast<std::size_t>(static_cast<const char*>(place) - found->base);
  return size <= found->size - offset;
}

}  // namespace chronos::fake
