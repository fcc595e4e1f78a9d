#include "core/trace.hpp"

#include <dirent.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "core/posix.hpp"
#include "core/state_dir.hpp"
#include "core/text.hpp"

namespace chronos {
namespace {

constexpr std::string_view kPrefix = "trace.";
constexpr std::size_t kMaxProcesses = 10'000;  // of one command; a loop of shells has no OpenCL

// `field` is a fixed array that may lack its NUL.
template <std::size_t N>
std::string text_of(const char (&field)[N]) {
  return escaped(std::string_view(field, ::strnlen(field, N)), 2 * N);
}

std::vector<std::string> names_in(int directory) {
  std::vector<std::string> names;
  UniqueFd fd(::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  DIR* folder = fd ? ::fdopendir(fd.get()) : nullptr;
  if (folder == nullptr) return names;
  fd.release();
  while (const dirent* entry = ::readdir(folder)) {
    if (std::string_view(entry->d_name).starts_with(kPrefix)) names.emplace_back(entry->d_name);
  }
  ::closedir(folder);
  return names;
}

TracedCall traced(const TraceCall& call) {
  TracedCall out;
  out.name = text_of(call.name);
  out.admitted = call.admitted;
  out.admitted_bytes = call.admitted_bytes;
  out.largest_bytes = call.largest_bytes;
  out.refused = call.refused;
  out.refused_bytes = call.refused_bytes;
  out.failed = call.failed;
  out.unassigned = call.unassigned;
  out.unassigned_bytes = call.unassigned_bytes;
  return out;
}

}  // namespace

std::string trace_file_name(pid_t pid, std::uint64_t random) {
  return fmt::format("{}{}.{}", kPrefix, pid, to_hex(random));
}

Result<ProcessTrace> read_trace(int directory, const std::string& name) {
  UniqueFd fd(retry_eintr([&] {
    return ::openat(directory, name.c_str(),
                    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  }));
  if (!fd) {
    if (errno == ENOENT) return fail(ErrorCode::kNotFound, "is gone");
    return fail(ErrorCode::kSystem, "cannot be opened: " + errno_text(errno));
  }
  struct stat st {};
  auto layout = std::make_unique<TraceLayout>();
  if (::fstat(fd.get(), &st) != 0 || !S_ISREG(st.st_mode) ||
      st.st_size != static_cast<off_t>(sizeof *layout) ||
      !pread_all(fd.get(), static_cast<void*>(layout.get()), sizeof *layout, 0)) {
    return fail(ErrorCode::kDamaged, "is truncated");
  }
  // A process that was killed while it made the file had not counted anything.
  if (layout->magic == 0) return fail(ErrorCode::kNotFound, "was never begun");
  if (layout->magic != TraceLayout::kMagic || layout->version != TraceLayout::kVersion ||
      layout->call_count > kMaxTraceCalls) {
    return fail(ErrorCode::kDamaged, "is garbled, or another version's");
  }
  ProcessTrace trace;
  trace.pid = layout->pid;
  trace.program = text_of(layout->program);
  trace.shim_version = text_of(layout->shim_version);
  trace.layer_opened = layout->layer_opened;
  trace.layer_calls = layout->layer_calls;
  trace.drivers_patched = layout->drivers_patched;
  trace.driver_calls = layout->driver_calls;
  trace.symbols_opened = layout->symbols_opened;
  trace.symbol_calls = layout->symbol_calls;
  trace.live_bytes = layout->live_bytes;
  trace.peak_bytes = layout->peak_bytes;
  trace.imports = layout->imports;
  trace.import_bytes = layout->import_bytes;
  for (std::size_t i = 0; i < layout->call_count; ++i) {
    TracedCall call = traced(layout->calls[i]);
    if (!call.is_silent()) trace.calls.push_back(std::move(call));
  }
  for (const TraceNote& note : layout->notes) {
    const std::uint32_t kind = note.kind;
    if (note.state != 2 || kind == 0 || kind > static_cast<unsigned>(TraceNoteKind::kEarlier)) {
      continue;
    }
    trace.notes.push_back({static_cast<TraceNoteKind>(kind), note.count, text_of(note.text)});
  }
  return trace;
}

Result<Traces> read_traces(const std::string& directory) {
  UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return fail(ErrorCode::kSystem, "cannot read " + directory + ": " + errno_text(errno));
  std::vector<std::string> names = names_in(fd.get());
  Traces traces;
  if (names.size() > kMaxProcesses) {
    traces.warnings.push_back(fmt::format("{} processes used OpenCL; the report is of {} of them",
                                          names.size(), kMaxProcesses));
    names.resize(kMaxProcesses);
  }
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    auto trace = read_trace(fd.get(), name);
    if (trace) {
      traces.processes.push_back(std::move(*trace));
    } else if (trace.error().code != ErrorCode::kNotFound) {
      traces.warnings.push_back(
          fmt::format("the trace {} {}", escaped(name, 80), trace.error().message));
    }
  }
  std::stable_sort(traces.processes.begin(), traces.processes.end(),
                   [](const ProcessTrace& a, const ProcessTrace& b) { return a.pid < b.pid; });
  return traces;
}

Result<TraceDirectory> TraceDirectory::make() {
  std::vector<std::string> folders = {"/dev/shm"};
  const char* named = trusted_env("TMPDIR");
  if (named != nullptr && *named == '/') folders.emplace_back(named);
  folders.emplace_back("/tmp");
  for (const std::string& folder : folders) {
    std::string path = folder + "/chronos-trace-XXXXXX";
    if (::mkdtemp(path.data()) != nullptr) return TraceDirectory(std::move(path));
  }
  return fail(ErrorCode::kSystem, "cannot make a folder for the trace: " + errno_text(errno),
              "name a folder that you may write to in TMPDIR");
}

TraceDirectory::~TraceDirectory() {
  if (path_.empty()) return;
  UniqueFd fd(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (fd) {
    for (const std::string& name : names_in(fd.get())) ::unlinkat(fd.get(), name.c_str(), 0);
  }
  ::rmdir(path_.c_str());
}

}  // namespace chronos
