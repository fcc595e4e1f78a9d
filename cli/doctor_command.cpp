#include "cli/doctor_command.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include "cli/uncovered.hpp"
#include "core/doctor/trace_report.hpp"
#include "core/text.hpp"

namespace chronos::cli {
namespace {

Result<UniqueFd> open_output(const std::string& path) {
  if (path.empty()) return UniqueFd(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3));
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666));
  if (fd) return fd;
  return fail(ErrorCode::kInvalid,
              fmt::format("cannot write to {}: {}", chronos::quoted(path), errno_text(errno)),
              "--output names a file for the report");
}

bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t put = retry_eintr([&] { return ::write(fd, text.data(), text.size()); });
    if (put <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(put));
  }
  return true;
}

// As they stand now, though they may have ended.
std::vector<PartitionInfo> partitions_now(Registry& registry, const Scope& scope) {
  std::vector<PartitionInfo> now;
  for (const PartitionInfo& one : scope.partitions) {
    Result<PartitionInfo> found = registry.find(one.handle());
    if (found) now.push_back(std::move(*found));
  }
  return now;
}

void add_processes(const UncoveredProcesses& uncovered, std::vector<doctor::Uncovered>& out) {
  for (const auto& one : uncovered.found()) {
    out.push_back({"process", fmt::format("{} {}", printable(one.program), one.why)});
  }
}

Result<int> run_and_report(DoctorCommand& given, const InheritedSignals& signals) {
  Result<UniqueFd> output = open_output(given.output);
  if (!output) return pass_on(output);
  Result<std::string> shim = usable_shim_path();
  if (!shim) return pass_on(shim);
  Result<TraceDirectory> directory = TraceDirectory::make();
  if (!directory) return pass_on(directory);

  UncoveredProcesses uncovered(*shim);
  doctor::CommandReport report;
  report.command = given.run.command;
  given.run.trace_directory = directory->path();
  if (!given.run.command.empty()) uncovered.judge_command(given.run.command.front());
  given.run.on_look = [&] { uncovered.look(); };
  given.run.on_end = [&](Registry& registry, const Scope& scope) {
    report.partitions = partitions_now(registry, scope);
  };
  Result<int> status = run_command(given.run, signals);
  if (!status) return status;
  report.exit_status = *status;
  Result<Traces> traces = read_traces(directory->path());
  if (traces) {
    report.traces = std::move(*traces);
  } else {
    report.traces.warnings.push_back(traces.error().message);
  }
  add_processes(uncovered, report.uncovered);
  const std::string text =
      given.json ? to_text(doctor::command_json(report)) : doctor::command_text(report);
  if (!write_all(output->get(), text)) {
    print_error_line("chronos doctor: the report cannot be written: " + errno_text(errno));
  }
  return status;
}

}  // namespace

int doctor_command(DoctorCommand& given, const InheritedSignals& signals) {
  Result<int> status = run_and_report(given, signals);
  if (status) return *status;
  cli::report(status.error());
  return kRunFailed;
}

}  // namespace chronos::cli
