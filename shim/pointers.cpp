#include "shim/pointers.hpp"

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "shim/once.hpp"

namespace chronos::shim {
namespace {

struct Pointers {
  std::mutex mutex;
  std::map<std::uintptr_t, KeptPointer> by_address;
};

// Never destroyed, and made anew in a forked child.
constinit std::atomic<Pointers*> all_pointers{nullptr};
Pointers& pointers() { return made_once(all_pointers); }

std::uintptr_t number_of(const void* address) { return reinterpret_cast<std::uintptr_t>(address); }

}  // namespace

void keep_pointer(const void* address, KeptPointer kept) {
  Pointers& all = pointers();
  std::lock_guard lock(all.mutex);
  all.by_address[number_of(address)] = kept;
}

KeptPointer take_pointer(const void* address) {
  Pointers& all = pointers();
  std::lock_guard lock(all.mutex);
  auto node = all.by_address.extract(number_of(address));
  return node ? node.mapped() : KeptPointer{};
}

bool is_charged_memory(const void* address, std::size_t size) {
  Pointers& all = pointers();
  std::lock_guard lock(all.mutex);
  auto after = all.by_address.upper_bound(number_of(address));
  if (after == all.by_address.begin()) return false;
  const auto& [start, kept] = *std::prev(after);
  const std::uintptr_t offset = number_of(address) - start;
  return offset <= kept.size && size <= kept.size - offset;
}

void forget_pointers_in_child() { all_pointers.store(new Pointers); }

namespace detail {

FreeBatch::FreeBatch(cl_uint count, void* const* addresses) {
  if (addresses == nullptr) return;
  for (cl_uint i = 0; i < count; ++i) {
    const KeptPointer kept = take_pointer(addresses[i]);
    if (kept.receipt.is_charged()) taken_.push_back({addresses[i], kept});
  }
}

FreeBatch::~FreeBatch() {
  for (const Taken& taken : taken_) give_back(taken.kept.receipt);
}

void FreeBatch::put_back() {
  for (const Taken& taken : taken_) keep_pointer(taken.address, taken.kept);
  taken_.clear();
}

// A command whose wait list failed has not run, and freed nothing.
void CL_CALLBACK FreeBatch::on_complete(cl_event, cl_int status, void* data) {
  std::unique_ptr<FreeBatch> batch(static_cast<FreeBatch*>(data));
  if (status < 0) batch->put_back();
}

void FreeBatch::give_back_at(const Table& real, cl_event event) {
  auto later = std::make_unique<FreeBatch>(0, nullptr);
  later->taken_.swap(taken_);
  if (real.clSetEventCallback != nullptr &&
      real.clSetEventCallback(event, CL_COMPLETE, on_complete, later.get()) == CL_SUCCESS) {
    static_cast<void>(later.release());
    return;
  }
  // Nobody would tell us; `later` gives back.
  if (real.clWaitForEvents == nullptr || real.clWaitForEvents(1, &event) != CL_SUCCESS)
    later->put_back();
}

}  // namespace detail
}  // namespace chronos::shim
