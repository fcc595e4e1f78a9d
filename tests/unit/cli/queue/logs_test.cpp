// Logs of bounded size, and the pipe that leads into them.
#include <fcntl.h>
#include <rapidcheck.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "catch.hpp"
#include "cli/queue/log_pump.hpp"
#include "cli/queue/rotated_log.hpp"

using namespace chronos;
using namespace chronos::queue;

namespace {

struct LogFolder {
  LogFolder() {
    char path[] = "/dev/shm/chronos-logs-XXXXXX";
    name = ::mkdtemp(path);
  }
  ~LogFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(name, ignored);
  }
  LogFolder(const LogFolder&) = delete;
  LogFolder& operator=(const LogFolder&) = delete;

  std::string log() const { return name + "/a.log"; }
  RotatedLog open(const LogLimits& limits) const {
    const int fd = ::open(log().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    return {log(), UniqueFd(fd), limits};
  }
  // Oldest first.
  std::vector<std::string> contents() const {
    std::vector<std::string> all;
    for (unsigned number = 50; number-- > 0;) {
      std::ifstream file(rotated_name(log(), number));
      if (!file) continue;
      std::ostringstream text;
      text << file.rdbuf();
      all.push_back(text.str());
    }
    return all;
  }

  std::string name;
};

std::string joined(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) all += text;
  return all;
}

}  // namespace

TEST_CASE("a log keeps the end of what was written, in files of bounded size", "[queue]") {
  CHECK(rc::check([] {
    const LogFolder folder;
    LogLimits limits;
    limits.bytes = *rc::gen::inRange<std::uint64_t>(1, 60);
    limits.keep = *rc::gen::inRange(0U, 5U);
    RotatedLog log = folder.open(limits);
    std::string all;
    const auto parts = *rc::gen::container<std::vector<std::string>>(
        rc::gen::container<std::string>(rc::gen::element('a', 'b', '\n')));
    for (const std::string& part : parts) {
      log.write(part);
      all += part;
    }
    const std::vector<std::string> files = folder.contents();
    const std::string kept = joined(files);
    RC_ASSERT(all.ends_with(kept));
    RC_ASSERT(files.size() <= limits.keep + 1);
    for (const std::string& file : files) RC_ASSERT(file.size() <= limits.bytes);
    if (files.size() <= limits.keep) RC_ASSERT(kept == all);
    RC_ASSERT(log.written_bytes() == all.size());
    RC_ASSERT(log.lost_bytes() == 0U);
  }));
}

TEST_CASE("a log is not torn within a line that fits into it", "[queue]") {
  CHECK(rc::check([] {
    const LogFolder folder;
    LogLimits limits;
    limits.bytes = 40;
    limits.keep = 49;
    RotatedLog log = folder.open(limits);
    const auto lengths =
        *rc::gen::container<std::vector<std::size_t>>(30, rc::gen::inRange<std::size_t>(0, 39));
    for (const std::size_t length : lengths) log.write(std::string(length, 'x') + "\n");
    for (const std::string& file : folder.contents()) RC_ASSERT(file.ends_with('\n'));
  }));
}

TEST_CASE("two who write to one log lose nothing by rotating it", "[queue]") {
  const LogFolder folder;
  LogLimits limits;
  limits.bytes = 100;
  limits.keep = 49;
  RotatedLog one = folder.open(limits), other = folder.open(limits);
  std::size_t written = 0;
  for (int round = 0; round < 100; ++round) {
    RotatedLog& log = round % 3 == 0 ? one : other;
    const std::string line = std::to_string(round) + " of one hundred lines\n";
    log.write(line);
    written += line.size();
  }
  const std::string kept = joined(folder.contents());
  CHECK(kept.size() == written);
  for (int round = 0; round < 100; ++round) {
    CHECK(kept.find(std::to_string(round) + " of one") != kept.npos);
  }
}

TEST_CASE("what the disk does not take is counted, and the log says so", "[queue]") {
  const LogFolder folder;
  RotatedLog log = folder.open({1000, 1});
  log.write("first\n");
  // No new one can be made: the log cannot be rotated.
  std::filesystem::create_directory(folder.log() + ".new");
  log.write(std::string(2000, 'x'));
  CHECK(log.lost_bytes() == 2000U);
  CHECK(folder.contents() == std::vector<std::string>{"first\n"});
  log.write("second\n");
  const std::string said = joined(folder.contents());
  CHECK(said.starts_with("first\nchronos: 2000 bytes of output are missing here: "));
  CHECK(said.ends_with("\nsecond\n"));
  std::filesystem::remove(folder.log() + ".new");
  log.write(std::string(995, 'y') + "\n");
  CHECK(folder.contents() == std::vector<std::string>{said, std::string(995, 'y') + "\n"});
  CHECK(log.lost_bytes() == 2000U);
}

TEST_CASE("what was printed until the end is in the log", "[queue]") {
  const LogFolder folder;
  auto pump = LogPump::start(folder.open({0, 0}));
  REQUIRE(pump);
  const int kept = ::dup(pump->fd());
  std::string all;
  for (int line = 0; line < 20000; ++line) {
    const std::string text = "line " + std::to_string(line) + "\n";
    REQUIRE(::write(kept, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    all += text;
  }
  const RotatedLog& log = pump->finish();  // although somebody could write on
  CHECK(log.written_bytes() == all.size());
  CHECK(folder.contents() == std::vector<std::string>{all});
  pump->finish();
  ::close(kept);
}
