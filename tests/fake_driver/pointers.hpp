// Memory that programs hold by its address: SVM and Intel's unified shared memory (USM).
//
// Ownership: an allocation holds a reference on its context, as in PoCL. Threads: any. At fork the
// list is locked, so that a child finds it whole.
#pragma once

#include <CL/cl.h>
#include <CL/cl_ext.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace chronos::fake {

enum class Family { kSvm, kUsm };

struct Allocation {
  Family family = Family::kSvm;
  cl_context context = nullptr;
  std::size_t size = 0;
  std::vector<std::uint32_t> counted_on;  // root devices
  cl_unified_shared_memory_type_intel type = CL_MEM_TYPE_UNKNOWN_INTEL;
  cl_device_id device = nullptr;
  cl_mem_alloc_flags_intel flags = 0;
  char* base = nullptr;          // set by allocate(), like what follows
  std::uint32_t generation = 0;  // of the witness, when it was counted
};

// Counts and makes what is `wanted`, aligned to a page. NULL if there is no room.
void* allocate(Allocation wanted);
// Frees the allocation that begins at `base`; false if there is none of this family and context.
bool free_allocation(Family family, cl_context context, const void* base);
// The allocation of the context that `place` points into.
std::optional<Allocation> find_allocation(Family family, cl_context context, const void* place);
// Whether all of [place, place + size) is in one SVM allocation of the context.
bool is_svm(cl_context context, const void* place, std::size_t size);

void lock_pointers();
void unlock_pointers();

}  // namespace chronos::fake
