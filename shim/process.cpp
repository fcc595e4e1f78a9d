#include "shim/process.hpp"

#include <pthread.h>
#include <sys/mman.h>

#include <new>

#include "shim/lifetime.hpp"
#include "shim/pointers.hpp"
#include "shim/programs.hpp"
#include "shim/trace.hpp"

namespace chronos::shim {
namespace detail {

constinit std::atomic<std::uint64_t> contexts_version{1};
constinit std::atomic<std::uint64_t> current_epoch{0};

namespace {
constinit std::atomic<std::uint32_t> no_marker{1};  // where the kernel cannot wipe pages
constinit std::atomic<Process*> instance{nullptr};

void in_child() {
  Process* self = instance.load();
  if (self == nullptr) return;
  new (&self->mutex) std::mutex;
  current_epoch.fetch_add(1);
  contexts_version.fetch_add(1);
  self->partitions.after_fork();
  forget_counts_in_child();
  forget_pointers_in_child();
  forget_programs_in_child();
  trace::forget_in_child();
  fork_marker->store(1);
}

void before_fork() {
  if (Process* self = instance.load()) self->mutex.lock();
}
void in_parent() {
  if (Process* self = instance.load()) self->mutex.unlock();
}

std::atomic<std::uint32_t>* make_marker() {
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return &no_marker;
  if (::madvise(page, 4096, MADV_WIPEONFORK) != 0) {
    ::munmap(page, 4096);
    return &no_marker;
  }
  return new (page) std::atomic<std::uint32_t>(1);
}

Process* make() {
  auto* made = new Process;
  fork_marker = make_marker();
  ::pthread_atfork(before_fork, in_parent, in_child);
  instance.store(made);
  return made;
}
}  // namespace

constinit std::atomic<std::uint32_t>* fork_marker = &no_marker;

// Several threads of the child may notice at once: the first one sees to it, the others wait for
// the few instructions that it takes.
void after_unnoticed_fork() {
  std::uint32_t wiped = 0;
  constexpr std::uint32_t kBusy = 2;
  if (fork_marker->compare_exchange_strong(wiped, kBusy)) {
    in_child();
    return;
  }
  while (fork_marker->load() == kBusy) {
  }
}

}  // namespace detail

Process& process() {
  static Process* const self = detail::make();
  return *self;
}

}  // namespace chronos::shim
