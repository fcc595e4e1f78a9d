#include "core/trace.hpp"

#include <fcntl.h>

#include <cstring>
#include <memory>

#include "core/doctor/trace_report.hpp"
#include "core/posix.hpp"
#include "tests/unit/catch.hpp"
#include "tests/unit/sandbox.hpp"

using namespace chronos;

namespace {

std::unique_ptr<TraceLayout> a_trace() {
  auto trace = std::make_unique<TraceLayout>();
  trace->magic = TraceLayout::kMagic;
  trace->version = TraceLayout::kVersion;
  trace->call_count = 2;
  trace->pid = 42;
  std::strcpy(trace->program, "/usr/bin/app");
  std::strcpy(trace->calls[0].name, "clCreateBuffer");
  std::strcpy(trace->calls[1].name, "clCreateImage");
  trace->calls[0].admitted = 2;
  trace->calls[0].admitted_bytes = 300;
  trace->calls[0].largest_bytes = 200;
  trace->layer_opened = 1;
  trace->drivers_patched = 1;
  trace->peak_bytes = 300;
  return trace;
}

void write_trace(const std::string& path, const TraceLayout& trace, std::size_t size) {
  UniqueFd fd(::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
  REQUIRE(fd);
  REQUIRE(pwrite_all(fd.get(), static_cast<const void*>(&trace), size, 0));
}

}  // namespace

TEST_CASE("a trace is read as it was written", "[trace]") {
  test::TempFolder folder;
  auto trace = a_trace();
  trace->notes[1].kind = static_cast<std::uint32_t>(TraceNoteKind::kExtension);
  trace->notes[1].count = 3;
  std::strcpy(trace->notes[1].text, "clImportMemoryARM");
  trace->notes[1].state = 2;
  trace->notes[0].state = 1;  // its writer was killed
  write_trace(folder / trace_file_name(42, 7), *trace, sizeof *trace);
  auto traces = read_traces(folder.path());
  REQUIRE(traces);
  REQUIRE(traces->processes.size() == 1);
  const ProcessTrace& read = traces->processes[0];
  CHECK(read.pid == 42);
  CHECK(read.program == "/usr/bin/app");
  REQUIRE(read.calls.size() == 1);  // what did nothing is left out
  CHECK(read.calls[0].admitted_bytes == 300);
  REQUIRE(read.notes.size() == 1);
  CHECK(read.notes[0].count == 3);
  CHECK(doctor::uncovered_of(traces->processes)[0].kind == "extension");
}

TEST_CASE("a trace that is no trace is told and left out", "[trace]") {
  test::TempFolder folder;
  auto trace = a_trace();
  write_trace(folder / "trace.1.short", *trace, 100);
  trace->call_count = kMaxTraceCalls + 1;
  write_trace(folder / "trace.2.many", *trace, sizeof *trace);
  trace->call_count = 1;
  trace->version = 9;
  write_trace(folder / "trace.3.version", *trace, sizeof *trace);
  std::memset(static_cast<void*>(trace.get()), 0, sizeof *trace);
  write_trace(folder / "trace.4.unbegun", *trace, sizeof *trace);
  trace = a_trace();
  std::memset(trace->program, 'x', sizeof trace->program);  // no NUL
  std::memset(trace->calls[0].name, '\x1b', sizeof trace->calls[0].name);
  write_trace(folder / "trace.5.wild", *trace, sizeof *trace);
  REQUIRE(::symlink("/etc/passwd", (folder / "trace.6.link").c_str()) == 0);
  folder.write("another", "file");
  auto traces = read_traces(folder.path());
  REQUIRE(traces);
  CHECK(traces->warnings.size() == 4);
  REQUIRE(traces->processes.size() == 1);
  CHECK(traces->processes[0].calls[0].name.find('\x1b') == std::string::npos);
}

TEST_CASE("several processes are added up by call", "[trace]") {
  ProcessTrace one;
  one.calls = {{"clCreateBuffer", 1, 10, 10, 0, 0, 0, 0, 0},
               {"clSVMAlloc", 1, 5, 5, 0, 0, 0, 0, 0}};
  ProcessTrace two;
  two.calls = {{"clCreateBuffer", 2, 70, 60, 1, 99, 3, 4, 5}};
  const auto sums = doctor::add_up({one, two});
  REQUIRE(sums.size() == 2);
  CHECK(sums[0].admitted == 3);
  CHECK(sums[0].admitted_bytes == 80);
  CHECK(sums[0].largest_bytes == 60);
  CHECK(sums[0].refused == 1);
  CHECK(sums[0].refused_bytes == 99);
  CHECK(sums[0].failed == 3);
  CHECK(sums[0].unassigned == 4);
  CHECK(sums[0].unassigned_bytes == 5);
}

TEST_CASE("a trace directory goes with its files", "[trace]") {
  std::string path;
  {
    auto directory = TraceDirectory::make();
    REQUIRE(directory);
    path = directory->path();
    write_trace(path + "/" + trace_file_name(1, 2), *a_trace(), 10);
  }
  CHECK(::access(path.c_str(), F_OK) != 0);
}
