#include "cli/queue/schema.hpp"

#include <fmt/format.h>

#include <array>

namespace chronos::queue {
namespace {

// Element n makes version n + 1 of version n. What is here has been in use: never change it, add.
constexpr std::array<const char*, kSchemaVersion> kSteps = {
    // 1: jobs in line, and how they ended.
    R"(
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE environments (id INTEGER PRIMARY KEY, hash TEXT NOT NULL, data TEXT NOT NULL);
CREATE INDEX environments_by_hash ON environments (hash);
CREATE TABLE jobs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  state INTEGER NOT NULL,
  held INTEGER NOT NULL DEFAULT 0,
  cancel INTEGER NOT NULL DEFAULT 0,
  priority INTEGER NOT NULL,
  name TEXT NOT NULL,
  command TEXT NOT NULL,
  memory TEXT NOT NULL,
  gpus INTEGER NOT NULL,
  spec TEXT NOT NULL,
  environment INTEGER NOT NULL REFERENCES environments (id),
  attempt INTEGER NOT NULL DEFAULT 0,
  retries_left INTEGER NOT NULL,
  boot_id TEXT NOT NULL DEFAULT '',
  pid INTEGER NOT NULL DEFAULT 0,
  start_ticks INTEGER NOT NULL DEFAULT 0,
  token TEXT NOT NULL DEFAULT '',
  devices TEXT NOT NULL DEFAULT '',
  log TEXT NOT NULL DEFAULT '',
  exit_status INTEGER,
  reason TEXT NOT NULL DEFAULT '',
  submitted_ms INTEGER NOT NULL,
  started_ms INTEGER,
  ended_ms INTEGER);
CREATE INDEX jobs_in_line ON jobs (state, priority DESC, id);
CREATE INDEX jobs_by_environment ON jobs (environment);
)",
    // 2: what jobs wait for, how each attempt ended, and commands for when a job has ended.
    R"(
CREATE TABLE dependencies (
  job INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
  needs INTEGER NOT NULL,
  ok INTEGER NOT NULL,
  PRIMARY KEY (job, needs)) WITHOUT ROWID;
CREATE INDEX dependencies_by_need ON dependencies (needs);
CREATE TABLE attempts (
  job INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
  attempt INTEGER NOT NULL,
  state INTEGER NOT NULL,
  exit_status INTEGER,
  reason TEXT NOT NULL,
  devices TEXT NOT NULL,
  log TEXT NOT NULL,
  started_ms INTEGER,
  ended_ms INTEGER,
  PRIMARY KEY (job, attempt)) WITHOUT ROWID;
INSERT INTO attempts
  SELECT id, attempt, state, exit_status, reason, devices, log, started_ms, ended_ms
  FROM jobs WHERE attempt > 0 AND state >= 3;
ALTER TABLE jobs ADD COLUMN hook INTEGER NOT NULL DEFAULT 0;
CREATE INDEX jobs_with_hooks ON jobs (hook) WHERE hook = 2;
)"};

Result<int> version_of(Database& database) {
  int version = 0;
  auto read = database.each("PRAGMA user_version",
                            [&](const Row& row) { version = static_cast<int>(row.integer(0)); });
  if (!read) return pass_on(read);
  return version;
}

}  // namespace

Result<void> migrate(Database& database, int from, int to) {
  for (int version = from; version < to; ++version) {
    auto done = database.script(kSteps[static_cast<std::size_t>(version)]);
    if (!done) return pass_on(done);
  }
  return database.script(fmt::format("PRAGMA user_version = {}", to).c_str());
}

Result<void> bring_up_to_date(Database& database) {
  auto version = version_of(database);
  if (!version) return pass_on(version);
  if (*version == kSchemaVersion) return {};
  return database.transaction([&]() -> Result<void> {
    auto now = version_of(database);  // somebody else may have been quicker
    if (!now) return pass_on(now);
    if (*now > kSchemaVersion) {
      return fail(ErrorCode::kDamaged,
                  fmt::format("the queue was made by a newer Chronos (version {} of its tables, "
                              "this one knows {})",
                              *now, kSchemaVersion),
                  "use that one");
    }
    return migrate(database, *now, kSchemaVersion);
  });
}

}  // namespace chronos::queue
