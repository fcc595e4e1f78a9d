// Device memory that programs know by address: shared virtual memory and unified shared memory.
// Any thread.
#pragma once

#include <cstddef>
#include <vector>

#include "shim/gate.hpp"
#include "shim/opencl.hpp"

namespace chronos::shim {

struct KeptPointer {
  std::size_t size = 0;
  Receipt receipt;  // empty if the address is not known: a free of what was never charged
};

void keep_pointer(const void* address, KeptPointer kept);

// Forgets the allocation at `address`. To be called before the driver's own free, because the
// address may be reused after it; the receipt is to be given back after it.
[[nodiscard]] KeptPointer take_pointer(const void* address);

// `free` is called without arguments and answers the driver's status.
template <class Free>
cl_int free_charged(const void* address, Free free) {
  const KeptPointer kept = take_pointer(address);
  const cl_int status = free();
  if (status == CL_SUCCESS) {
    give_back(kept.receipt);
  } else if (kept.receipt.is_charged()) {
    keep_pointer(address, kept);
  }
  return status;
}

// Whether [address, address + size) lies in an allocation that is charged already.
bool is_charged_memory(const void* address, std::size_t size);

// Frees when a command has run: `enqueue` is called as enqueue(cl_event*) and makes the command.
// What `addresses` name is given back when it is complete.
template <class Enqueue>
cl_int free_when_complete(const Table& real, cl_uint count, void* const* addresses, cl_event* event,
                          Enqueue enqueue);

// In a forked child: nothing that was charged is ours.
void forget_pointers_in_child();

namespace detail {

class FreeBatch {
 public:
  FreeBatch(cl_uint count, void* const* addresses);
  FreeBatch(const FreeBatch&) = delete;
  FreeBatch& operator=(const FreeBatch&) = delete;
  ~FreeBatch();

  bool empty() const { return taken_.empty(); }
  void put_back();                                       // the command was not made
  void give_back_at(const Table& real, cl_event event);  // takes over; `event` stays the caller's

 private:
  struct Taken {
    const void* address;
    KeptPointer kept;
  };
  static void CL_CALLBACK on_complete(cl_event event, cl_int status, void* data);
  std::vector<Taken> taken_;
};

}  // namespace detail

template <class Enqueue>
cl_int free_when_complete(const Table& real, cl_uint count, void* const* addresses, cl_event* event,
                          Enqueue enqueue) {
  detail::FreeBatch batch(count, addresses);
  if (batch.empty()) return enqueue(event);
  cl_event own = nullptr;
  cl_int status = enqueue(event != nullptr ? event : &own);
  if (status != CL_SUCCESS) {
    batch.put_back();
    return status;
  }
  batch.give_back_at(real, event != nullptr ? *event : own);
  if (own != nullptr) real.clReleaseEvent(own);
  return status;
}

}  // namespace chronos::shim
