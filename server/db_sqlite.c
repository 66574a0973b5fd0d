/* db_sqlite.c: the embedded database. One file in the data directory, WAL, and every commit flushed to the medium that is not said to
 * promise nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "db.h"
#include "db_sqlite_log.h"
#include "log.h"
#include "schema.h"

/* More statements than the logic has; open addressing needs room. */
#define STATEMENTS_MAX 512
#define SQL_MAX 600    /* of a step of the schema */
#define LOG_PAGES 4096 /* 16 MiB: then what the log holds goes to the database's file */

typedef struct prepared {
    const char *sql; /* the address is the name */
    sqlite3_stmt *statement;
    bool busy;
} prepared;

typedef struct sqlite_db {
    db base;
    sqlite3 *handle;
    int log_pages; /* of the log, after the last commit */
    prepared cache[STATEMENTS_MAX];
} sqlite_db;

static err error_of(int rc) {
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE: return OK;
    case SQLITE_FULL: return ERR_STORE_FULL;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return ERR_STORE_BUSY;
    case SQLITE_READONLY:
    case SQLITE_PERM: return ERR_STORE_DENIED;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return ERR_STORE_CORRUPT;
    case SQLITE_NOMEM: return ERR_NO_MEMORY;
    default: return ERR_STORE;
    }
}

/* Says what SQLite says; its messages name tables and files, never values. */
static err failed(sqlite_db *d, int rc, const char *doing) {
    err e = error_of(rc);
    if (e != OK)
        log_line(LOG_ERROR, "event=database doing=%s code=%d message=\"%s\"", doing,
                 sqlite3_extended_errcode(d->handle), sqlite3_errmsg(d->handle));
    return e;
}

/* SQLite writes parameters ?1, PostgreSQL $1; ours is PostgreSQL's. No statement has another $. */
static err prepare(sqlite_db *d, const char *sql, sqlite3_stmt **out) {
    size_t n = strlen(sql);
    char *own = malloc(n + 1);
    if (own == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i <= n; i++)
        own[i] = sql[i] == '$' ? '?' : sql[i];
    err e = failed(d, sqlite3_prepare_v3(d->handle, own, -1, SQLITE_PREPARE_PERSISTENT, out, NULL), "prepare");
    free(own);
    return e;
}

static prepared *slot_of(sqlite_db *d, const char *sql) {
    size_t i = (size_t)(((uintptr_t)sql >> 3) * 0x9E3779B97F4A7C15u >> 32) % STATEMENTS_MAX;
    while (d->cache[i].sql != NULL && d->cache[i].sql != sql)
        i = (i + 1) % STATEMENTS_MAX;
    return &d->cache[i];
}

static err query(db *base, const char *sql, const db_value *values, size_t n, void **statement) {
    sqlite_db *d = (sqlite_db *)base;
    prepared *slot = slot_of(d, sql);
    if (slot->sql == NULL) {
        TRY(prepare(d, sql, &slot->statement));
        slot->sql = sql;
    }
    if (slot->busy)
        return ERR_STATE; /* a statement that was not ended: a bug, and better refused than reset under its reader */
    sqlite3_stmt *s = slot->statement;
    for (size_t k = 0; k < n; k++) {
        int rc = SQLITE_OK, at = (int)k + 1;
        switch (values[k].kind) {
        case DB_INTEGER: rc = sqlite3_bind_int64(s, at, values[k].integer); break;
        /* Bytes outlive the statement's run: every caller's values live in its frame or the request's arena. */
        case DB_BYTES:
            rc = sqlite3_bind_blob64(s, at, values[k].bytes.p ? (const void *)values[k].bytes.p : "", values[k].bytes.n,
                                     SQLITE_STATIC);
            break;
        case DB_NULL: rc = sqlite3_bind_null(s, at); break;
        }
        if (rc != SQLITE_OK)
            return failed(d, rc, "bind");
    }
    slot->busy = true;
    *statement = slot;
    return OK;
}

