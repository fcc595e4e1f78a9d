// What one process did with OpenCL under the shim, as `chronos doctor` asks it to write down: one
// file of counters a process, in the directory that CHRONOS_TRACE names. The process counts in its
// mapping of the file as it goes, so that the counts stand whatever ends it.
//
// The file tells the names of its own rows, so that readers need not know the shim's lists. Readers
// take it as hostile: see read_trace(). Layout: docs/formats.md.
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/result.hpp"

namespace chronos {

inline constexpr std::size_t kMaxTraceCalls = 160;
inline constexpr std::size_t kMaxTraceNotes = 24;

// One entry point.
struct TraceCall {
  char name[56];
  std::atomic<std::uint64_t> admitted, admitted_bytes, largest_bytes;
  std::atomic<std::uint64_t> refused, refused_bytes;
  std::atomic<std::uint64_t> failed;                        // charged, and then the driver failed
  std::atomic<std::uint64_t> unassigned, unassigned_bytes;  // no partition applied
  std::atomic<std::uint64_t> spare;
};
static_assert(sizeof(TraceCall) == 128);

// Something seen that is not covered, or that explains why.
enum class TraceNoteKind : std::uint32_t {
  kNone,
  kExtension,      // a function that may allocate was asked for by name, and is not hooked
  kDevice,         // a device that cannot be told from others, or is refused for another reason
  kShortTable,     // a driver's table ended before entries that are hooked elsewhere
  kReadOnlyTable,  // a driver's table could not be patched
  kImport,         // a call that made objects of memory that is not OpenCL's own
  kEarlier,        // a library that comes before the shim and defines OpenCL's functions
};

struct TraceNote {
  std::atomic<std::uint32_t> state;  // 0 free, 1 being written, 2 there
  std::atomic<std::uint32_t> kind;
  std::atomic<std::uint64_t> count;
  char text[176];
};
static_assert(sizeof(TraceNote) == 192);

struct TraceLayout {
  static constexpr std::uint64_t kMagic = 0x31435254'4e524843;  // "CHRNTRC1"
  static constexpr std::uint32_t kVersion = 1;

  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t call_count;
  std::int32_t pid;
  std::uint32_t spare;
  char shim_version[40];
  char program[192];  // of /proc/self/exe, as far as it fits

  alignas(64) std::atomic<std::uint64_t> layer_opened;  // by how many loaders
  std::atomic<std::uint64_t> layer_calls;               // hooked calls that came in by it first
  std::atomic<std::uint64_t> drivers_patched;
  std::atomic<std::uint64_t> driver_calls;
  std::atomic<std::uint64_t> symbols_opened;  // libraries whose exported names are hooked
  std::atomic<std::uint64_t> symbol_calls;

  alignas(64) std::atomic<std::uint64_t> live_bytes;  // charged and not given back
  std::atomic<std::uint64_t> peak_bytes;
  std::atomic<std::uint64_t> imports;  // objects of memory that is not OpenCL's own
  std::atomic<std::uint64_t> import_bytes;

  alignas(64) TraceCall calls[kMaxTraceCalls];
  TraceNote notes[kMaxTraceNotes];
};

// The directory and the files in it.
inline constexpr char kTraceVariable[] = "CHRONOS_TRACE";
std::string trace_file_name(pid_t pid, std::uint64_t random);  // "trace.<pid>.<16 digits>"

// ---- Reading -----------------------------------------------------------------------------------

struct TracedCall {
  std::string name;
  std::uint64_t admitted = 0, admitted_bytes = 0, largest_bytes = 0;
  std::uint64_t refused = 0, refused_bytes = 0, failed = 0;
  std::uint64_t unassigned = 0, unassigned_bytes = 0;

  bool is_silent() const { return (admitted | refused | failed | unassigned) == 0; }
};

struct TracedNote {
  TraceNoteKind kind = TraceNoteKind::kNone;
  std::uint64_t count = 0;
  std::string text;
};

struct ProcessTrace {
  pid_t pid = 0;
  std::string program, shim_version;
  std::uint64_t layer_opened = 0, layer_calls = 0, drivers_patched = 0, driver_calls = 0;
  std::uint64_t symbols_opened = 0, symbol_calls = 0;
  std::uint64_t live_bytes = 0, peak_bytes = 0;
  std::uint64_t imports = 0, import_bytes = 0;
  std::vector<TracedCall> calls;  // those that did something, in the shim's order
  std::vector<TracedNote> notes;
};

// Errors: kNotFound, kDamaged (it is not what a shim writes), kSystem.
Result<ProcessTrace> read_trace(int directory, const std::string& name);

struct Traces {
  std::vector<ProcessTrace> processes;  // by pid, and by age for one pid
  std::vector<std::string> warnings;    // a line for each file that could not be used
};

// Every trace file of the directory. Errors: kSystem.
Result<Traces> read_traces(const std::string& directory);

// A private directory for traces, taken away with its files at the end.
class TraceDirectory {
 public:
  // In /dev/shm if that can be used, else in the folder for temporary files. Errors: kSystem.
  static Result<TraceDirectory> make();
  TraceDirectory(TraceDirectory&& other) noexcept : path_(std::move(other.path_)) {
    other.path_.clear();
  }
  TraceDirectory(const TraceDirectory&) = delete;
  TraceDirectory& operator=(const TraceDirectory&) = delete;
  ~TraceDirectory();

  const std::string& path() const { return path_; }

 private:
  explicit TraceDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace chronos
