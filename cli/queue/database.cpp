#include "cli/queue/database.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include "core/text.hpp"

namespace chronos::queue {

bool Row::is_null(int column) const {
  return ::sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

std::int64_t Row::integer(int column) const { return ::sqlite3_column_int64(statement_, column); }

double Row::real(int column) const { return ::sqlite3_column_double(statement_, column); }

std::string Row::text(int column) const {
  const unsigned char* text = ::sqlite3_column_text(statement_, column);
  if (text == nullptr) return {};
  const int size = ::sqlite3_column_bytes(statement_, column);
  return {reinterpret_cast<const char*>(text), static_cast<std::size_t>(size)};
}

void Database::Close::operator()(sqlite3* database) const { ::sqlite3_close_v2(database); }

void Database::Finalize::operator()(sqlite3_stmt* statement) const {
  ::sqlite3_finalize(statement);
}

Result<Database> Database::open(const std::string& path, int busy_timeout_ms) {
  sqlite3* opened = nullptr;
  const int code = ::sqlite3_open_v2(
      path.c_str(), &opened,
      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW,
      nullptr);
  Database database(opened, path);
  if (code != SQLITE_OK) return database.failure(code);
  ::sqlite3_extended_result_codes(opened, 1);
  ::sqlite3_busy_timeout(opened, busy_timeout_ms);
  auto settled = database.script(
      "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
      "PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF");
  if (!settled) return pass_on(settled);
  return database;
}

void Database::bind_integer(sqlite3_stmt* statement, int place, std::int64_t value) {
  ::sqlite3_bind_int64(statement, place, value);
}

void Database::bind_real(sqlite3_stmt* statement, int place, double value) {
  ::sqlite3_bind_double(statement, place, value);
}

void Database::bind_text(sqlite3_stmt* statement, int place, std::string_view value) {
  ::sqlite3_bind_text64(statement, place, value.data(), value.size(), SQLITE_TRANSIENT,
                        SQLITE_UTF8);
}

void Database::bind_null(sqlite3_stmt* statement, int place) {
  ::sqlite3_bind_null(statement, place);
}

Result<sqlite3_stmt*> Database::prepared(const char* sql) {
  auto known = statements_.find(sql);
  if (known != statements_.end()) return known->second.get();
  sqlite3_stmt* made = nullptr;
  const int code =
      ::sqlite3_prepare_v3(database_.get(), sql, -1, SQLITE_PREPARE_PERSISTENT, &made, nullptr);
  if (code != SQLITE_OK) return failure(code);
  statements_.emplace(sql, StatementPointer(made));
  return made;
}

Result<std::uint64_t> Database::step_all(sqlite3_stmt* statement,
                                         const std::function<void(const Row&)>& use) {
  int code = SQLITE_ROW;
  while ((code = ::sqlite3_step(statement)) == SQLITE_ROW) {
    if (use) use(Row(statement));
  }
  Result<std::uint64_t> changed = static_cast<std::uint64_t>(::sqlite3_changes64(database_.get()));
  if (code != SQLITE_DONE) changed = failure(code);
  ::sqlite3_reset(statement);
  ::sqlite3_clear_bindings(statement);
  announce();
  return changed;
}

Result<void> Database::script(const char* sql) {
  const int code = ::sqlite3_exec(database_.get(), sql, nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return failure(code);
  announce();
  return {};
}

// Whoever watches the folder hears of SQLite's writing before what is written counts, which is in
// shared memory and makes no sound. So there is a word after it.
void Database::announce() {
  const std::int64_t changes = ::sqlite3_total_changes64(database_.get());
  if (changes == announced_ || ::sqlite3_get_autocommit(database_.get()) == 0) return;
  announced_ = changes;
  ::utimensat(AT_FDCWD, path_.substr(0, path_.rfind('/')).c_str(), nullptr, 0);
}

void Database::abandon() {
  if (::sqlite3_get_autocommit(database_.get()) == 0) (void)script("ROLLBACK");
}

std::int64_t Database::last_id() const { return ::sqlite3_last_insert_rowid(database_.get()); }

tl::unexpected<Error> Database::failure(int code) const {
  const char* text = database_ ? ::sqlite3_errmsg(database_.get()) : ::sqlite3_errstr(code);
  const std::string what = fmt::format("the queue in {}", chronos::quoted(path_));
  switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return fail(ErrorCode::kBusy, what + " is busy", "try again");
    case SQLITE_FULL:
      return fail(ErrorCode::kFull, what + " has no space left", "make room on its disk");
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return fail(ErrorCode::kDamaged, what + " is damaged: " + text,
                  "put the file away, or a copy of it back");
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
      return fail(ErrorCode::kSystem, fmt::format("cannot open {}: {}", what, text),
                  "its folder and file must be yours to write");
    default:
      return fail(ErrorCode::kSystem, fmt::format("{}: {}", what, text));
  }
}

}  // namespace chronos::queue
