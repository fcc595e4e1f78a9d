// The tables of the queue's database, and how an older one becomes today's. docs/formats.md has
// them in words.
#pragma once

#include "cli/queue/database.hpp"
#include "core/result.hpp"

namespace chronos::queue {

inline constexpr int kSchemaVersion = 2;

// Brings a database from version `from` (0: empty) to `to`. Must be inside of a transaction.
// Exposed for its test; everybody else calls bring_up_to_date().
Result<void> migrate(Database& database, int from, int to);

// One transaction; nothing where it is up to date. Errors: kDamaged (made by a newer Chronos), and
// those of Database.
Result<void> bring_up_to_date(Database& database);

}  // namespace chronos::queue
