#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/enforce/record.hpp"
#include "cli/enforce/steps.hpp"
#include "core/enforce/files.hpp"
#include "core/enforce/places.hpp"
#include "core/enforce/preload_text.hpp"

namespace chronos::cli {
namespace {

using namespace chronos::enforce;

// The file as it was before, if nobody has changed it since; else without our name.
Result<void> restore_preload_file(EnforceReport& report) {
  auto now = read_file(kPreloadFile, kMostPreloadText);
  if (!now) return pass_on(now);
  if (!*now || !names_entry((*now)->bytes, kEntry)) return {};
  report.was_so = false;
  const std::optional<Record> record = read_record();
  if (record) {
    const std::string before = record->before ? record->before->bytes : std::string();
    if ((*now)->bytes == with_entry(before, kEntry)) {
      return record->before ? replace_file(kPreloadFile, kPreloadDraft, *record->before)
                            : remove_file(kPreloadFile);
    }
  }
  FileText rest = **now;
  rest.bytes = without_entry(rest.bytes, kEntry);
  report.remarks.push_back(
      fmt::format("{} was changed by others meanwhile: only the library's name was taken out of it",
                  kPreloadFile));
  return replace_file(kPreloadFile, kPreloadDraft, rest);
}

// Best done, and nothing to fail for: none of it reaches a program any more.
void remove_rest(EnforceReport& report) {
  auto take = [&](const char* path) {
    struct stat st {};
    if (::lstat(path, &st) != 0) return;
    report.was_so = false;
    if (::unlink(path) != 0) {
      report.remarks.push_back(cannot("remove", path).value().message);
    }
  };
  take(kLayerFile);
  take(kLayerDraft);
  if (::rmdir(kLayerFolder) == 0) ::rmdir("/etc/OpenCL");
  take(kLink);
  take((std::string(kLink) + ".new").c_str());
  take(kLibrary);
  take((std::string(kLibrary) + ".new").c_str());
  take(kStage);
  take((std::string(kStage) + ".new").c_str());
  for (const char* folder : {kStageFolder, kLibraryFolder, kFolder}) ::rmdir(folder);
  take(kPreloadDraft);
  take(kRecord);
  take(kRecordDraft);
}

}  // namespace

Result<EnforceReport> switch_off() {
  EnforceReport report;
  report.was_so = true;
  auto restored = restore_preload_file(report);
  if (!restored) return pass_on(restored);
  remove_rest(report);
  return report;
}

}  // namespace chronos::cli
