#include "shim/process.hpp"

#include <pthread.h>
#include <sys/mman.h>

#include <new>

#include "shim/lifetime.hpp"
#include "shim/once.hpp"
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
constinit std::atomic<bool> handlers_installed{false};
// What this thread has locked to fork; another may have made the process known meanwhile.
constinit thread_local Process* locked_to_fork = nullptr;

void start_anew() {
  if (Process* self = instance.load()) {
    new (&self->mutex) std::mutex;
    current_epoch.fetch_add(1);
    contexts_version.fetch_add(1);
    self->partitions.after_fork();
    forget_counts_in_child();
    forget_pointers_in_child();
    forget_programs_in_child();
    trace::forget_in_child();
  }
  fork_marker.load()->store(1);
}

void before_fork() {
  locked_to_fork = instance.load();
  if (locked_to_fork != nullptr) locked_to_fork->mutex.lock();
}
void in_parent() {
  if (locked_to_fork != nullptr) locked_to_fork->mutex.unlock();
  locked_to_fork = nullptr;
}
void in_child() {
  // One that another thread has made since may be half-way through anything.
  if (locked_to_fork == nullptr && instance.load() != nullptr) instance.store(new Process);
  locked_to_fork = nullptr;
  start_anew();
}

// The page is there before anything is charged.
void make_marker() {
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return;
  auto* none = &no_marker;
  if (::madvise(page, 4096, MADV_WIPEONFORK) == 0 &&
      fork_marker.compare_exchange_strong(none, new (page) std::atomic<std::uint32_t>(1))) {
    return;
  }
  ::munmap(page, 4096);
}
}  // namespace

constinit std::atomic<std::atomic<std::uint32_t>*> fork_marker{&no_marker};

// Several threads of the child may notice at once: the first one sees to it, the others wait for
// the few instructions that it takes.
void after_unnoticed_fork() {
  auto* const marker = fork_marker.load();
  std::uint32_t wiped = 0;
  constexpr std::uint32_t kBusy = 2;
  if (marker->compare_exchange_strong(wiped, kBusy)) {
    start_anew();
    return;
  }
  while (marker->load() == kBusy) {
  }
}

}  // namespace detail

void install_fork_handlers() {
  if (detail::handlers_installed.exchange(true)) return;
  ::pthread_atfork(detail::before_fork, detail::in_parent, detail::in_child);
}

Process& process() {
  if (Process* known = detail::instance.load(std::memory_order_acquire)) return *known;
  install_fork_handlers();
  if (detail::fork_marker.load() == &detail::no_marker) detail::make_marker();
  return made_once(detail::instance);
}

}  // namespace chronos::shim
