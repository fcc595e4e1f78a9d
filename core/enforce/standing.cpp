#include "core/enforce/standing.hpp"

#include <fmt/format.h>
#include <link.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "core/enforce/files.hpp"
#include "core/enforce/places.hpp"
#include "core/enforce/preload_text.hpp"
#include "core/enforce/sealed.hpp"
#include "core/text.hpp"

namespace chronos::enforce {
namespace {

constexpr std::size_t kMostText = 1 << 20, kMostLibrary = 64 << 20;

bool is_loaded_here() {
  bool found = false;
  ::dl_iterate_phdr(
      [](dl_phdr_info* object, std::size_t, void* out) {
        if (object->dlpi_name == nullptr || std::strcmp(object->dlpi_name, kEntry) != 0) return 0;
        *static_cast<bool*>(out) = true;
        return 1;
      },
      &found);
  return found;
}

bool a_loader_reads_layers() {
  for (const char* path :
       {"/usr/lib/x86_64-linux-gnu/libOpenCL.so.1", "/usr/lib/aarch64-linux-gnu/libOpenCL.so.1",
        "/usr/lib64/libOpenCL.so.1", "/usr/lib/libOpenCL.so.1", "/usr/local/lib/libOpenCL.so.1"}) {
    std::string bytes;
    if (read_small_file(path, bytes, kMostLibrary) && bytes.find(kLayerFolder) != bytes.npos) {
      return true;
    }
  }
  return false;
}

// Programs of another kind than this library's cannot load it, and ld.so says so each time.
void note_other_programs(Standing& standing) {
  for (const char* path :
       {"/lib/ld-linux.so.2", "/lib/ld-linux-armhf.so.3", "/libx32/ld-linux-x32.so.2"}) {
    if (::access(path, F_OK) != 0) continue;
    standing.notes.push_back(
        fmt::format("this machine can run programs of another architecture ({}): they are not "
                    "reached, and each prints `wrong ELF class: ignored`",
                    path));
  }
}

void look_at_library(Standing& standing) {
  auto file = read_file(kLibrary, kMostLibrary);
  if (!file) {
    standing.has_library = true;
    standing.problems.push_back(file.error().message);
    return;
  }
  if (!*file) return;
  standing.has_library = true;
  const Seal seal = read_seal((*file)->bytes);
  standing.is_whole = seal.is_whole;
  standing.library_version = escaped(seal.version, 64);
  auto ours = require_roots_own(kEntry);
  if (!ours) standing.problems.push_back(ours.error().message);
}

}  // namespace

const char* to_string(State state) {
  switch (state) {
    case State::kOff:
      return "off";
    case State::kOn:
      return "on";
    case State::kPartly:
      return "partly";
    case State::kBroken:
      break;
  }
  return "broken";
}

void judge(Standing& standing, std::string_view version) {
  std::vector<std::string>& problems = standing.problems;
  if (!standing.is_named) {
    standing.state = problems.empty() ? State::kOff : State::kBroken;
    if (!standing.has_library && !standing.has_layer_file) return;
    standing.state = State::kPartly;
    problems.push_back(
        fmt::format("{} does not name the library: what is left of it reaches few "
                    "programs or none",
                    kPreloadFile));
    return;
  }
  standing.state = problems.empty() ? State::kOn : State::kBroken;
  if (!standing.has_library) {
    standing.state = State::kBroken;
    problems.push_back(
        fmt::format("{} is missing: programs start without it, and ld.so says so", kLibrary));
    return;
  }
  if (!standing.is_whole) {
    standing.state = State::kBroken;
    problems.push_back(fmt::format("{} is damaged: programs may start without it", kLibrary));
    return;
  }
  if (!standing.reached_this) {
    standing.state = State::kBroken;
    problems.push_back(fmt::format(
        "{} names the library, and yet this very program started without it", kPreloadFile));
    return;
  }
  auto is_partly = [&](std::string why) {
    if (standing.state == State::kOn) standing.state = State::kPartly;
    problems.push_back(std::move(why));
  };
  if (standing.library_version != version) {
    is_partly(
        fmt::format("the library is of version {}, this is {}", standing.library_version, version));
  }
  if (!standing.has_layer_file) is_partly(fmt::format("{} is missing", kLayerFile));
}

Standing look(std::string_view version) {
  Standing standing;
  auto preload = read_file(kPreloadFile, kMostText);
  if (!preload) {
    standing.problems.push_back(preload.error().message);
  } else if (*preload) {
    standing.is_named = names_entry((*preload)->bytes, kEntry);
  }
  look_at_library(standing);
  standing.has_layer_file = ::access(kLayerFile, F_OK) == 0;
  standing.loader_reads_layers = a_loader_reads_layers();
  standing.reached_this = is_loaded_here();
  if (standing.is_named) note_other_programs(standing);
  judge(standing, version);
  return standing;
}

}  // namespace chronos::enforce
