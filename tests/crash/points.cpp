#include "tests/crash/points.hpp"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string_view>

#include "tests/crash/control.hpp"

namespace chronos::crash {
namespace {

constexpr const char* kVisitors[] = {
#define CHRONOS_NAMED_POINT(name, visitor) #visitor,
#include "core/crash_points.def"
#undef CHRONOS_NAMED_POINT
};

void count_in(const std::filesystem::path& file, std::map<std::string, int>& places) {
  constexpr std::string_view kMark = "CHRONOS_POINT(";
  std::ifstream in(file);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  for (std::size_t at = text.find(kMark); at != std::string::npos; at = text.find(kMark, at + 1)) {
    const std::size_t begin = at + kMark.size();
    ++places[text.substr(begin, text.find(')', begin) - begin)];
  }
}

}  // namespace

std::string compare_list_with_sources() {
  std::map<std::string, int> places;
  for (const char* folder : {"core", "shim"}) {
    const auto root = std::filesystem::path(CHRONOS_SOURCES) / folder;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
      const auto name = entry.path().filename();
      if (name != "crash_point.hpp" && (name.extension() == ".cpp" || name.extension() == ".hpp")) {
        count_in(entry.path(), places);
      }
    }
  }
  std::string wrong;
  for (std::size_t i = 0; i < kPoints; ++i) {
    const std::string name = name_of(static_cast<Point>(i));
    const int times = places[name];
    if (times != 1) wrong += name + " stands at " + std::to_string(times) + " places\n";
    places.erase(name);
  }
  for (const auto& [name, times] : places) wrong += name + " is not in core/crash_points.def\n";
  return wrong;
}

bool is_visited_here(std::size_t point) {
  const std::string_view visitor = kVisitors[point];
  return visitor == "anyone" || (visitor == "root" && ::geteuid() == 0);
}

}  // namespace chronos::crash
