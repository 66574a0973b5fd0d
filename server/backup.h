/* backup.h: the embedded database's copy in one file. PostgreSQL has tools of its own for that. */
#ifndef SERVER_BACKUP_H
#define SERVER_BACKUP_H

#include <stdbool.h>

#include "base/err.h"

/* Copies the database at `path` as it is at one moment, also while a relay writes to it, into `file`. The file appears whole
 * and flushed, or not at all; what stood there before is replaced. Says on stderr what is wrong. */
MUST_USE err backup_make(const char *path, const char *file);
/* Checks the copy from its first page to its last, then puts it where the database is. The caller holds the data directory's lock.
 * It goes on with numbers that were never given (restored.h).
 * ERR_EXISTS when a database is there and not `force`; after any error the old one is untouched. */
MUST_USE err backup_restore(const char *file, const char *path, bool force);

#endif
