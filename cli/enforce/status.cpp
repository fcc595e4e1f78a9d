#include "cli/enforce/status.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include "core/enforce/places.hpp"
#include "core/policy.hpp"
#include "core/state_dir.hpp"

namespace chronos::cli {

using namespace chronos::enforce;

std::vector<std::string> policy_notes() {
  std::vector<std::string> notes;
  const UserPolicy rules = Policy::load().for_user(0);
  if (rules.unassigned.value != Unassigned::kDeny) {
    notes.emplace_back(
        "users without a partition are not limited: unassigned = \"deny\" in "
        "/etc/chronos/config.toml refuses them");
  }
  if (::access(StateDir::kSystemDir, F_OK) != 0) {
    notes.emplace_back(
        "partitions are kept in /dev/shm: `chronos setup` makes a directory of "
        "their own");
  }
  return notes;
}

std::string status_text(const Standing& standing) {
  std::string out = fmt::format("Enforcement: {}\n", to_string(standing.state));
  if (standing.is_named) out += "  For: every program of every user, root too, that starts now\n";
  if (standing.has_library) {
    out += fmt::format("  Library: {}, version {}\n", kLibrary,
                       standing.library_version.empty() ? "unknown" : standing.library_version);
  }
  if (standing.has_layer_file) {
    out += fmt::format("  Layer: {}{}\n", kLayerFile,
                       standing.loader_reads_layers ? "" : " (the loader here does not read it)");
  }
  for (const std::string& problem : standing.problems) out += "  Problem: " + problem + "\n";
  if (!standing.problems.empty()) {
    out += standing.is_named ? "  Remedy: `chronos enforce on` again, or `chronos enforce off`\n"
                             : "  Remedy: `chronos enforce on`, or `chronos enforce off`\n";
  }
  std::vector<std::string> notes = standing.notes;
  if (standing.is_named) {
    for (std::string& note : policy_notes()) notes.push_back(std::move(note));
  }
  for (const std::string& note : notes) out += "  Note: " + note + "\n";
  return out;
}

Json status_json(const Standing& standing) {
  Json json = json_answer();
  json["state"] = to_string(standing.state);
  json["healthy"] = standing.state == State::kOn;
  json["version"] = CHRONOS_VERSION;
  json["preload_file"] = kPreloadFile;
  json["is_named"] = standing.is_named;
  json["library"] = standing.has_library ? Json(kLibrary) : Json(nullptr);
  json["library_version"] =
      standing.library_version.empty() ? Json(nullptr) : Json(standing.library_version);
  json["layer_file"] = standing.has_layer_file ? Json(kLayerFile) : Json(nullptr);
  json["loader_reads_layer_file"] = standing.loader_reads_layers;
  json["unassigned"] = to_string(Policy::load().for_user(0).unassigned.value);
  json["problems"] = standing.problems;
  json["notes"] = standing.notes;
  return json;
}

}  // namespace chronos::cli
