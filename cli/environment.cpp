#include "cli/environment.hpp"

#include <unistd.h>

#include <algorithm>

namespace chronos::cli {
namespace {

bool is_shim(std::string_view path) { return path.substr(path.rfind('/') + 1) == kShimFile; }

std::string merge(std::string_view current, std::string_view shim, std::string_view separators) {
  std::string merged(shim);
  while (!current.empty()) {
    std::size_t end = std::min(current.find_first_of(separators), current.size());
    std::string_view entry = current.substr(0, end);
    if (!entry.empty() && !is_shim(entry)) {
      merged += ':';
      merged += entry;
    }
    current.remove_prefix(std::min(end + 1, current.size()));
  }
  return merged;
}

// "NAME=value" entries. getenv() finds the first of several, so does get().
class Variables {
 public:
  explicit Variables(std::vector<std::string> entries) : entries_(std::move(entries)) {}

  std::string_view get(std::string_view name) const {
    for (const std::string& entry : entries_) {
      if (names(entry, name)) return std::string_view(entry).substr(name.size() + 1);
    }
    return {};
  }

  void unset(std::string_view name) {
    std::erase_if(entries_, [&](const std::string& entry) { return names(entry, name); });
  }

  void set(std::string_view name, std::string_view value) {
    std::string entry = std::string(name) + "=" + std::string(value);
    unset(name);
    entries_.push_back(std::move(entry));
  }

  std::vector<std::string> take() { return std::move(entries_); }

 private:
  static bool names(std::string_view entry, std::string_view name) {
    return entry.size() > name.size() && entry[name.size()] == '=' &&
           entry.substr(0, name.size()) == name;
  }

  std::vector<std::string> entries_;
};

}  // namespace

std::string merge_preload(std::string_view current, std::string_view shim) {
  return merge(current, shim, ": \t\n");
}

std::string merge_layers(std::string_view current, std::string_view shim) {
  return merge(current, shim, ":");
}

std::vector<std::string> shim_environment(const std::vector<std::string>& environment,
                                          const ShimEnvironment& settings) {
  Variables variables(environment);
  variables.set("LD_PRELOAD", merge_preload(variables.get("LD_PRELOAD"), settings.shim));
  variables.set("OPENCL_LAYERS", merge_layers(variables.get("OPENCL_LAYERS"), settings.shim));
  if (settings.partitions) {
    variables.set("CHRONOS_PARTITION", *settings.partitions);
  } else {
    variables.unset("CHRONOS_PARTITION");
  }
  for (const std::string& entry : settings.variables) {
    const std::string_view text = entry;
    variables.set(text.substr(0, text.find('=')), text.substr(text.find('=') + 1));
  }
  if (!settings.trace.empty()) variables.set("CHRONOS_TRACE", settings.trace);
  if (!settings.state_dir.empty()) variables.set("CHRONOS_STATE_DIR", settings.state_dir);
  return variables.take();
}

std::vector<std::string> own_environment() {
  std::vector<std::string> entries;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    entries.emplace_back(*entry);
  }
  return entries;
}

}  // namespace chronos::cli
