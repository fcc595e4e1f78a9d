#include "cli/cdi_document.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <string_view>

#include "core/state_dir.hpp"
#include "core/text.hpp"

namespace chronos::cli {
namespace {

// In the container, whatever distribution it is: on everybody's PATH, and where the parts find each
// other.
constexpr char kShim[] = "/usr/local/lib/libchronos_shim.so";
constexpr char kLibrary[] = "/usr/local/lib/libchronos.so";
constexpr char kCommand[] = "/usr/local/bin/chronos";
constexpr char kProbe[] = "/usr/local/libexec/chronos/chronos-probe";
constexpr char kPolicy[] = "/etc/chronos";

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

void add_mount(Json& mounts, const std::string& from, const char* to,
               std::initializer_list<const char*> options) {
  if (from.empty()) return;
  Json mount{{"hostPath", from}, {"containerPath", to}, {"options", Json::array()}};
  for (const char* option : options) mount["options"].push_back(option);
  mounts.push_back(std::move(mount));
}

// As the runtimes' own parsers have it: letters, digits and some others in between.
bool is_label(std::string_view text, bool may_start_with_digit, std::string_view between) {
  if (text.empty()) return false;
  const bool starts = is_letter(text.front()) || (may_start_with_digit && is_digit(text.front()));
  const bool ends = is_letter(text.back()) || is_digit(text.back());
  return starts && ends && std::all_of(text.begin(), text.end(), [&](char c) {
           return is_letter(c) || is_digit(c) || between.find(c) != between.npos;
         });
}

Result<void> check_kind(const std::string& kind) {
  const std::size_t slash = kind.find('/');
  const std::string vendor = kind.substr(0, slash);
  const std::string name = slash == kind.npos ? std::string() : kind.substr(slash + 1);
  const bool good = is_label(vendor, false, "-.") && vendor.size() <= 253 &&
                    is_label(name, false, "-_.") && name.size() <= 63;
  if (good) return {};
  return fail(ErrorCode::kInvalid, fmt::format("{} is no kind of device", chronos::quoted(kind)),
              "it is like vendor.com/class");
}

Result<void> check_edits(const Json& edits) {
  auto refuse = [](std::string why) { return fail(ErrorCode::kInvalid, std::move(why)); };
  for (const Json& setting : edits.value("env", Json::array())) {
    const auto text = setting.get<std::string>();
    if (text.find('=') == text.npos || text.front() == '=' || text.find('\0') != text.npos) {
      return refuse(fmt::format("{} sets no variable", chronos::quoted(text)));
    }
  }
  for (const Json& mount : edits.value("mounts", Json::array())) {
    for (const char* key : {"hostPath", "containerPath"}) {
      const std::string path = mount.value(key, "");
      if (!path.starts_with('/') || path.find('\0') != path.npos) {
        return refuse(fmt::format("{} is no absolute path to mount", chronos::quoted(path)));
      }
    }
  }
  return {};
}

}  // namespace

Json cdi_document(const CdiSources& from) {
  Json common;
  common["env"] = Json::array({std::string("OPENCL_LAYERS=") + kShim});
  if (from.preload) common["env"].push_back(std::string("LD_PRELOAD=") + kShim);
  Json mounts = Json::array();
  const auto program = {"ro", "nosuid", "nodev", "bind"};
  add_mount(mounts, from.shim, kShim, program);
  add_mount(mounts, from.library, kLibrary, program);
  add_mount(mounts, from.command, kCommand, program);
  add_mount(mounts, from.probe, kProbe, program);
  add_mount(mounts, from.policy_folder, kPolicy, {"ro", "nosuid", "nodev", "noexec", "rbind"});
  common["mounts"] = std::move(mounts);

  // A device without edits is none, so the state directory is each device's.
  Json state = Json::array();
  add_mount(state, from.state_dir, StateDir::kSystemDir,
            {"rw", "nosuid", "nodev", "noexec", "rbind"});
  Json devices = Json::array();
  devices.push_back(Json{{"name", kCdiAll}, {"containerEdits", {{"mounts", state}}}});
  bool digits = false;
  for (const std::string& name : from.partitions) {
    digits = digits || is_digit(name.front());
    Json edits;
    edits["env"] = Json::array({"CHRONOS_PARTITION=" + name});
    edits["mounts"] = state;
    devices.push_back(Json{{"name", name}, {"containerEdits", std::move(edits)}});
  }

  Json document;
  // The oldest that has all that is used: older runtimes refuse newer ones.
  document["cdiVersion"] = digits ? "0.5.0" : "0.3.0";
  document["kind"] = kCdiKind;
  document["devices"] = std::move(devices);
  document["containerEdits"] = std::move(common);
  return document;
}

Result<void> check_cdi(const Json& document) {
  auto good = check_kind(document.value("kind", ""));
  if (!good) return good;
  const Json devices = document.value("devices", Json::array());
  if (devices.empty()) return fail(ErrorCode::kInvalid, "it has no device");
  std::vector<std::string> names;
  for (const Json& device : devices) {
    const std::string name = device.value("name", "");
    if (!is_label(name, true, "-_.:")) {
      return fail(ErrorCode::kInvalid,
                  fmt::format("{} is no name of a device", chronos::quoted(name)));
    }
    if (std::find(names.begin(), names.end(), name) != names.end()) {
      return fail(ErrorCode::kInvalid,
                  fmt::format("there are two devices {}", chronos::quoted(name)));
    }
    names.push_back(name);
    const Json edits = device.value("containerEdits", Json::object());
    if (edits.empty()) {
      return fail(ErrorCode::kInvalid,
                  fmt::format("the device {} changes nothing", chronos::quoted(name)));
    }
    good = check_edits(edits);
    if (!good) return good;
  }
  return check_edits(document.value("containerEdits", Json::object()));
}

}  // namespace chronos::cli