static sqlite3_stmt *of(void *statement) { return ((prepared *)statement)->statement; }

static err next(db *base, void *statement, bool *row) {
    int rc = sqlite3_step(of(statement));
    *row = rc == SQLITE_ROW;
    return failed((sqlite_db *)base, rc, "step");
}

static int64_t integer(void *statement, int column) { return sqlite3_column_int64(of(statement), column); }
static bool is_null(void *statement, int column) { return sqlite3_column_type(of(statement), column) == SQLITE_NULL; }
static span bytes(void *statement, int column) {
    const void *p = sqlite3_column_blob(of(statement), column);
    return span_of(p, (size_t)sqlite3_column_bytes(of(statement), column));
}

/* The values stay bound: nothing runs the statement before it has new ones. */
static void end(db *base, void *statement) {
    (void)base;
    (void)sqlite3_reset(of(statement));
    ((prepared *)statement)->busy = false;
}

static int64_t changes(db *base) { return sqlite3_changes64(((sqlite_db *)base)->handle); }

static err run(db *base, const char *sql) {
    void *statement = NULL;
    bool row = false;
    TRY(query(base, sql, NULL, 0, &statement));
    err e = next(base, statement, &row);
    end(base, statement);
    return e;
}

static const char BEGIN[] = "BEGIN IMMEDIATE", COMMIT[] = "COMMIT", ROLLBACK[] = "ROLLBACK";
static const char SAVEPOINT[] = "SAVEPOINT request", RELEASE[] = "RELEASE request", BACK[] = "ROLLBACK TO request";

/* What stands in the log behind a gap on the medium would be lost with a loss of power. So nothing is added until it is elsewhere. */
static err mend(sqlite_db *d) {
    int pages = 0, done = 0;
    log_line(LOG_WARNING,
             "event=database message=\"a flush failed: the log is written to the database and begun anew\"");
    TRY(failed(d, sqlite3_wal_checkpoint_v2(d->handle, NULL, SQLITE_CHECKPOINT_RESTART, &pages, &done), "checkpoint"));
    if (done != pages)
        return ERR_STORE_BUSY;
    sqlite_log_replaced(d->handle);
    return OK;
}

static err begin(db *base) {
    sqlite_db *d = (sqlite_db *)base;
    if (sqlite_log_torn(d->handle))
        TRY(mend(d));
    return run(base, BEGIN);
}

/* SQLite's own hook would do the checkpoint, whose flushes must not be put off, before the commit returns. */
static int on_commit(void *ctx, sqlite3 *handle, const char *name, int pages) {
    (void)handle;
    (void)name;
    ((sqlite_db *)ctx)->log_pages = pages;
    return SQLITE_OK;
}

