#include "cli/queue/store.hpp"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <set>

#include "catch.hpp"
#include "cli/queue/schema.hpp"
#include "core/posix.hpp"

using namespace chronos;
using namespace chronos::queue;

namespace {

// A queue's folder of its own for each test.
struct Folder {
  Folder() {
    char path[] = "/dev/shm/chronos-queue-XXXXXX";
    name = ::mkdtemp(path);
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(name, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  Place place() const { return *Place::open_at(name); }
  Store store() const { return *Store::open(place()); }
  std::string name;
};

JobSpec shell(const std::string& line) {
  JobSpec spec;
  spec.shell = line;
  spec.directory = "/";
  return spec;
}

JobId add(Store& store, const JobSpec& spec) { return store.add({spec}, "A=1")->front(); }

bool claim(Store& store, JobId id, std::int64_t attempt = 1) {
  return *store.claim({id, attempt, "boot", {123, 0, 456}, "token", "0"});
}

JobState state_of(Store& store, JobId id) { return store.find(id)->state; }

}  // namespace

TEST_CASE("a job that was added is there for the next who opens the queue", "[queue]") {
  Folder folder;
  JobSpec spec = shell("exit 3");
  spec.name = "p1";
  spec.env = {{"A", "b=c"}};
  spec.memory = {0, 5};
  spec.duration_ns = 1'500'000'001;
  spec.devices = {0, 2};
  spec.gpus = 2;
  spec.priority = -3;
  spec.retries = 2;
  spec.on_finish = "true";
  spec.venv = "/v";
  {
    Store store = folder.store();
    CHECK(store.add({spec, shell("two")}, std::string("A=1\0B=2\0", 8)) ==
          std::vector<JobId>{1, 2});
  }
  Store store = folder.store();
  auto jobs = *store.list({});
  REQUIRE(jobs.size() == 2);
  CHECK(jobs[0].command == "exit 3");
  CHECK(jobs[0].memory == "5 B");
  CHECK(jobs[0].priority == -3);
  CHECK(jobs[0].submitted_ms > 0);
  const JobSpec back = *store.spec_of(1);
  CHECK(spec_json(back) == spec_json(spec));
  CHECK(back.duration_ns == spec.duration_ns);
  CHECK(*store.environment_of(1) == std::string("A=1\0B=2\0", 8));
  CHECK(store.find(3).error().code == ErrorCode::kNotFound);
  CHECK(store.spec_of(3).error().code == ErrorCode::kNotFound);
}

TEST_CASE("the queue is its user's alone", "[queue]") {
  Folder folder;
  Store store = folder.store();
  struct stat status {};
  for (const char* file : {"queue.db", "queue.db-wal", "queue.db-shm"}) {
    INFO(file);
    REQUIRE(::stat((folder.name + "/" + file).c_str(), &status) == 0);
    CHECK((status.st_mode & 0777) == 0600);
  }
  ::stat(folder.name.c_str(), &status);
  CHECK((status.st_mode & 0777) == 0700);
}

TEST_CASE("a batch is added as a whole or not at all", "[queue]") {
  Folder folder;
  Store store = folder.store();
  JobSpec bad = shell("b");
  bad.after = {99};
  auto added = store.add({shell("a"), bad}, "");
  REQUIRE(!added);
  CHECK(added.error().code == ErrorCode::kInvalid);
  CHECK(added.error().message == "no job 99 in the queue to wait for");
  CHECK(store.list({})->empty());
}

TEST_CASE("whoever watches the folder is told after a commit, and not for nothing", "[queue]") {
  Folder folder;
  Store store = folder.store();
  UniqueFd watch(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  REQUIRE(::inotify_add_watch(watch.get(), folder.name.c_str(), IN_ATTRIB | IN_ONLYDIR) >= 0);
  char events[4096];
  auto told = [&] { return ::read(watch.get(), events, sizeof events) > 0; };
  add(store, shell("true"));
  CHECK(told());
  REQUIRE(store.cancel(1));
  CHECK(told());
  REQUIRE(store.find(1));
  REQUIRE(store.cancel(1));  // is over already
  CHECK(!told());
  REQUIRE(store.set_paused(true));
  CHECK(told());
}

TEST_CASE("of two supervisors one gets the job", "[queue]") {
  Folder folder;
  Store store = folder.store(), other = folder.store();
  const JobId id = add(store, shell("a"));
  CHECK(claim(store, id));
  CHECK(!claim(other, id));
  CHECK(!claim(other, id, 2));
  CHECK(*store.mark_running(id, 1, "/log"));
  CHECK(!*other.mark_running(id, 1, "/other"));
  CHECK(!*other.mark_running(id, 2, "/other"));
  CHECK(*store.finish(id, 1, {JobState::kFailed, 7, ""}));
  CHECK(!*other.finish(id, 1, {JobState::kDone, 0, ""}));
  CHECK(!*other.lose(id, 1, "gone"));
  const Job job = *store.find(id);
  CHECK(job.state == JobState::kFailed);
  CHECK(job.exit_status == 7);
  CHECK(job.log == "/log");
  CHECK(store.attempts_of(id)->size() == 1);
  CHECK(!claim(store, id, 2));  // it is over
}

TEST_CASE("what was never started goes back into the line under a new attempt", "[queue]") {
  Folder folder;
  Store store = folder.store();
  const JobId id = add(store, shell("a"));
  REQUIRE(claim(store, id));
  CHECK(*store.give_back(id, 1));
  CHECK(state_of(store, id) == JobState::kPending);
  CHECK(!claim(store, id, 1));
  CHECK(claim(store, id, 2));
  CHECK(*store.mark_running(id, 2, ""));
  CHECK(!*store.give_back(id, 2));  // it may have run
}

TEST_CASE("retries are used up, by failures and by losses", "[queue]") {
  Folder folder;
  Store store = folder.store();
  JobSpec spec = shell("a");
  spec.retries = 2;
  const JobId id = add(store, spec);
  REQUIRE(claim(store, id, 1));
  CHECK(*store.finish(id, 1, {JobState::kFailed, 1, ""}));
  CHECK(state_of(store, id) == JobState::kPending);
  CHECK(store.find(id)->reason == "attempt 1 failed");
  REQUIRE(claim(store, id, 2));
  CHECK(*store.lose(id, 2, "gone"));
  CHECK(state_of(store, id) == JobState::kPending);
  REQUIRE(claim(store, id, 3));
  CHECK(*store.finish(id, 3, {JobState::kFailed, 1, ""}));
  CHECK(state_of(store, id) == JobState::kFailed);
  auto attempts = *store.attempts_of(id);
  REQUIRE(attempts.size() == 3);
  CHECK(attempts[1].state == JobState::kLost);
  CHECK(attempts[1].reason == "gone");
  CHECK(!attempts[1].exit_status);
}

TEST_CASE("cancelling reaches a job wherever it is", "[queue]") {
  Folder folder;
  Store store = folder.store();
  const JobId waiting = add(store, shell("a")), running = add(store, shell("b")),
              starting = add(store, shell("c"));
  CHECK(*store.cancel(waiting) == Store::Change::kDone);
  CHECK(state_of(store, waiting) == JobState::kCancelled);
  CHECK(*store.cancel(waiting) == Store::Change::kOver);
  CHECK(!claim(store, waiting));

  REQUIRE(claim(store, running));
  REQUIRE(*store.mark_running(running, 1, ""));
  CHECK(*store.cancel(running) == Store::Change::kAsked);
  CHECK(*store.cancel(running) == Store::Change::kAlready);
  CHECK(*store.finish(running, 1, {JobState::kFailed, 143, ""}));
  CHECK(state_of(store, running) == JobState::kCancelled);

  REQUIRE(claim(store, starting));
  CHECK(*store.cancel(starting) == Store::Change::kAsked);
  CHECK(!*store.mark_running(starting, 1, ""));  // its program is not started any more
  CHECK(*store.give_back(starting, 1));
  CHECK(state_of(store, starting) == JobState::kCancelled);
  CHECK(store.cancel(99).error().code == ErrorCode::kNotFound);
}

TEST_CASE("a job that was cancelled and lost is cancelled, and not tried again", "[queue]") {
  Folder folder;
  Store store = folder.store();
  JobSpec spec = shell("a");
  spec.retries = 5;
  const JobId id = add(store, spec);
  REQUIRE(claim(store, id));
  REQUIRE(*store.mark_running(id, 1, ""));
  REQUIRE(*store.cancel(id) == Store::Change::kAsked);
  CHECK(*store.lose(id, 1, "gone"));
  CHECK(state_of(store, id) == JobState::kCancelled);
}

TEST_CASE("the line is by priority, then first in first out", "[queue]") {
  Folder folder;
  Store store = folder.store();
  JobSpec urgent = shell("u"), idle = shell("i");
  urgent.priority = 5;
  idle.priority = -5;
  store.add({idle, shell("a"), urgent, shell("b"), urgent}, "").value();
  CHECK(*store.hold(4, true) == Store::Change::kDone);
  std::vector<JobId> ids;
  const auto line = *store.line(10);
  for (const auto& one : line) ids.push_back(one.job.id);
  CHECK(ids == std::vector<JobId>{3, 5, 2, 1});
  CHECK(store.line(2)->size() == 2);
  CHECK(!claim(store, 4));
  CHECK(*store.hold(4, false) == Store::Change::kDone);
  CHECK(store.line(10)->size() == 5);
}

TEST_CASE("a job waits for what it needs, and is cancelled where that fails", "[queue]") {
  Folder folder;
  Store store = folder.store();
  const JobId first = add(store, shell("a"));
  JobSpec spec = shell("b");
  spec.after_ok = {first};
  const JobId needs_ok = add(store, spec);
  spec.after_ok = {needs_ok};
  const JobId needs_both = add(store, spec);
  spec.after_ok = {};
  spec.after = {first};
  const JobId needs_end = add(store, spec);
  CHECK(store.line(10)->size() == 1);
  CHECK(*store.cancel_hopeless() == 0);
  REQUIRE(claim(store, first));
  REQUIRE(*store.finish(first, 1, {JobState::kFailed, 1, ""}));
  CHECK(*store.cancel_hopeless() == 2);
  CHECK(store.find(needs_ok)->reason == "job 1, which it needs, failed");
  CHECK(store.find(needs_both)->reason == "job 2, which it needs, was cancelled");
  auto line = *store.line(10);
  REQUIRE(line.size() == 1);
  CHECK(line[0].job.id == needs_end);
}

TEST_CASE("an ended job is cleared with its environment, one that is waited for is not",
          "[queue]") {
  Folder folder;
  Store store = folder.store();
  const JobId first = store.add({shell("a")}, "X=1")->front();
  JobSpec spec = shell("b");
  spec.after = {first};
  const JobId second = store.add({spec}, "Y=1")->front();
  CHECK(store.clear({first}).error().code == ErrorCode::kInUse);
  REQUIRE(claim(store, first));
  REQUIRE(*store.finish(first, 1, {JobState::kDone, 0, ""}));
  CHECK(store.clear({first}).error().message == "another job waits for job 1");
  CHECK(*store.clear({}) == 0);
  REQUIRE(*store.cancel(second) == Store::Change::kDone);
  CHECK(*store.clear({}) == 2);
  CHECK(store.list({})->empty());
  CHECK(add(store, shell("c")) == 3);  // numbers are not used again
}

TEST_CASE("a finish hook is taken once", "[queue]") {
  Folder folder;
  Store store = folder.store();
  JobSpec spec = shell("a");
  spec.on_finish = "true";
  const JobId id = add(store, spec);
  CHECK(store.hooks_due()->empty());
  REQUIRE(claim(store, id));
  REQUIRE(*store.finish(id, 1, {JobState::kDone, 0, ""}));
  CHECK(*store.hooks_due() == std::vector<JobId>{id});
  CHECK(*store.take_hook(id));
  CHECK(!*store.take_hook(id));
  CHECK(store.hooks_due()->empty());
}

TEST_CASE("retry puts an ended job back into the line", "[queue]") {
  Folder folder;
  Store store = folder.store();
  const JobId id = add(store, shell("a"));
  CHECK(*store.retry(id) == Store::Change::kAlready);
  REQUIRE(claim(store, id));
  CHECK(*store.retry(id) == Store::Change::kRunning);
  REQUIRE(*store.finish(id, 1, {JobState::kFailed, 1, "no"}));
  CHECK(*store.retry(id) == Store::Change::kDone);
  CHECK(state_of(store, id) == JobState::kPending);
  CHECK(claim(store, id, 2));
}

TEST_CASE("a queue of version 1 becomes today's with its jobs", "[queue]") {
  Folder folder;
  {
    auto database = *Database::open(folder.place().database(), 1000);
    REQUIRE(database.transaction([&] { return migrate(database, 0, 1); }));
    REQUIRE(database.script(
        "INSERT INTO environments VALUES (1, 'h', 'A=1');"
        "INSERT INTO jobs (state, priority, name, command, memory, gpus, spec, environment, "
        "attempt, retries_left, submitted_ms, exit_status, log) VALUES "
        "(4, 0, 'old', 'false', '100%', 1, '{\"command\":\"false\",\"cwd\":\"/\"}', 1, 1, 0, 5, 1, "
        "'/l'), (0, 0, 'new', 'true', '100%', 1, '{\"command\":\"true\",\"cwd\":\"/\"}', 1, 0, 0, "
        "6, "
        "NULL, '')"));
  }
  Store store = folder.store();
  CHECK(store.find(1)->name == "old");
  auto attempts = *store.attempts_of(1);
  REQUIRE(attempts.size() == 1);
  CHECK(attempts[0].exit_status == 1);
  CHECK(attempts[0].log == "/l");
  CHECK(store.attempts_of(2)->empty());
  CHECK(claim(store, 2));
}

TEST_CASE("a queue of a newer version, and what is none, are refused", "[queue]") {
  Folder folder;
  {
    auto database = *Database::open(folder.place().database(), 1000);
    REQUIRE(database.script("PRAGMA user_version = 99"));
  }
  auto newer = Store::open(folder.place());
  REQUIRE(!newer);
  CHECK(newer.error().code == ErrorCode::kDamaged);
  CHECK(newer.error().message.find("newer Chronos") != std::string::npos);

  Folder other;
  int fd = ::open(other.place().database().c_str(), O_WRONLY | O_CREAT, 0600);
  for (int i = 0; i < 1000; ++i) REQUIRE(::write(fd, "garbage!", 8) == 8);
  ::close(fd);
  auto garbage = Store::open(other.place());
  REQUIRE(!garbage);
  CHECK(garbage.error().code == ErrorCode::kDamaged);
}

TEST_CASE("lines of a batch are shell lines or JSON objects", "[queue]") {
  JobSpec base;
  base.directory = "/w";
  base.memory = {0.5, 0};
  CHECK(spec_from_line("  echo $A | cat ", base)->shell == "echo $A | cat");
  CHECK(spec_from_line("echo", base)->memory.fraction == 0.5);
  auto spec = *spec_from_line(
      R"({"command": ["a", "b c"], "memory": "1GiB", "gpus": 2, "devices": [1, 0, 3],
          "env": {"X": "1"}, "after_ok": 4, "duration": 90, "name": "n"})",
      base);
  CHECK(spec.command == std::vector<std::string>{"a", "b c"});
  CHECK(spec.command_text() == "a 'b c'");
  CHECK(spec.memory.bytes == 1u << 30);
  CHECK(spec.after_ok == std::vector<JobId>{4});
  CHECK(spec.duration_ns == 90 * kNanosPerSecond);
  CHECK(spec.directory == "/w");
  CHECK(spec_from_line(R"({"command": "x", "jobs_per_gpu": 2})", base)->memory.fraction == 0.475);

