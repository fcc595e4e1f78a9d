#include "shim/message.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <string>

#include "core/state_dir.hpp"

namespace chronos::shim {
namespace {

std::array<std::atomic<bool>, static_cast<std::size_t>(Topic::kCount)> said;

bool is_silent() {
  const char* level = trusted_env("CHRONOS_LOG");
  return level != nullptr && (std::strcmp(level, "error") == 0 || std::strcmp(level, "off") == 0);
}

}  // namespace

bool first_time(Topic topic) {
  return !said[static_cast<std::size_t>(topic)].exchange(true) && !is_silent();
}

void say_anew() {
  for (auto& topic : said) topic.store(false);
}

void say(std::string_view text) {
  constexpr std::string_view kPrefix = "chronos: ";
  std::array<char, 1024> line{};
  text = text.substr(0, line.size() - kPrefix.size() - 1);
  char* end = std::copy(kPrefix.begin(), kPrefix.end(), line.data());
  end = std::copy(text.begin(), text.end(), end);
  *end++ = '\n';
  // Nobody to tell if this fails.
  [[maybe_unused]] ssize_t put =
      ::write(STDERR_FILENO, line.data(), static_cast<std::size_t>(end - line.data()));
}

}  // namespace chronos::shim
