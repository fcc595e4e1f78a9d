#include "shim/environment.hpp"

#include <dlfcn.h>
#include <limits.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "core/state_dir.hpp"
#include "shim/once.hpp"

namespace chronos::shim {
namespace {

constexpr std::string_view kLayers = "OPENCL_LAYERS=";
constexpr std::string_view kPreload = "LD_PRELOAD=";
constexpr std::string_view kOwnName = "libchronos_shim.so";

char** find_variable(std::string_view prefix) {
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    if (std::strncmp(*entry, prefix.data(), prefix.size()) == 0) return entry;
  }
  return nullptr;
}

// Kept for good: the environment points at it.
char* keep(const std::string& text) { return ::strdup(text.c_str()); }

void set_variable(std::string_view prefix, const std::string& value) {
  char* text = keep(std::string(prefix) + value);
  if (text == nullptr) return;
  if (char** entry = find_variable(prefix)) {
    *entry = text;
    return;
  }
  std::size_t count = 0;
  while (environ != nullptr && environ[count] != nullptr) ++count;
  auto** longer = static_cast<char**>(std::malloc((count + 2) * sizeof(char*)));
  if (longer == nullptr) return;
  for (std::size_t i = 0; i < count; ++i) longer[i] = environ[i];
  longer[count] = text;
  longer[count + 1] = nullptr;
  environ = longer;
}

bool is_own(std::string_view path) {
  return path.substr(path.rfind('/') == path.npos ? 0 : path.rfind('/') + 1) == kOwnName;
}

std::string own_path() {
  Dl_info info{};
  if (::dladdr(reinterpret_cast<void*>(&announce_layer), &info) == 0 || info.dli_fname == nullptr) {
    return {};
  }
  // A look-up in the file system for each folder, in every child: only where it can matter.
  if (info.dli_fname[0] == '/' && is_own(info.dli_fname)) return info.dli_fname;
  char absolute[PATH_MAX];
  return ::realpath(info.dli_fname, absolute) != nullptr ? absolute : "";
}

// `list` without its entries that name us, parted by `separators`.
std::string without_us(std::string_view list, std::string_view separators) {
  std::string rest;
  while (!list.empty()) {
    const std::size_t end = std::min(list.find_first_of(separators), list.size());
    if (end > 0 && !is_own(list.substr(0, end))) {
      if (!rest.empty()) rest += ':';
      rest += list.substr(0, end);
    }
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return rest;
}

// OPENCL_LAYERS as it was announced. Never destroyed; empty if we do not know our own path.
constinit std::atomic<std::string*> all_announced{nullptr};
std::string& announced() { return made_once(all_announced); }

}  // namespace

void announce_layer() {
  const std::string path = own_path();
  if (path.empty()) return;
  char** layers = environment_is_untrusted() ? nullptr : find_variable(kLayers);
  const std::string others = layers == nullptr ? "" : without_us(*layers + kLayers.size(), ":");
  announced() = others.empty() ? path : path + ":" + others;
  layers = find_variable(kLayers);
  if (layers == nullptr || announced() != *layers + kLayers.size()) {
    set_variable(kLayers, announced());
  }

  char** preload = find_variable(kPreload);
  if (preload == nullptr || environment_is_untrusted()) return;
  std::string_view now = *preload + kPreload.size();
  // A relative path means another file to a child in another folder.
  if (now.find(kOwnName) == now.npos || now.find(path) != now.npos) return;
  const std::string rest = without_us(now, ": ");
  set_variable(kPreload, rest.empty() ? path : path + ":" + rest);
}

bool environment_names_us() {
  if (environment_is_untrusted()) return false;
  for (std::string_view prefix : {kLayers, kPreload}) {
    char** variable = find_variable(prefix);
    if (variable != nullptr && std::strstr(*variable, kOwnName.data()) != nullptr) return true;
  }
  return false;
}

void repair_layers() {
  const std::string& whole = announced();
  char** layers = find_variable(kLayers);
  if (layers == nullptr) return;
  const std::string_view now = *layers + kLayers.size();
  // ocl-icd writes a NUL over each ':'.
  if (now.size() < whole.size() && whole.starts_with(now) && whole[now.size()] == ':') {
    set_variable(kLayers, whole);
  }
}

}  // namespace chronos::shim
