/* db_sqlite_log.h: SQLite's way to its write-ahead log (https://www.sqlite.org/walformat.html), as a VFS over the default one. It lets a
 * commit choose whether it waits for the medium: `PRAGMA synchronous` can't be changed within a transaction, and what a batch promises is
 * known only at its end. All other files are the default's own. */
#ifndef SERVER_DB_SQLITE_LOG_H
#define SERVER_DB_SQLITE_LOG_H

#include <stdbool.h>

#include <sqlite3.h>

/* Its name, for sqlite3_open_v2; registered over what is the default when this is first called. NULL: out of memory, or there is none. */
const char *sqlite_log_vfs(void);

/* Until it is set back, flushes of the connection's log are put off, but for that of a log's new beginning, before which nothing of the old
 * one may be overwritten. The next flush covers what was put off. Checkpoints must not run meanwhile: they overwrite the database by what
 * the log holds. Without effect where there is no log yet. */
void sqlite_log_put_off(sqlite3 *handle, bool put_off);

/* A flush failed that was to cover what was put off: transactions that were committed may be missing in the middle of the log on the
 * medium, and what comes behind them would be lost with them. True until sqlite_log_replaced. */
bool sqlite_log_torn(sqlite3 *handle);
/* All of the log is in the database's file, and it begins anew. */
void sqlite_log_replaced(sqlite3 *handle);

#endif
