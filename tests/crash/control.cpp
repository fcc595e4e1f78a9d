#include "tests/crash/control.hpp"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace chronos::crash {
namespace {

constexpr const char* kNames[] = {
#define CHRONOS_NAMED_POINT(name, needs) #name,
#include "core/crash_points.def"
#undef CHRONOS_NAMED_POINT
};

constinit std::atomic<Control*> active{nullptr};
constinit std::atomic<bool> looked_for_file{false};
constinit std::atomic<std::uint32_t> call_point{kAnyPoint};
constinit std::atomic<void (*)()> call{nullptr};

Control* control_from_file() {
  const char* path = ::secure_getenv(kControlVariable);
  const int fd = path == nullptr ? -1 : ::open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return nullptr;
  void* at = ::mmap(nullptr, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  return at == MAP_FAILED ? nullptr : static_cast<Control*>(at);
}

Control* control() {
  if (!looked_for_file.exchange(true)) {
    const int saved = errno;
    if (Control* found = control_from_file()) active.store(found);
    errno = saved;
  }
  return active.load();
}

// To this very thread, so that it takes no step more.
void send(int signal) { ::syscall(SYS_tgkill, ::getpid(), ::syscall(SYS_gettid), signal); }

}  // namespace

const char* name_of(Point point) { return kNames[static_cast<std::size_t>(point)]; }

void activate(Control* control) {
  looked_for_file.store(true);
  active.store(control);
}

void call_at(Point point, void (*what)()) {
  call.store(what);
  call_point.store(static_cast<std::uint32_t>(point));
}

void reach(Point point) {
  auto number = static_cast<std::uint32_t>(point);
  if (call_point.load(std::memory_order_relaxed) == number &&
      call_point.compare_exchange_strong(number, kAnyPoint)) {
    call.load()();
  }
  Control* const here = control();
  if (here == nullptr) return;
  here->visits[static_cast<std::uint32_t>(point)].fetch_add(1);
  here->steps.fetch_add(1);
  const Action action = here->action.load();
  const std::uint32_t wanted = here->point.load();
  if (action == Action::kNothing ||
      (wanted != kAnyPoint && wanted != static_cast<std::uint32_t>(point))) {
    return;
  }
  if (here->countdown.fetch_sub(1) != 1) return;
  here->fired.store(1);
  send(action == Action::kKill ? SIGKILL : SIGSTOP);
}

bool fails(Fault fault) {
  Control* const here = control();
  return here != nullptr && (here->faults.load() & static_cast<std::uint32_t>(fault)) != 0;
}

}  // namespace chronos::crash
