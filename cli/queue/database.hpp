// SQLite as this project calls it: results as values, statements kept for the next use.
//
// Threads: a Database belongs to one. Processes: any number may have the same file open; a forked
// child must not use its parent's Database (SQLite's own rule), and must not close it either: exec.
// Failure: kBusy (others kept the file locked for longer than the timeout), kFull (no space),
// kDamaged (not a database, or a broken one), kSystem. A failed statement changes nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>

#include "core/result.hpp"

struct sqlite3;
struct sqlite3_stmt;

namespace chronos::queue {

// One row of an answer; valid only inside the function that it is handed to. Columns count from 0.
class Row {
 public:
  explicit Row(sqlite3_stmt* statement) : statement_(statement) {}
  bool is_null(int column) const;
  std::int64_t integer(int column) const;
  double real(int column) const;
  std::string text(int column) const;

 private:
  sqlite3_stmt* statement_;
};

class Database {
 public:
  // Opens or makes `path`, in WAL mode, each commit on the disk before it returns. After a commit
  // the times of the folder change, which inotify tells (IN_ATTRIB).
  static Result<Database> open(const std::string& path, int busy_timeout_ms);

  // Runs one statement; the number of rows that it changed. Arguments stand for ?1, ?2, ...
  template <class... Arguments>
  Result<std::uint64_t> run(const char* sql, const Arguments&... arguments) {
    return execute(sql, {}, arguments...);
  }

  // Hands each row of the answer to `use`, which must not use this Database.
  template <class... Arguments>
  Result<std::uint64_t> each(const char* sql, const std::function<void(const Row&)>& use,
                             const Arguments&... arguments) {
    return execute(sql, use, arguments...);
  }

  // Several statements, separated by semicolons, without arguments.
  Result<void> script(const char* sql);

  // All of what `work` does, or nothing. Taken for writing at once, so that what it reads still
  // holds when it writes. `work` returns a Result of any kind.
  template <class Work>
  auto transaction(Work work) -> decltype(work()) {
    auto begun = script("BEGIN IMMEDIATE");
    if (!begun) return pass_on(begun);
    auto done = work();
    if (done) {
      auto committed = script("COMMIT");
      if (committed) return done;
      abandon();
      return pass_on(committed);
    }
    abandon();
    return done;
  }

  std::int64_t last_id() const;

 private:
  struct Close {
    void operator()(sqlite3* database) const;
  };
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  using StatementPointer = std::unique_ptr<sqlite3_stmt, Finalize>;

  explicit Database(sqlite3* database, std::string path)
      : database_(database), path_(std::move(path)) {}

  template <class... Arguments>
  Result<std::uint64_t> execute(const char* sql, const std::function<void(const Row&)>& use,
                                const Arguments&... arguments) {
    auto statement = prepared(sql);
    if (!statement) return pass_on(statement);
    int place = 0;
    (bind(*statement, ++place, arguments), ...);
    return step_all(*statement, use);
  }

  template <class Value>
  static void bind(sqlite3_stmt* statement, int place, const Value& value) {
    if constexpr (std::is_floating_point_v<Value>) {
      bind_real(statement, place, value);
    } else if constexpr (std::is_integral_v<Value> || std::is_enum_v<Value>) {
      bind_integer(statement, place, static_cast<std::int64_t>(value));
    } else if constexpr (std::is_same_v<Value, std::nullptr_t>) {
      bind_null(statement, place);
    } else {
      bind_text(statement, place, value);
    }
  }
  static void bind_integer(sqlite3_stmt* statement, int place, std::int64_t value);
  static void bind_real(sqlite3_stmt* statement, int place, double value);
  static void bind_text(sqlite3_stmt* statement, int place, std::string_view value);
  static void bind_null(sqlite3_stmt* statement, int place);

  Result<sqlite3_stmt*> prepared(const char* sql);
  Result<std::uint64_t> step_all(sqlite3_stmt* statement,
                                 const std::function<void(const Row&)>& use);
  void abandon();
  void announce();
  tl::unexpected<Error> failure(int code) const;

  std::unique_ptr<sqlite3, Close> database_;
  std::unordered_map<std::string_view, StatementPointer> statements_;  // by literals of ours
  std::string path_;
  std::int64_t announced_ = 0;  // rows that this connection had changed
};

}  // namespace chronos::queue
