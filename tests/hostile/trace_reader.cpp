#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>

#include "core/doctor/trace_report.hpp"
#include "core/posix.hpp"
#include "core/trace.hpp"
#include "tests/hostile/readers.hpp"
#include "tests/hostile/scene.hpp"

namespace chronos::test {
namespace {

class TraceReader final : public Reader {
 public:
  const char* name() const override { return "trace"; }
  std::string make(Mutator& mutator) override {
    const std::size_t call = offsetof(TraceLayout, calls), note = offsetof(TraceLayout, notes);
    return mutator.binary(whole(), {{offsetof(TraceLayout, magic), 8},
                                    {offsetof(TraceLayout, version), 4},
                                    {offsetof(TraceLayout, call_count), 4},
                                    {offsetof(TraceLayout, pid), 4},
                                    {offsetof(TraceLayout, program), 192},
                                    {offsetof(TraceLayout, live_bytes), 8},
                                    {call, sizeof(TraceCall::name)},
                                    {call + offsetof(TraceCall, admitted), 8},
                                    {call + offsetof(TraceCall, admitted_bytes), 8},
                                    {note + offsetof(TraceNote, state), 4},
                                    {note + offsetof(TraceNote, kind), 4},
                                    {note + offsetof(TraceNote, text), 176}});
  }
  // The first byte: 1 fills up to the size of the file. Then the bytes before the calls, then parts
  // of the rest: the half page of the file that they go to, then up to 256 bytes.
  std::string file_of(std::string_view input) override {
    if (input.empty()) return {};
    const bool fill = (input.front() & 1) != 0;
    input.remove_prefix(1);
    std::string bytes(input.substr(0, kHead));
    if (!fill || input.size() < kHead) return bytes;
    bytes.resize(sizeof(TraceLayout));
    for (input.remove_prefix(kHead); input.size() > 1;) {
      const std::size_t at = kHead + (static_cast<unsigned char>(input.front()) << 7);
      input.remove_prefix(1);
      const std::size_t length = std::min<std::size_t>(input.size(), kPart);
      if (at + length <= bytes.size()) bytes.replace(at, length, input.substr(0, length));
      input.remove_prefix(length);
    }
    return bytes;
  }
  std::vector<std::string> seeds() override {
    const std::string file = whole();
    const std::string head = "\1" + file.substr(0, kHead);
    const std::size_t note = (offsetof(TraceLayout, notes) - kHead) >> 7;
    return {head, head + '\0' + file.substr(kHead, kPart),
            head + static_cast<char>(note) + file.substr(offsetof(TraceLayout, notes), kPart),
            head + '\0' + file.substr(kHead, kPart) + static_cast<char>(note) +
                file.substr(offsetof(TraceLayout, notes), kPart),
            '\0' + head};
  }
  bool read(std::string_view bytes) override {
    const std::string path = scene().state.path() + "/" + trace_file_name(::getpid(), 7);
    {
      UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
      require(fd && pwrite_all(fd.get(), bytes.data(), bytes.size(), 0), "(nothing: no room)");
    }
    doctor::CommandReport report;
    report.command = {"program"};
    report.traces = must(read_traces(scene().state.path()));
    for (const ProcessTrace& one : report.traces.processes) check(one);
    for (const std::string& line : report.traces.warnings) require_line(line, "a warning");
    const std::string json = doctor::command_json(report).dump();  // throws on bad UTF-8
    require_line(json.substr(0, 4096), "a report with unprintable parts");
    const std::string text = doctor::command_text(report);
    for (const char c : text) {
      require(c == '\n' || (c >= 0x20 && c < 0x7f), "a report with unprintable parts");
    }
    ::unlink(path.c_str());
    return !report.traces.processes.empty();
  }

 private:
  static constexpr std::size_t kHead = offsetof(TraceLayout, calls);
  static constexpr std::size_t kPart = 256;

  static std::string whole() {
    auto layout = std::make_unique<TraceLayout>();
    layout->magic = TraceLayout::kMagic;
    layout->version = TraceLayout::kVersion;
    layout->call_count = 2;
    layout->pid = 4711;
    std::strcpy(layout->program, "/usr/bin/program");
    std::strcpy(layout->shim_version, "1");
    layout->layer_opened = layout->layer_calls = 1;
    layout->peak_bytes = 4096;
    std::strcpy(layout->calls[0].name, "clCreateBuffer");
    layout->calls[0].admitted = layout->calls[0].refused = layout->calls[0].unassigned = 1;
    layout->calls[0].admitted_bytes = 4096;
    layout->notes[0].state = 2;
    layout->notes[0].kind = 5;
    layout->notes[0].count = 1;
    std::strcpy(layout->notes[0].text, "clCreateFromGLBuffer");
    return {reinterpret_cast<const char*>(layout.get()), sizeof *layout};
  }

  static void check(const ProcessTrace& one) {
    require(one.calls.size() <= kMaxTraceCalls && one.notes.size() <= kMaxTraceNotes,
            "more rows than there is room for");
    for (const TracedCall& call : one.calls) require(!call.is_silent(), "a call that did nothing");
    for (const TracedNote& note : one.notes) {
      require(note.kind > TraceNoteKind::kNone && note.kind <= TraceNoteKind::kEarlier,
              "a note of no kind");
    }
  }
};

}  // namespace

Reader* trace_reader() {
  static auto* const reader = new TraceReader;
  return reader;
}

}  // namespace chronos::test
