#include "shim/trace.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <mutex>
#include <new>
#include <string>

#include "core/posix.hpp"
#include "core/state_dir.hpp"

namespace chronos::shim::trace {

constinit bool detail::wanted = false;
constinit thread_local Call detail::current = Call::kCount;

namespace {

constexpr std::size_t kCalls = static_cast<std::size_t>(Call::kCount) + 1;
static_assert(kCalls <= kMaxTraceCalls);

// The last row is for what no entry point of the lists asked for.
constexpr char kNames[kCalls][48] = {
#define CHRONOS_ENTRY(name, ...) #name,
#include "shim/entry_points.def"
#define CHRONOS_EXTENSION(name, ...) #name,
#include "shim/extensions.def"
    "other"};

// Copied, because a program may change its environment. Never freed.
constinit const char* directory = nullptr;
constinit std::atomic<TraceLayout*> file{nullptr};
constinit std::atomic<bool> failed{false};
std::mutex making;
// A forked child has what its parent had opened.
constinit std::array<std::atomic<std::uint64_t>, 3> opened{};  // by DoorKind

template <std::size_t N>
void copy_text(char (&field)[N], std::string_view text) {
  text = text.substr(0, N - 1);
  std::copy(text.begin(), text.end(), field);
  field[text.size()] = '\0';
}

std::uint64_t random_word() {
  std::uint64_t word = 0;
  while (::getrandom(&word, sizeof word, 0) != static_cast<ssize_t>(sizeof word)) {
  }
  return word;
}

// Nobody but us may have put the directory there, or what is in it.
UniqueFd make_file() {
  UniqueFd folder(::open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat st {};
  if (!folder || ::fstat(folder.get(), &st) != 0 || st.st_uid != ::geteuid() ||
      (st.st_mode & 0022) != 0) {
    return {};
  }
  const std::string name = trace_file_name(::getpid(), random_word());
  UniqueFd fd(::openat(folder.get(), name.c_str(),
                       O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR | O_CLOEXEC, 0600));
  // All of its space now: a full disk must not be a SIGBUS later.
  if (fd && ::posix_fallocate(fd.get(), 0, sizeof(TraceLayout)) != 0) {
    ::unlinkat(folder.get(), name.c_str(), 0);
    return {};
  }
  return fd;
}

void tell_opened(TraceLayout& trace) {
  trace.layer_opened = opened[static_cast<std::size_t>(DoorKind::kLayer)].load();
  trace.drivers_patched = opened[static_cast<std::size_t>(DoorKind::kDriver)].load();
  trace.symbols_opened = opened[static_cast<std::size_t>(DoorKind::kSymbol)].load();
}

TraceLayout* make() {
  UniqueFd fd = make_file();
  if (!fd) return nullptr;
  void* at = ::mmap(nullptr, sizeof(TraceLayout), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (at == MAP_FAILED) return nullptr;
  auto* made = static_cast<TraceLayout*>(at);
  made->version = TraceLayout::kVersion;
  made->call_count = kCalls;
  made->pid = ::getpid();
  copy_text(made->shim_version, CHRONOS_VERSION);
  char program[sizeof made->program];
  const ssize_t length = ::readlink("/proc/self/exe", program, sizeof program);
  if (length > 0) copy_text(made->program, {program, static_cast<std::size_t>(length)});
  for (std::size_t i = 0; i < kCalls; ++i) copy_text(made->calls[i].name, kNames[i]);
  tell_opened(*made);
  std::atomic_ref(made->magic).store(TraceLayout::kMagic, std::memory_order_release);
  return made;
}

// This process's file, made at its first event; nullptr where it cannot be made.
TraceLayout* open_file() {
  if (!on()) return nullptr;
  if (TraceLayout* known = file.load(std::memory_order_acquire)) return known;
  if (failed.load()) return nullptr;
  std::lock_guard lock(making);
  if (TraceLayout* known = file.load()) return known;
  TraceLayout* made = failed.load() ? nullptr : make();
  if (made == nullptr) failed.store(true);
  file.store(made, std::memory_order_release);
  return made;
}

TraceCall& row_of(TraceLayout& trace) {
  return trace.calls[static_cast<std::size_t>(detail::current)];
}

void raise(std::atomic<std::uint64_t>& most, std::uint64_t value) {
  std::uint64_t now = most.load();
  while (now < value && !most.compare_exchange_weak(now, value)) {
  }
}

void add_live(TraceLayout& trace, std::uint64_t size) {
  raise(trace.peak_bytes, trace.live_bytes.fetch_add(size) + size);
}

}  // namespace

void begin() {
  const char* named = trusted_env(kTraceVariable);
  if (named == nullptr || *named != '/') return;
  directory = ::strdup(named);
  if (directory == nullptr) return;
  ::pthread_atfork([] { making.lock(); }, [] { making.unlock(); }, forget_in_child);
  detail::wanted = true;
}

void door_opened(DoorKind door) {
  opened[static_cast<std::size_t>(door)].fetch_add(1);
  if (TraceLayout* trace = open_file()) tell_opened(*trace);
}

bool any_door_opened() {
  return std::any_of(opened.begin(), opened.end(),
                     [](const auto& count) { return count.load() != 0; });
}

void called(DoorKind door, Call) {
  if (TraceLayout* trace = open_file()) {
    (door == DoorKind::kLayer    ? trace->layer_calls
     : door == DoorKind::kDriver ? trace->driver_calls
                                 : trace->symbol_calls)
        .fetch_add(1);
  }
}

void admitted(std::uint64_t size) {
  TraceLayout* trace = open_file();
  if (trace == nullptr) return;
  TraceCall& row = row_of(*trace);
  row.admitted.fetch_add(1);
  row.admitted_bytes.fetch_add(size);
  raise(row.largest_bytes, size);
  add_live(*trace, size);
}

void corrected(std::uint64_t before, std::uint64_t now) {
  TraceLayout* trace = open_file();
  if (trace == nullptr) return;
  TraceCall& row = row_of(*trace);
  row.admitted_bytes.fetch_add(now - before);  // wraps around to the difference
  raise(row.largest_bytes, now);
  if (now > before) {
    add_live(*trace, now - before);
  } else {
    trace->live_bytes.fetch_sub(before - now);
  }
}

void given_back(std::uint64_t size) {
  if (TraceLayout* trace = open_file()) trace->live_bytes.fetch_sub(size);
}

void refused(std::uint64_t size) {
  TraceLayout* trace = open_file();
  if (trace == nullptr) return;
  row_of(*trace).refused.fetch_add(1);
  row_of(*trace).refused_bytes.fetch_add(size);
}

void undone(std::uint64_t size, bool by_driver) {
  TraceLayout* trace = open_file();
  if (trace == nullptr) return;
  TraceCall& row = row_of(*trace);
  row.admitted.fetch_sub(1);
  row.admitted_bytes.fetch_sub(size);
  if (by_driver) row.failed.fetch_add(1);
}

void unassigned(std::uint64_t size) {
  TraceLayout* trace = open_file();
  if (trace == nullptr) return;
  row_of(*trace).unassigned.fetch_add(1);
  row_of(*trace).unassigned_bytes.fetch_add(size);
}

void imported(std::uint64_t size) {
  TraceLayout* trace = open_file();
  if (trace == nullptr) return;
  trace->imports.fetch_add(1);
  trace->import_bytes.fetch_add(size);
  note(TraceNoteKind::kImport, kNames[static_cast<std::size_t>(detail::current)]);
}

void note(TraceNoteKind kind, std::string_view text) {
  TraceLayout* trace = open_file();
  if (trace == nullptr) return;
  text = text.substr(0, sizeof(TraceNote::text) - 1);
  for (TraceNote& note : trace->notes) {
    std::uint32_t state = 0;
    if (note.state.compare_exchange_strong(state, 1)) {
      copy_text(note.text, text);
      note.kind = static_cast<std::uint32_t>(kind);
      note.count = 1;
      note.state.store(2, std::memory_order_release);
      return;
    }
    // One that is being written at this moment may be the same: then it stands there twice.
    if (state == 2 && note.kind == static_cast<std::uint32_t>(kind) && text == note.text) {
      note.count.fetch_add(1);
      return;
    }
  }
}

void asked_for(const char* name) {
  const std::string_view asked = name;
  auto has = [&](std::string_view part) { return asked.find(part) != asked.npos; };
  if (!asked.starts_with("cl")) return;
  const bool may_allocate =
      (has("Alloc") || has("Import") || has("Map") || asked.starts_with("clCreate")) &&
      !has("Info") && !has("CommandQueue") && !has("Semaphore") && !has("Event") &&
      !has("Kernel") && !has("CommandBuffer") && !has("Unmap");
  if (may_allocate) note(TraceNoteKind::kExtension, asked);
}

void forget_in_child() {
  // A thread that does not exist here may have held it.
  new (&making) std::mutex;
  file.store(nullptr);
  failed.store(false);
}

}  // namespace chronos::shim::trace
