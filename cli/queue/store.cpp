#include "cli/queue/store.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "cli/queue/schema.hpp"
#include "core/posix.hpp"
#include "core/text.hpp"

namespace chronos::queue {
namespace {

constexpr int kBusyTimeoutMs = 10'000;

constexpr char kColumns[] =
    "id, state, held, cancel, priority, name, command, memory, gpus, attempt, retries_left, "
    "devices, log, exit_status, reason, submitted_ms, started_ms, ended_ms, boot_id, pid, "
    "start_ticks, token";
constexpr int kColumnCount = 22;

Job job_of(const Row& row) {
  Job job;
  job.id = row.integer(0);
  job.state = static_cast<JobState>(row.integer(1));
  job.held = row.integer(2) != 0;
  job.cancel = row.integer(3) != 0;
  job.priority = row.integer(4);
  job.name = row.text(5);
  job.command = row.text(6);
  job.memory = row.text(7);
  job.gpus = static_cast<unsigned>(row.integer(8));
  job.attempt = row.integer(9);
  job.retries_left = row.integer(10);
  job.devices = row.text(11);
  job.log = row.text(12);
  if (!row.is_null(13)) job.exit_status = static_cast<int>(row.integer(13));
  job.reason = row.text(14);
  job.submitted_ms = row.integer(15);
  job.started_ms = row.integer(16);
  job.ended_ms = row.integer(17);
  job.boot_id = row.text(18);
  job.supervisor.pid = static_cast<pid_t>(row.integer(19));
  job.supervisor.start_ticks = static_cast<std::uint64_t>(row.integer(20));
  job.token = row.text(21);
  return job;
}

tl::unexpected<Error> no_such_job(JobId id) {
  return fail(ErrorCode::kNotFound, fmt::format("no job {} in the queue", id),
              "`chronos queue list` shows them");
}

// SQLite makes its files with the modes of the database, so that one alone decides.
Result<void> make_private(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  struct stat status {};
  if (!fd || ::fstat(fd.get(), &status) != 0 ||
      ((status.st_mode & 0077) != 0 && ::fchmod(fd.get(), 0600) != 0)) {
    return fail(ErrorCode::kSystem, fmt::format("cannot open the queue in {}: {}",
                                                chronos::quoted(path), errno_text(errno)));
  }
  return {};
}

}  // namespace

Result<Store> Store::open(const Place& place) {
  // Only before there is one: to close another descriptor of the file would drop SQLite's locks.
  struct stat status {};
  if (::lstat(place.database().c_str(), &status) != 0) {
    auto made = make_private(place.database());
    if (!made) return pass_on(made);
  }
  auto database = Database::open(place.database(), kBusyTimeoutMs);
  if (!database) return pass_on(database);
  auto current = bring_up_to_date(*database);
  if (!current) return pass_on(current);
  return Store(std::move(*database));
}

Result<std::vector<JobId>> Store::add(const std::vector<JobSpec>& specs,
                                      const std::string& environment_data) {
  return database_.transaction([&]() -> Result<std::vector<JobId>> {
    auto environment_id = environment(environment_data);
    if (!environment_id) return pass_on(environment_id);
    std::vector<JobId> ids;
    ids.reserve(specs.size());
    const std::int64_t now = wall_ms();
    for (const JobSpec& spec : specs) {
      auto made = database_.run(
          "INSERT INTO jobs (state, priority, name, command, memory, gpus, spec, environment, "
          "retries_left, submitted_ms, hook) VALUES (0, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
          spec.priority, spec.name, spec.command_text(), spec.memory_text(), spec.gpus,
          json_text(spec_json(spec)), *environment_id, spec.retries, now,
          spec.on_finish.empty() ? 0 : 1);
      if (!made) return pass_on(made);
      ids.push_back(database_.last_id());
      auto needed = add_needs(ids.back(), spec);
      if (!needed) return pass_on(needed);
    }
    return ids;
  });
}

// Batches, and most jobs of one shell, share one.
Result<std::int64_t> Store::environment(const std::string& data) {
  const std::string hash = to_hex(hash_bytes(data));
  std::optional<std::int64_t> known;
  auto found = database_.each(
      "SELECT id FROM environments WHERE hash = ?1 AND data = ?2",
      [&](const Row& row) { known = row.integer(0); }, hash, data);
  if (!found) return pass_on(found);
  if (known) return *known;
  auto made = database_.run("INSERT INTO environments (hash, data) VALUES (?1, ?2)", hash, data);
  if (!made) return pass_on(made);
  return database_.last_id();
}

Result<void> Store::add_needs(JobId id, const JobSpec& spec) {
  std::set<std::pair<JobId, bool>> needs;
  for (JobId need : spec.after_ok) needs.emplace(need, true);
  for (JobId need : spec.after) {
    if (!needs.contains({need, true})) needs.emplace(need, false);
  }
  for (const auto& [need, ok] : needs) {
    auto made = database_.run(
        "INSERT INTO dependencies (job, needs, ok) SELECT ?1, id, ?3 FROM jobs WHERE id = ?2 AND "
        "id < ?1",
        id, need, ok);
    if (!made) return pass_on(made);
    if (*made == 0) {
      return fail(ErrorCode::kInvalid, fmt::format("no job {} in the queue to wait for", need),
                  "`chronos queue list` shows them");
    }
  }
  return {};
}

Result<std::vector<Job>> Store::select(const std::string& where) {
  std::vector<Job> jobs;
  // Statements are kept by the address of their text: these few are made of literals, once.
  static std::set<std::string> texts;
  const std::string& sql =
      *texts.insert(fmt::format("SELECT {} FROM jobs WHERE {}", kColumns, where)).first;
  auto read = database_.each(sql.c_str(), [&](const Row& row) { jobs.push_back(job_of(row)); });
  if (!read) return pass_on(read);
  return jobs;
}

Result<std::vector<Job>> Store::list(const std::vector<JobState>& states) {
  if (states.empty()) return select("1 ORDER BY id");
  std::string list;
  for (JobState state : states) {
    list += fmt::format("{}{}", list.empty() ? "" : ", ", static_cast<int>(state));
  }
  return select(fmt::format("state IN ({}) ORDER BY id", list));
}

Result<Job> Store::find(JobId id) {
  std::optional<Job> found;
  static const std::string sql = fmt::format("SELECT {} FROM jobs WHERE id = ?1", kColumns);
  auto read = database_.each(
      sql.c_str(), [&](const Row& row) { found = job_of(row); }, id);
  if (!read) return pass_on(read);
  if (!found) return no_such_job(id);
  return *found;
}

Result<JobSpec> Store::spec_of(JobId id) {
  std::optional<std::string> text;
  auto read = database_.each(
      "SELECT spec FROM jobs WHERE id = ?1", [&](const Row& row) { text = row.text(0); }, id);
  if (!read) return pass_on(read);
  if (!text) return no_such_job(id);
  return spec_from_json(Json::parse(*text, nullptr, false));
}

Result<std::string> Store::environment_of(JobId id) {
  std::optional<std::string> data;
  auto read = database_.each(
      "SELECT data FROM environments WHERE id = (SELECT environment FROM jobs WHERE id = ?1)",
      [&](const Row& row) { data = row.text(0); }, id);
  if (!read) return pass_on(read);
  if (!data) return no_such_job(id);
  return *data;
}

Result<std::vector<Attempt>> Store::attempts_of(JobId id) {
  std::vector<Attempt> attempts;
  auto read = database_.each(
      "SELECT attempt, state, exit_status, reason, devices, log, started_ms, ended_ms "
      "FROM attempts WHERE job = ?1 ORDER BY attempt",
      [&](const Row& row) {
        Attempt one;
        one.attempt = row.integer(0);
        one.state = static_cast<JobState>(row.integer(1));
        if (!row.is_null(2)) one.exit_status = static_cast<int>(row.integer(2));
        one.reason = row.text(3);
        one.devices = row.text(4);
        one.log = row.text(5);
        one.started_ms = row.integer(6);
        one.ended_ms = row.integer(7);
        attempts.push_back(std::move(one));
      },
      id);
  if (!read) return pass_on(read);
  return attempts;
}

Result<std::vector<Store::Need>> Store::needs_of(JobId id) {
  std::vector<Need> needs;
  auto read = database_.each(
      "SELECT needs, ok, state FROM dependencies JOIN jobs ON jobs.id = needs WHERE job = ?1 "
      "ORDER BY needs",
      [&](const Row& row) {
        needs.push_back(
            {row.integer(0), row.integer(1) != 0, static_cast<JobState>(row.integer(2))});
      },
      id);
  if (!read) return pass_on(read);
  return needs;
}

Result<Counts> Store::counts() {
  Counts counts;
  auto read = database_.each("SELECT state, held, count(*) FROM jobs GROUP BY state, held",
                             [&](const Row& row) {
                               const auto state = static_cast<JobState>(row.integer(0));
                               const auto number = static_cast<std::uint64_t>(row.integer(2));
                               if (is_over(state)) {
                                 counts.over += number;
                               } else if (state != JobState::kPending) {
                                 counts.active += number;
                               } else if (row.integer(1) != 0) {
                                 counts.held += number;
                               } else {
                                 counts.pending += number;
                               }
                             });
  if (!read) return pass_on(read);
  return counts;
}

Result<std::int64_t> Store::version() {
  std::int64_t version = 0;
  auto read =
      database_.each("PRAGMA data_version", [&](const Row& row) { version = row.integer(0); });
  if (!read) return pass_on(read);
  return version;
}

// --- the line -----------------------------------------------------------------------------------

Result<std::vector<Store::InLine>> Store::line(std::size_t limit) {
  std::vector<InLine> line;
  static const std::string sql = fmt::format(
      "SELECT {}, spec FROM jobs WHERE state = 0 AND held = 0 AND cancel = 0 AND NOT EXISTS "
      "(SELECT 1 FROM dependencies d JOIN jobs n ON n.id = d.needs WHERE d.job = jobs.id AND "
      "(n.state < 3 OR (d.ok AND n.state != 3))) ORDER BY priority DESC, id LIMIT ?1",
      kColumns);
  auto read = database_.each(
      sql.c_str(),
      [&](const Row& row) {
        auto spec = spec_from_json(Json::parse(row.text(kColumnCount), nullptr, false));
        if (spec) line.push_back({job_of(row), std::move(*spec)});
      },
      limit);
  if (!read) return pass_on(read);
  return line;
}

Result<std::vector<Job>> Store::active() { return select("state IN (1, 2) ORDER BY id"); }

}  // namespace chronos::queue
