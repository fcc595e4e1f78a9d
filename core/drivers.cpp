#include "core/drivers.hpp"

#include <dirent.h>
#include <limits.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "core/posix.hpp"
#include "core/state_dir.hpp"
#include "core/text.hpp"

namespace chronos {
namespace {

constexpr char kVendorsFolder[] = "/etc/OpenCL/vendors";
constexpr char kLoader[] = "libOpenCL.so.1";
constexpr char kShim[] = "libchronos_shim.so";
constexpr std::size_t kMaxDrivers = 64;
constexpr std::size_t kMaxIcdFile = 4096;

std::string env(const char* name) {
  const char* value = trusted_env(name);
  return value == nullptr ? std::string() : value;
}

std::string_view base_name(std::string_view path) {
  return path.substr(path.rfind('/') + 1);  // npos + 1 is 0
}

bool ends_in_icd(std::string_view name) { return name.size() > 4 && name.ends_with(".icd"); }

bool is_folder(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

std::string absolute(const std::string& path) {
  char resolved[PATH_MAX];
  return ::realpath(path.c_str(), resolved) != nullptr ? resolved : path;
}

// Collects what identifies the installed drivers; see Drivers::key.
class KeyMaker {
 public:
  void add(std::string_view text) {
    // The size first, so that two texts cannot pass as one.
    std::string size = std::to_string(text.size()) + ":";
    low_ = hash_bytes(text, hash_bytes(size, low_));
    high_ = hash_bytes(text, hash_bytes(size, high_));
  }

  void add_file_state(const std::string& path) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) return add("absent");
    add(std::to_string(info.st_mtim.tv_sec) + "." + std::to_string(info.st_mtim.tv_nsec) + " " +
        std::to_string(info.st_size));
  }

  void add_root() {
    struct stat root {};
    if (::stat("/", &root) != 0) return add("no root");
    add(std::to_string(root.st_dev) + " " + std::to_string(root.st_ino));
  }

  // What drivers are told by the environment about which devices they have.
  void add_environment() {
    if (environment_is_untrusted()) return add("no environment");  // and the probe gets none
    std::vector<std::string_view> settings;
    for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
      std::string_view setting = *entry;
      for (std::string_view name : {"OCL_ICD_VENDORS=", "OCL_ICD_FILENAMES=", "OPENCL_VENDOR_PATH=",
                                    "LD_LIBRARY_PATH=", "POCL_", "RUSTICL_"}) {
        if (setting.starts_with(name)) settings.push_back(setting);
      }
    }
    std::sort(settings.begin(), settings.end());
    for (std::string_view setting : settings) add(setting);
  }

  std::string text() const { return to_hex(low_) + to_hex(high_); }

 private:
  std::uint64_t low_ = kHashSeed, high_ = ~kHashSeed;
};

class Finder {
 public:
  void add_library(const std::string& library, const std::string& icd = {}) {
    if (library.empty() || base_name(library) == kShim) return;
    bool has_path = library.find('/') != library.npos;
    std::string resolved = has_path ? absolute(library) : library;
    key_.add(resolved);
    if (has_path) key_.add_file_state(resolved);
    // A driver that two files name is loaded once, as in the loaders.
    auto same = [&](const Driver& driver) { return driver.library == resolved; };
    if (std::any_of(list_.begin(), list_.end(), same)) return;
    add(Driver{resolved, icd, {}});
  }

  void add_icd_file(const std::string& path) {
    std::string icd = absolute(path), content;
    key_.add(icd);
    key_.add_file_state(icd);
    if (!read_small_file(icd.c_str(), content, kMaxIcdFile)) {
      return add(Driver{{}, icd, "cannot be read: " + errno_text(errno)});
    }
    key_.add(content);
    content.resize(std::min(content.find('\n'), content.size()));
    std::size_t first = content.find_first_not_of(" \t\r");
    std::size_t last = content.find_last_not_of(" \t\r");
    if (first == content.npos) return add(Driver{{}, icd, "names no library"});
    if (content.find('\0') != content.npos) return add(Driver{{}, icd, "is not a text file"});
    add_library(content.substr(first, last - first + 1), icd);
  }

  void add_folder(const std::string& path) {
    key_.add(path);
    std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(path.c_str()), &::closedir);
    if (!folder) {
      if (errno != ENOENT) add(Driver{{}, path, "cannot be read: " + errno_text(errno)});
      return;
    }
    std::vector<std::string> names;
    while (const dirent* entry = ::readdir(folder.get())) {
      if (ends_in_icd(entry->d_name)) names.emplace_back(entry->d_name);
    }
    std::sort(names.begin(), names.end());
    for (const std::string& name : names) {
      std::string file = path + "/";
      file += name;
      add_icd_file(file);
    }
  }

  Drivers finish() {
    Drivers drivers;
    drivers.is_fallback = list_.empty();
    if (drivers.is_fallback) add_library(kLoader);
    key_.add_environment();
    // A container may have the same driver and fewer devices.
    key_.add_root();
    drivers.list = std::move(list_);
    drivers.key = key_.text();
    return drivers;
  }

 private:
  void add(Driver driver) {
    if (list_.size() < kMaxDrivers) list_.push_back(std::move(driver));
  }

  std::vector<Driver> list_;
  KeyMaker key_;
};

}  // namespace

std::string Driver::label() const {
  if (library.empty()) return "driver file " + escaped(icd, 200);
  std::string text = "driver " + escaped(library, 200);
  if (!icd.empty()) text += " (" + escaped(icd, 200) + ")";
  return text;
}

Drivers find_drivers() {
  Finder finder;
  const std::string files = env("OCL_ICD_FILENAMES");
  for (std::size_t at = 0; at < files.size();) {
    std::size_t end = std::min(files.find(':', at), files.size());
    finder.add_library(files.substr(at, end - at));
    at = end + 1;
  }

  std::string folder = env("OPENCL_VENDOR_PATH");
  if (folder.empty()) folder = kVendorsFolder;
  const std::string vendors = env("OCL_ICD_VENDORS");
  if (vendors.empty()) {
    finder.add_folder(folder);
  } else if (is_folder(vendors)) {
    finder.add_folder(vendors);
  } else if (ends_in_icd(vendors)) {
    // ocl-icd looks for a bare name in the usual folder first.
    std::string in_folder = folder + "/" + vendors;
    bool is_bare = vendors.find('/') == vendors.npos;
    finder.add_icd_file(is_bare && ::access(in_folder.c_str(), R_OK) == 0 ? in_folder : vendors);
  } else {
    finder.add_library(vendors);
  }
  return finder.finish();
}

}  // namespace chronos
