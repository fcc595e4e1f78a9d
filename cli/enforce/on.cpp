#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/enforce/record.hpp"
#include "cli/enforce/steps.hpp"
#include "cli/enforce/trial.hpp"
#include "core/enforce/files.hpp"
#include "core/enforce/places.hpp"
#include "core/enforce/preload_text.hpp"
#include "core/enforce/sealed.hpp"
#include "core/text.hpp"

namespace chronos::cli {
namespace {

using namespace chronos::enforce;

constexpr std::size_t kMostLibrary = 64 << 20;

Result<std::string> sealed_library(const std::string& shim, const std::string& version) {
  auto ours = require_roots_own(shim);
  if (!ours) return pass_on(ours);
  auto file = read_file(shim.c_str(), kMostLibrary);
  if (!file) return pass_on(file);
  if (!*file)
    return fail(ErrorCode::kNotFound, quoted(shim) + " is missing", "install Chronos again");
  auto sealed = seal((*file)->bytes, version);
  if (!sealed) {
    return fail(sealed.error().code,
                fmt::format("{} cannot be used: {}", quoted(shim), sealed.error().message),
                sealed.error().hint);
  }
  return sealed;
}

// The link through which ld.so finds the library, in one step.
Result<void> make_link() {
  char target[64];
  const ssize_t length = ::readlink(kLink, target, sizeof target);
  if (length >= 0 && std::string_view(target, static_cast<std::size_t>(length)) == kLinkTarget) {
    return {};
  }
  const std::string draft = std::string(kLink) + ".new";
  ::unlink(draft.c_str());
  if (::symlink(kLinkTarget, draft.c_str()) != 0) return cannot("make", kLink);
  if (::rename(draft.c_str(), kLink) == 0) return {};
  tl::unexpected<Error> error = cannot("make", kLink);
  ::unlink(draft.c_str());
  return error;
}

Result<void> make_folders() {
  for (const char* folder : {kFolder, kLibraryFolder, kStageFolder}) {
    auto made = make_folder(folder);
    if (!made) return made;
    auto ours = require_roots_own(folder);
    if (!ours) return ours;
  }
  return make_link();
}

// The library where nobody uses it yet, and every program of the trial starts with it.
Result<void> try_library(const std::string& bytes, const std::string& preload_text,
                         std::vector<std::string>& remarks) {
  auto staged = replace_file(kStage, (std::string(kStage) + ".new").c_str(), {bytes, 0644, 0, 0});
  if (!staged) return staged;
  auto tried = try_by_variable(kStage);
  if (!tried) return tried;
  auto rehearsed = try_by_file(with_entry(preload_text, kStage), kStage);
  if (!rehearsed) return pass_on(rehearsed);
  if (!*rehearsed) {
    remarks.push_back(
        "no mount namespace can be made here: set-uid programs were not tried beforehand");
  }
  return {};
}

// A loader that has a folder of layers finds the library there, whatever the environment says.
void write_layer_file(std::vector<std::string>& remarks) {
  const bool had_parent = ::access("/etc/OpenCL", F_OK) == 0;
  if (!had_parent) ::mkdir("/etc/OpenCL", 0755);
  auto made = make_folder(kLayerFolder);
  if (made) made = replace_file(kLayerFile, kLayerDraft, {std::string(kEntry) + "\n", 0644, 0, 0});
  if (!made) remarks.push_back(made.error().message + " (programs are reached without it)");
}

void remove_stage() {
  ::unlink(kStage);
  ::unlink((std::string(kStage) + ".new").c_str());
  ::rmdir(kStageFolder);
}

Result<FileText> preload_file() {
  auto text = read_file(kPreloadFile, kMostPreloadText);
  if (!text) return pass_on(text);
  if (!*text) return FileText{};
  if (((*text)->mode & 0444U) != 0444U) {
    return fail(
        ErrorCode::kSystem,
        fmt::format("{} is not readable by all, so that programs would ignore it", kPreloadFile),
        fmt::format("chmod a+r {}", kPreloadFile));
  }
  return **text;
}

bool is_library_the_same(const std::string& bytes) {
  auto there = read_file(kLibrary, kMostLibrary);
  return there && *there && (*there)->bytes == bytes;
}

struct Before {
  std::optional<FileText> preload, library;
};

// As it was, as far as that can be done.
void put_back(const Before& before) {
  if (before.preload) {
    (void)replace_file(kPreloadFile, kPreloadDraft, *before.preload);
  } else {
    (void)remove_file(kPreloadFile);
  }
  if (before.library) {
    (void)replace_file(kLibrary, (std::string(kLibrary) + ".new").c_str(), *before.library);
  } else {
    (void)switch_off();
  }
}

Result<void> change(const Before& before, const FileText& preload, const std::string& bytes) {
  const bool was_named = before.preload && names_entry(before.preload->bytes, kEntry);
  if (!was_named) {
    auto kept = keep_record(before.preload);
    if (!kept) return kept;
  }
  auto installed =
      replace_file(kLibrary, (std::string(kLibrary) + ".new").c_str(), {bytes, 0644, 0, 0});
  if (!installed) return installed;
  if (!was_named) {
    FileText next = preload;
    next.bytes = with_entry(preload.bytes, kEntry);
    auto named = replace_file(kPreloadFile, kPreloadDraft, next);
    if (!named) return named;
  }
  return try_as_it_is(kLibrary);
}

Result<EnforceReport> change_or_put_back(const std::string& shim, const std::string& version) {
  EnforceReport report;
  auto bytes = sealed_library(shim, version);
  if (!bytes) return pass_on(bytes);
  auto preload = preload_file();
  if (!preload) return pass_on(preload);
  auto folders = make_folders();
  if (!folders) return pass_on(folders);
  auto before_preload = read_file(kPreloadFile, kMostPreloadText);
  if (!before_preload) return pass_on(before_preload);
  auto before_library = read_file(kLibrary, kMostLibrary);
  if (!before_library) return pass_on(before_library);
  const Before before{*before_preload, *before_library};
  const bool was_named = names_entry(preload->bytes, kEntry);
  report.was_so = was_named && is_library_the_same(*bytes) && ::access(kLayerFile, F_OK) == 0;

  auto tried = try_library(*bytes, without_entry(preload->bytes, kEntry), report.remarks);
  if (!tried) return pass_on(tried);
  auto changed = change(before, *preload, *bytes);
  if (!changed) {
    put_back(before);
    return pass_on(changed);
  }
  write_layer_file(report.remarks);
  return report;
}

}  // namespace

Result<EnforceReport> switch_on(const std::string& shim, const std::string& version) {
  auto report = change_or_put_back(shim, version);
  remove_stage();
  // What was made for a library that did not come.
  if (!report && ::access(kLibrary, F_OK) != 0) (void)switch_off();
  return report;
}

}  // namespace chronos::cli
