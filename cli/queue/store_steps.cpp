// The steps that lead a job from state to state. Each is one transaction.
#include <fmt/format.h>

#include "cli/queue/store.hpp"
#include "core/text.hpp"

namespace chronos::queue {
namespace {

bool one_row(const Result<std::uint64_t>& changed) { return changed && *changed > 0; }

}  // namespace

Result<bool> Store::claim(const AttemptClaim& claim) {
  auto changed = database_.run(
      "UPDATE jobs SET state = 1, attempt = ?2, boot_id = ?3, pid = ?4, start_ticks = ?5, "
      "token = ?6, devices = ?7, log = '', exit_status = NULL, reason = '', started_ms = ?8, "
      "ended_ms = NULL WHERE id = ?1 AND state = 0 AND attempt = ?2 - 1 AND cancel = 0 AND "
      "held = 0",
      claim.job, claim.attempt, claim.boot_id, claim.supervisor.pid, claim.supervisor.start_ticks,
      claim.token, claim.devices, wall_ms());
  if (!changed) return pass_on(changed);
  return one_row(changed);
}

Result<bool> Store::mark_running(JobId id, std::int64_t attempt, const std::string& log) {
  auto changed = database_.run(
      "UPDATE jobs SET state = 2, log = ?3 WHERE id = ?1 AND attempt = ?2 AND state = 1 AND "
      "cancel = 0",
      id, attempt, log);
  if (!changed) return pass_on(changed);
  return one_row(changed);
}

Result<bool> Store::give_back(JobId id, std::int64_t attempt) {
  // The attempt counts: its number is in the names of files.
  auto changed = database_.run(
      "UPDATE jobs SET state = CASE WHEN cancel THEN 5 ELSE 0 END, pid = 0, token = '', "
      "devices = '', started_ms = NULL, hook = CASE WHEN cancel AND hook = 1 THEN 2 ELSE hook END, "
      "ended_ms = CASE WHEN cancel THEN ?3 ELSE NULL END "
      "WHERE id = ?1 AND attempt = ?2 AND state = 1",
      id, attempt, wall_ms());
  if (!changed) return pass_on(changed);
  return one_row(changed);
}

Result<bool> Store::finish(JobId id, std::int64_t attempt, const Outcome& outcome) {
  return database_.transaction([&]() -> Result<bool> {
    auto job = find(id);
    if (!job) return pass_on(job);
    if (job->attempt != attempt ||
        (job->state != JobState::kStarting && job->state != JobState::kRunning)) {
      return false;
    }
    return end(*job, outcome);
  });
}

Result<bool> Store::lose(JobId id, std::int64_t attempt, const std::string& reason) {
  return finish(id, attempt, {JobState::kLost, std::nullopt, reason});
}

// Inside of a transaction that has seen `job` as it is.
Result<bool> Store::end(const Job& job, const Outcome& outcome) {
  Outcome final = outcome;
  if (job.cancel && final.state != JobState::kDone) {
    final.state = JobState::kCancelled;
    final.reason = "cancelled";
  }
  const std::int64_t now = wall_ms();
  auto noted = database_.run(
      "INSERT INTO attempts (job, attempt, state, exit_status, reason, devices, log, started_ms, "
      "ended_ms) SELECT id, attempt, ?2, CASE WHEN ?3 < 0 THEN NULL ELSE ?3 END, ?4, devices, log, "
      "started_ms, ?5 FROM jobs WHERE id = ?1",
      job.id, final.state, final.exit_status.value_or(-1), final.reason, now);
  if (!noted) return pass_on(noted);
  const bool again =
      job.retries_left > 0 && (final.state == JobState::kFailed || final.state == JobState::kLost);
  if (again) {
    auto changed = database_.run(
        "UPDATE jobs SET state = 0, retries_left = retries_left - 1, pid = 0, token = '', "
        "devices = '', reason = ?2 WHERE id = ?1",
        job.id,
        fmt::format("attempt {} {}{}{}", job.attempt, to_string(final.state),
                    final.reason.empty() ? "" : ": ", final.reason));
    if (!changed) return pass_on(changed);
    return true;
  }
  auto changed = database_.run(
      "UPDATE jobs SET state = ?2, exit_status = CASE WHEN ?3 < 0 THEN NULL ELSE ?3 END, "
      "reason = ?4, ended_ms = ?5, pid = 0, token = '', cancel = 0, "
      "hook = CASE WHEN hook = 1 THEN 2 ELSE hook END WHERE id = ?1",
      job.id, final.state, final.exit_status.value_or(-1), final.reason, now);
  if (!changed) return pass_on(changed);
  return true;
}

Result<std::uint64_t> Store::cancel_hopeless() {
  // What needs a job that was cancelled here is itself hopeless: until nothing changes.
  std::uint64_t all = 0;
  for (;;) {
    bool any = false;  // reading alone takes no lock
    auto looked = database_.each(
        "SELECT 1 FROM dependencies d JOIN jobs n ON n.id = d.needs JOIN jobs j ON j.id = d.job "
        "WHERE j.state = 0 AND d.ok AND n.state > 3 LIMIT 1",
        [&](const Row&) { any = true; });
    if (!looked) return pass_on(looked);
    if (!any) return all;
    auto changed = database_.run(
        "UPDATE jobs SET state = 5, ended_ms = ?1, hook = CASE WHEN hook = 1 THEN 2 ELSE hook END, "
        "reason = (SELECT 'job ' || n.id || ', which it needs, ' || CASE n.state WHEN 4 THEN "
        "'failed' WHEN 5 THEN 'was cancelled' ELSE 'was lost' END FROM dependencies d JOIN jobs n "
        "ON "
        "n.id = d.needs WHERE d.job = jobs.id AND d.ok AND n.state > 3 ORDER BY n.id LIMIT 1) "
        "WHERE state = 0 AND EXISTS (SELECT 1 FROM dependencies d JOIN jobs n ON n.id = d.needs "
        "WHERE d.job = jobs.id AND d.ok AND n.state > 3)",
        wall_ms());
    if (!changed) return pass_on(changed);
    all += *changed;
  }
}

Result<std::vector<JobId>> Store::hooks_due() {
  std::vector<JobId> ids;
  auto read = database_.each("SELECT id FROM jobs WHERE hook = 2 ORDER BY id",
                             [&](const Row& row) { ids.push_back(row.integer(0)); });
  if (!read) return pass_on(read);
  return ids;
}

Result<bool> Store::take_hook(JobId id) {
  auto changed = database_.run("UPDATE jobs SET hook = 3 WHERE id = ?1 AND hook = 2", id);
  if (!changed) return pass_on(changed);
  return one_row(changed);
}

// --- what users do ------------------------------------------------------------------------------

Result<Store::Change> Store::cancel(JobId id) {
  return database_.transaction([&]() -> Result<Change> {
    auto job = find(id);
    if (!job) return pass_on(job);
    if (is_over(job->state)) return Change::kOver;
    if (job->state == JobState::kPending) {
      auto changed = database_.run(
          "UPDATE jobs SET state = 5, reason = 'cancelled', ended_ms = ?2, "
          "hook = CASE WHEN hook = 1 THEN 2 ELSE hook END WHERE id = ?1",
          id, wall_ms());
      if (!changed) return pass_on(changed);
      return Change::kDone;
    }
    if (job->cancel) return Change::kAlready;
    auto changed = database_.run("UPDATE jobs SET cancel = 1 WHERE id = ?1", id);
    if (!changed) return pass_on(changed);
    return Change::kAsked;
  });
}

Result<Store::Change> Store::hold(JobId id, bool held) {
  return database_.transaction([&]() -> Result<Change> {
    auto job = find(id);
    if (!job) return pass_on(job);
    if (is_over(job->state)) return Change::kOver;
    if (job->held == held) return Change::kAlready;
    if (held && job->state != JobState::kPending) return Change::kRunning;
    auto changed = database_.run("UPDATE jobs SET held = ?2 WHERE id = ?1", id, held);
    if (!changed) return pass_on(changed);
    return Change::kDone;
  });
}

Result<Store::Change> Store::retry(JobId id) {
  return database_.transaction([&]() -> Result<Change> {
    auto job = find(id);
    if (!job) return pass_on(job);
    if (job->state == JobState::kPending) return Change::kAlready;
    if (!is_over(job->state)) return Change::kRunning;
    auto spec = spec_of(id);
    if (!spec) return pass_on(spec);
    auto changed = database_.run(
        "UPDATE jobs SET state = 0, cancel = 0, held = 0, exit_status = NULL, reason = '', "
        "devices = '', ended_ms = NULL, retries_left = ?2, hook = ?3 WHERE id = ?1",
        id, spec->retries, spec->on_finish.empty() ? 0 : 1);
    if (!changed) return pass_on(changed);
    return Change::kDone;
  });
}

Result<std::uint64_t> Store::clear(const std::vector<JobId>& ids) {
  return database_.transaction([&]() -> Result<std::uint64_t> {
    std::uint64_t gone = 0;
    constexpr char kWaitedFor[] =
        "EXISTS (SELECT 1 FROM dependencies d JOIN jobs j ON j.id = d.job WHERE d.needs = jobs.id "
        "AND j.state < 3)";
    if (ids.empty()) {
      static const std::string sql =
          fmt::format("DELETE FROM jobs WHERE state >= 3 AND hook != 2 AND NOT {}", kWaitedFor);
      auto changed = database_.run(sql.c_str());
      if (!changed) return pass_on(changed);
      gone = *changed;
    }
    for (JobId id : ids) {
      auto job = find(id);
      if (!job) return pass_on(job);
      if (!is_over(job->state)) {
        return fail(ErrorCode::kInUse,
                    fmt::format("job {} is not over: it is {}", id, to_string(job->state)),
                    fmt::format("`chronos queue cancel {}` first", id));
      }
      static const std::string sql =
          fmt::format("DELETE FROM jobs WHERE id = ?1 AND hook != 2 AND NOT {}", kWaitedFor);
      auto changed = database_.run(sql.c_str(), id);
      if (!changed) return pass_on(changed);
      if (*changed == 0) {
        return fail(ErrorCode::kInUse, fmt::format("another job waits for job {}", id));
      }
      ++gone;
    }
    auto tidied = database_.run(
        "DELETE FROM environments WHERE NOT EXISTS "
        "(SELECT 1 FROM jobs WHERE jobs.environment = environments.id)");
    if (!tidied) return pass_on(tidied);
    return gone;
  });
}

Result<void> Store::set_paused(bool paused) {
  auto changed = paused ? database_.run("INSERT OR REPLACE INTO meta VALUES ('paused', '1')")
                        : database_.run("DELETE FROM meta WHERE key = 'paused'");
  if (!changed) return pass_on(changed);
  return {};
}

Result<bool> Store::is_paused() {
  bool paused = false;
  auto read =
      database_.each("SELECT 1 FROM meta WHERE key = 'paused'", [&](const Row&) { paused = true; });
  if (!read) return pass_on(read);
  return paused;
}

Result<void> Store::set_trouble(const std::string& text) {
  auto now = trouble();
  if (!now) return pass_on(now);
  if (*now == text) return {};
  auto changed = text.empty()
                     ? database_.run("DELETE FROM meta WHERE key = 'trouble'")
                     : database_.run("INSERT OR REPLACE INTO meta VALUES ('trouble', ?1)", text);
  if (!changed) return pass_on(changed);
  return {};
}

Result<std::string> Store::trouble() {
  std::string text;
  auto read = database_.each("SELECT value FROM meta WHERE key = 'trouble'",
                             [&](const Row& row) { text = row.text(0); });
  if (!read) return pass_on(read);
  return text;
}

}  // namespace chronos::queue
