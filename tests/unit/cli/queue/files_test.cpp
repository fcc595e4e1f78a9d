// The queue's files beside its database: attempts, logs, the runner's log.
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "catch.hpp"
#include "cli/queue/attempt_file.hpp"
#include "cli/queue/job_log.hpp"
#include "cli/queue/prepare.hpp"
#include "cli/queue/runner_log.hpp"

using namespace chronos;
using namespace chronos::queue;

namespace {

struct Folder {
  Folder() {
    char path[] = "/dev/shm/chronos-files-XXXXXX";
    name = ::mkdtemp(path);
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(name, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string operator/(const std::string& file) const { return name + "/" + file; }
  std::string name;
};

std::string content(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

}  // namespace

TEST_CASE("an attempt is held by its process, not by that process's children", "[queue]") {
  Folder folder;
  const std::string path = folder / "1.1";
  int told[2], end[2];
  REQUIRE(::pipe(told) == 0);
  REQUIRE(::pipe(end) == 0);
  const pid_t supervisor = ::fork();
  if (supervisor == 0) {
    auto file = AttemptFile::take(path);
    // The job's program: it lives on when the supervisor is gone.
    const pid_t program = ::fork();
    if (program == 0) {
      char byte = 0;
      ::close(end[1]);
      [[maybe_unused]] ssize_t got = ::read(end[0], &byte, 1);
      ::_exit(0);
    }
    const char good = file ? 'y' : 'n';
    [[maybe_unused]] ssize_t written = ::write(told[1], &good, 1);
    ::pause();
  }
  char good = 0;
  REQUIRE(::read(told[0], &good, 1) == 1);
  CHECK(good == 'y');
  CHECK(holder_of(path) == supervisor);
  CHECK(AttemptFile::take(path).error().code == ErrorCode::kInUse);
  ::kill(supervisor, SIGKILL);
  ::waitpid(supervisor, nullptr, 0);
  CHECK(!holder_of(path));
  CHECK(AttemptFile::take(path));
  for (int fd : {told[0], told[1], end[0], end[1]}) ::close(fd);
}

TEST_CASE("an attempt's last word is found, and nothing where none was said", "[queue]") {
  Folder folder;
  const std::string path = folder / "1.1";
  CHECK(!left_behind(path));
  auto file = AttemptFile::take(path);
  REQUIRE(file);
  CHECK(!left_behind(path));
  file->leave({JobState::kFailed, 7, std::string(5000, 'x')});
  auto found = left_behind(path);
  REQUIRE(found);
  CHECK(found->state == JobState::kFailed);
  CHECK(found->exit_status == 7);
  CHECK(found->reason.size() == 1024);
  std::ofstream(path) << "{\"state\": \"garbage\"";
  CHECK(!left_behind(path));
  file->remove();
  CHECK(!left_behind(path));
}

TEST_CASE("no two logs are one, and facts are replaced as a whole", "[queue]") {
  Folder folder;
  auto first = JobLog::make(folder / "a/b", "same"), second = JobLog::make(folder / "a/b", "same");
  REQUIRE(first);
  REQUIRE(second);
  CHECK(first->path() != second->path());
  REQUIRE(first->write_facts(Json{{"a", 1}}));
  REQUIRE(first->write_facts(Json{{"a", 2}}));
  const std::string stem = first->path().substr(0, first->path().size() - 4);
  CHECK(content(stem + ".json") == "{\n  \"a\": 2\n}\n");
  CHECK(std::distance(std::filesystem::directory_iterator(folder / "a/b"), {}) == 3);
  std::ofstream(folder / "file") << "x";
  auto failed = JobLog::make(folder / "file/logs", "n");
  REQUIRE(!failed);
  CHECK(failed.error().message.find("cannot make the log folder '" + (folder / "file/logs'")) == 0);
}

TEST_CASE("the runner's log is rotated", "[queue]") {
  Folder folder;
  RunnerLog log(folder / "runner.log", false, 100);
  for (int line = 0; line < 20; ++line) log.write("line " + std::to_string(line) + "\nand more");
  CHECK(content(folder / "runner.log").find("line 19\\nand more\n") != std::string::npos);
  CHECK(std::filesystem::exists(folder / "runner.log.5"));
  CHECK(!std::filesystem::exists(folder / "runner.log.6"));
  for (const auto& file : std::filesystem::directory_iterator(folder.name)) {
    CHECK(std::filesystem::file_size(file) <= 100);
  }
}

TEST_CASE("a job's environment is that of its queueing, its own, and its devices'", "[queue]") {
  Job job;
  job.id = 5;
  job.devices = "1,2";
  job.name = "n";
  JobSpec spec;
  spec.shell = "echo";
  spec.directory = "/";
  spec.env = {{"A", "own"}, {"CUDA_VISIBLE_DEVICES", "7"}};
  auto command = prepare_command(job, spec, {"A=theirs", "AB=stays", "PATH=/bin"});
  REQUIRE(command);
  auto has = [&](const std::string& entry) {
    return std::count(command->environment.begin(), command->environment.end(), entry) == 1;
  };
  CHECK(has("A=own"));
  CHECK(has("AB=stays"));
  CHECK(has("CUDA_VISIBLE_DEVICES=1,2"));
  CHECK(has("CHRONOS_JOB_ID=5"));
  CHECK(command->arguments.back() == "echo");
  spec.directory = "/nowhere";
  CHECK(!prepare_command(job, spec, {}));
}
