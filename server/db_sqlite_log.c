#include "db_sqlite_log.h"

#include <stddef.h>

typedef struct log_file {
    sqlite3_file base;
    bool put_off, begins; /* begins: its header was written and not flushed yet */
    bool unflushed, torn;
} log_file;

/* The default's file lies behind ours. */
static sqlite3_file *real(sqlite3_file *f) { return (sqlite3_file *)((log_file *)f + 1); }

static int log_close(sqlite3_file *f) {
    f->pMethods = NULL;
    return real(f)->pMethods->xClose(real(f));
}

static int log_read(sqlite3_file *f, void *to, int n, sqlite3_int64 at) {
    return real(f)->pMethods->xRead(real(f), to, n, at);
}

static int log_write(sqlite3_file *f, const void *from, int n, sqlite3_int64 at) {
    if (at == 0)
        ((log_file *)f)->begins = true;
    return real(f)->pMethods->xWrite(real(f), from, n, at);
}

static int log_truncate(sqlite3_file *f, sqlite3_int64 size) { return real(f)->pMethods->xTruncate(real(f), size); }

static int log_sync(sqlite3_file *f, int flags) {
    log_file *log = (log_file *)f;
    if (log->put_off && !log->begins) {
        log->unflushed = true;
        return SQLITE_OK;
    }
    int rc = real(f)->pMethods->xSync(real(f), flags);
    if (rc != SQLITE_OK) {
        log->torn |= log->unflushed;
        return rc;
    }
    log->begins = log->unflushed = false;
    return SQLITE_OK;
}

static int log_size(sqlite3_file *f, sqlite3_int64 *size) { return real(f)->pMethods->xFileSize(real(f), size); }
static int log_lock(sqlite3_file *f, int level) { return real(f)->pMethods->xLock(real(f), level); }
static int log_unlock(sqlite3_file *f, int level) { return real(f)->pMethods->xUnlock(real(f), level); }
static int log_reserved(sqlite3_file *f, int *out) { return real(f)->pMethods->xCheckReservedLock(real(f), out); }
static int log_control(sqlite3_file *f, int what, void *arg) {
    return real(f)->pMethods->xFileControl(real(f), what, arg);
}
static int log_sector(sqlite3_file *f) { return real(f)->pMethods->xSectorSize(real(f)); }
static int log_device(sqlite3_file *f) { return real(f)->pMethods->xDeviceCharacteristics(real(f)); }

/* Version 1: a log is neither shared memory nor mapped. */
static const sqlite3_io_methods LOG = {.iVersion = 1,
                                       .xClose = log_close,
                                       .xRead = log_read,
                                       .xWrite = log_write,
                                       .xTruncate = log_truncate,
                                       .xSync = log_sync,
                                       .xFileSize = log_size,
                                       .xLock = log_lock,
                                       .xUnlock = log_unlock,
                                       .xCheckReservedLock = log_reserved,
                                       .xFileControl = log_control,
                                       .xSectorSize = log_sector,
                                       .xDeviceCharacteristics = log_device};

static sqlite3_vfs *below;

static int open_file(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *f, int flags, int *given) {
    (void)vfs;
    if ((flags & SQLITE_OPEN_WAL) == 0)
        return below->xOpen(below, name, f, flags, given);
    *(log_file *)f = (log_file){.put_off = false};
    int rc = below->xOpen(below, name, real(f), flags, given);
    if (rc == SQLITE_OK)
        f->pMethods = &LOG;
    else if (real(f)->pMethods != NULL)
        (void)real(f)->pMethods->xClose(real(f));
    return rc;
}

const char *sqlite_log_vfs(void) {
    static sqlite3_vfs own;
    if (own.zName != NULL)
        return own.zName;
    below = sqlite3_vfs_find(NULL);
    if (below == NULL)
        return NULL;
    own = *below;
    own.szOsFile = (int)sizeof(log_file) + below->szOsFile;
    own.zName = "sotto";
    own.xOpen = open_file;
    own.pNext = NULL;
    return sqlite3_vfs_register(&own, 0) == SQLITE_OK ? own.zName : NULL;
}

static log_file *log_of(sqlite3 *handle) {
    sqlite3_file *f = NULL;
    if (sqlite3_file_control(handle, "main", SQLITE_FCNTL_JOURNAL_POINTER, (void *)&f) != SQLITE_OK || f == NULL)
        return NULL;
    return f->pMethods == &LOG ? (log_file *)f : NULL;
}

void sqlite_log_put_off(sqlite3 *handle, bool put_off) {
    log_file *log = log_of(handle);
    if (log != NULL)
        log->put_off = put_off;
}

bool sqlite_log_torn(sqlite3 *handle) {
    const log_file *log = log_of(handle);
    return log != NULL && log->torn;
}

void sqlite_log_replaced(sqlite3 *handle) {
    log_file *log = log_of(handle);
    if (log != NULL)
        log->torn = log->unflushed = false;
}