static err commit_and(db *base, bool put_off) {
    sqlite_db *d = (sqlite_db *)base;
    d->log_pages = 0;
    if (put_off)
        sqlite_log_put_off(d->handle, true);
    err e = run(base, COMMIT);
    if (put_off)
        sqlite_log_put_off(d->handle, false);
    /* One that fails is tried again after the next commit; this one is done. */
    if (e == OK && d->log_pages >= LOG_PAGES)
        (void)sqlite3_wal_checkpoint_v2(d->handle, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    return e;
}

static err commit(db *base) { return commit_and(base, false); }
static err commit_unflushed(db *base) { return commit_and(base, true); }
static err savepoint(db *d) { return run(d, SAVEPOINT); }
static err release(db *d) { return run(d, RELEASE); }
static void rollback(db *d) {
    if (!sqlite3_get_autocommit(((sqlite_db *)d)->handle))
        (void)run(d, ROLLBACK);
}
static err rollback_to(db *d, bool made) {
    /* Disk full, I/O errors and the like may have ended the transaction. */
    if (sqlite3_get_autocommit(((sqlite_db *)d)->handle))
        return ERR_STORE;
    if (!made)
        return OK;
    TRY(run(d, BACK));
    return run(d, RELEASE);
}

static void close_db(db *base) {
    sqlite_db *d = (sqlite_db *)base;
    for (size_t i = 0; i < STATEMENTS_MAX; i++)
        (void)sqlite3_finalize(d->cache[i].statement);
    (void)sqlite3_close(d->handle);
    free(d);
}

static const db_driver DRIVER = {.begin = begin,
                                 .commit = commit,
                                 .commit_unflushed = commit_unflushed,
                                 .rollback = rollback,
                                 .savepoint = savepoint,
                                 .release = release,
                                 .rollback_to = rollback_to,
                                 .query = query,
                                 .next = next,
                                 .integer = integer,
                                 .bytes = bytes,
                                 .is_null = is_null,
                                 .end = end,
                                 .changes = changes,
                                 .close = close_db};

static err execute(sqlite_db *d, const char *sql) {
    return failed(d, sqlite3_exec(d->handle, sql, NULL, NULL, NULL), "open");
}

static err read_version(sqlite_db *d, int *version) {
    sqlite3_stmt *s = NULL;
    TRY(failed(d, sqlite3_prepare_v2(d->handle, "PRAGMA user_version", -1, &s, NULL), "version"));
    int rc = sqlite3_step(s);
    *version = rc == SQLITE_ROW ? sqlite3_column_int(s, 0) : -1;
    (void)sqlite3_finalize(s);
    return rc == SQLITE_ROW ? OK : failed(d, rc, "version");
}

static err migrate(sqlite_db *d) {
    int version = 0;
    TRY(execute(d, "BEGIN IMMEDIATE"));
    err e = read_version(d, &version);
    if (e == OK && version > SCHEMA_VERSION) {
        log_line(LOG_ERROR, "event=database message=\"the data was written by a newer relay (schema %d)\"", version);
        e = ERR_STORE_NEWER;
    }
    for (size_t i = 0; i < SCHEMA_STEPS && e == OK; i++) {
        char sql[SQL_MAX];
        if (SCHEMA[i].version <= version)
            continue;
        (void)snprintf(sql, sizeof sql, "%s%s", SCHEMA[i].sql, SCHEMA[i].clustered ? " WITHOUT ROWID" : "");
        e = execute(d, sql);
    }
    char set_version[40];
    (void)snprintf(set_version, sizeof set_version, "PRAGMA user_version = %d", SCHEMA_VERSION);
    if (e == OK)
        e = execute(d, set_version);
    if (e == OK)
        return execute(d, "COMMIT");
    (void)sqlite3_exec(d->handle, "ROLLBACK", NULL, NULL, NULL);
    return e;
}

err db_open_sqlite(const char *path, bool read_only, db **out) {
    *out = NULL;
    sqlite_db *d = calloc(1, sizeof *d);
    if (d == NULL)
        return ERR_NO_MEMORY;
    d->base.driver = &DRIVER;
    int flags = read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    const char *vfs = sqlite_log_vfs();
    err e = vfs != NULL ? failed(d, sqlite3_open_v2(path, &d->handle, flags, vfs), "open") : ERR_STORE;
    if (e == OK && read_only) {
        int version = 0;
        e = read_version(d, &version);
        if (e == OK && version != SCHEMA_VERSION)
            e = version > SCHEMA_VERSION ? ERR_STORE_NEWER : ERR_STATE;
    } else if (e == OK) {
        /* A commit is on the medium when it returns: FULL flushes the log each time. */
        e = execute(d, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; "
                       "PRAGMA cache_size = -65536; PRAGMA busy_timeout = 2000; "
                       "PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = 67108864");
        (void)sqlite3_wal_hook(d->handle, on_commit, d);
        if (e == OK)
            e = migrate(d);
    }
    if (e != OK) {
        close_db(&d->base);
        return e;
    }
    *out = &d->base;
    return OK;
}
