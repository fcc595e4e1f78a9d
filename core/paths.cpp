#include "core/paths.hpp"

#include <dlfcn.h>
#include <limits.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

namespace chronos {
namespace {

// The file that holds this code: the program itself, or libchronos.so.
std::string own_path() {
  Dl_info info{};
  char resolved[PATH_MAX];
  if (::dladdr(reinterpret_cast<void*>(&own_path), &info) != 0 && info.dli_fname != nullptr &&
      info.dli_fname[0] == '/' && ::realpath(info.dli_fname, resolved) != nullptr) {
    return resolved;
  }
  ssize_t length = ::readlink("/proc/self/exe", resolved, sizeof resolved);
  return length > 0 ? std::string(resolved, static_cast<std::size_t>(length)) : std::string();
}

template <std::size_t N>
std::string find_near(const std::array<const char*, N>& candidates) {
  std::string self = own_path();
  std::size_t slash = self.rfind('/');
  if (slash == std::string::npos) return {};
  std::string folder = self.substr(0, slash);
  for (const char* candidate : candidates) {
    char resolved[PATH_MAX];
    if (::realpath((folder + "/" + candidate).c_str(), resolved) != nullptr) return resolved;
  }
  return {};
}

}  // namespace

// From bin/, lib/, lib/<multiarch>/ (Debian's packages), or one flat folder (a Python wheel).
std::string shim_path() {
  return find_near(std::array{"libchronos_shim.so", "chronos/libchronos_shim.so",
                              "../lib/libchronos_shim.so",
                              "../" CHRONOS_LIBDIR "/libchronos_shim.so",
                              "../lib/" CHRONOS_MULTIARCH "/chronos/libchronos_shim.so"});
}

std::string library_path() {
  return find_near(std::array{"libchronos.so", "libchronos.so.0", "../lib/libchronos.so.0",
                              "../" CHRONOS_LIBDIR "/libchronos.so.0",
                              "../lib/" CHRONOS_MULTIARCH "/libchronos.so.0"});
}

std::string command_path() {
  return find_near(std::array{"chronos", "../bin/chronos", "../../bin/chronos"});
}

std::string runner_path() {
  return find_near(std::array{"chronosd", "../bin/chronosd", "../../bin/chronosd"});
}

std::string probe_path() {
  return find_near(std::array{"chronos-probe", "../libexec/chronos/chronos-probe",
                              "../" CHRONOS_LIBEXECDIR "/chronos/chronos-probe",
                              "../../libexec/chronos/chronos-probe"});
}

}  // namespace chronos