  for (const char* bad :
       {"{", R"({"commands": "x"})", R"({"command": 5})", R"({"command": "x", "gpus": 0})",
        R"({"command": "x", "gpus": 1.5})", R"({"command": "x", "memory": "7 apples"})",
        R"({"command": "x", "memory": 2})", R"({"command": "x", "env": {"A=B": "x"}})",
        R"({"command": "x", "env": {"A": 1}})", R"({"command": "x", "after": -1})",
        R"({"command": "x", "devices": "a"})", R"({"command": "x", "priority": 1e99})",
        R"({"command": "x", "retries": 18446744073709551615})", R"({"command": "a\u0000b"})"}) {
    INFO(bad);
    auto result = spec_from_line(bad, base);
    REQUIRE(!result);
    CHECK(result.error().code == ErrorCode::kInvalid);
  }
  for (const char* bad :
       {"", " ", R"({"command": []})", R"({"command": [""]})", R"({"command": "x", "name": "a/b"})",
        R"({"command": "x", "devices": [1], "gpus": 2})",
        R"({"command": "x", "cwd": "relative"})"}) {
    INFO(bad);
    auto result = spec_from_line(bad, base);
    REQUIRE(result);
    CHECK(!check_spec(*result));
  }
  CHECK(parse_devices("2,0, 2") == std::vector<int>{0, 2});
  CHECK(parse_devices("any")->empty());
  CHECK(!parse_devices("0,"));
  CHECK(!parse_devices("-1"));
}
