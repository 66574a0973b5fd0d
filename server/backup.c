#include "backup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sqlite3.h>

#include "log.h"
#include "restored.h"
#include "schema.h"

#define BUSY_MS 10000

static err wrong(const char *doing, const char *why) {
    log_line(LOG_ERROR, "event=backup doing=%s message=\"%s\"", doing, why);
    return ERR_STORE;
}

static err damaged(void) {
    (void)wrong("check", "the copy is damaged, or no database");
    return ERR_STORE_CORRUPT;
}

static err flush(const char *path, int flags) {
    int fd = open(path, flags | O_CLOEXEC);
    bool done = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        (void)close(fd);
    return done ? OK : wrong("flush", strerror(errno));
}

/* A new name is on the medium when its folder is. */
static err flush_folder(const char *file) {
    char folder[PATH_MAX];
    const char *slash = strrchr(file, '/');
    size_t n = slash == NULL ? 0 : slash == file ? 1 : (size_t)(slash - file);
    if (n >= sizeof folder)
        return ERR_TOO_LARGE;
    (void)snprintf(folder, sizeof folder, "%.*s", n > 0 ? (int)n : 1, n > 0 ? file : ".");
    return flush(folder, O_RDONLY | O_DIRECTORY);
}

/* In one step, so one read transaction: what is written meanwhile goes to the log and is not in the copy. */
static err copy_pages(sqlite3 *from, sqlite3 *to) {
    sqlite3_backup *b = sqlite3_backup_init(to, "main", from, "main");
    if (b == NULL)
        return wrong("copy", sqlite3_errmsg(to));
    int rc = sqlite3_backup_step(b, -1), finished = sqlite3_backup_finish(b);
    if (rc == SQLITE_DONE && finished == SQLITE_OK)
        return OK;
    return wrong("copy", sqlite3_errstr(rc != SQLITE_DONE ? rc : finished));
}

static err open_at(const char *path, int flags, sqlite3 **out) {
    int rc = sqlite3_open_v2(path, out, flags, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_busy_timeout(*out, BUSY_MS);
    return rc == SQLITE_OK ? OK : wrong("open", sqlite3_errstr(rc));
}

/* Makes `part` a flushed copy of the database `from`, readable by its owner only. */
static err copy_file(const char *from, const char *part) {
    sqlite3 *source = NULL, *target = NULL;
    (void)unlink(part);
    int fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return wrong("write", strerror(errno));
    (void)close(fd);
    err e = open_at(from, SQLITE_OPEN_READONLY, &source);
    if (e == OK)
        e = open_at(part, SQLITE_OPEN_READWRITE, &target);
    /* It is flushed as a whole before it gets its name. */
    if (e == OK && sqlite3_exec(target, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF", NULL, NULL, NULL) != 0)
        e = wrong("write", sqlite3_errmsg(target));
    if (e == OK)
        e = copy_pages(source, target);
    /* The pages say that there is a log; a copy is one file, readable where nothing can be written. */
    if (e == OK && sqlite3_exec(target, "PRAGMA journal_mode = DELETE", NULL, NULL, NULL) != 0)
        e = sqlite3_errcode(target) == SQLITE_CORRUPT ? damaged() : wrong("write", sqlite3_errmsg(target));
    (void)sqlite3_close(source);
    (void)sqlite3_close(target);
    return e == OK ? flush(part, O_RDONLY) : e;
}

static err put_in_place(const char *part, const char *file) {
    if (rename(part, file) != 0)
        return wrong("rename", strerror(errno));
    return flush_folder(file);
}

err backup_make(const char *path, const char *file) {
    char part[PATH_MAX];
    if (snprintf(part, sizeof part, "%s.part", file) >= (int)sizeof part)
        return ERR_TOO_LARGE;
    err e = copy_file(path, part);
    if (e == OK)
        e = put_in_place(part, file);
    if (e != OK)
        (void)unlink(part);
    return e;
}

/* ---- restore */

/* The first column of the first row, as text. */
static err ask(sqlite3 *d, const char *sql, char *out, size_t size) {
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(d, sql, -1, &s, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    if (rc == SQLITE_ROW)
        (void)snprintf(out, size, "%s", (const char *)sqlite3_column_text(s, 0));
    (void)sqlite3_finalize(s);
    return rc == SQLITE_ROW ? OK : ERR_STORE_CORRUPT;
}

static err check(const char *path) {
    sqlite3 *d = NULL;
    char answer[80] = "", version[24] = "";
    err e = open_at(path, SQLITE_OPEN_READONLY, &d);
    if (e == OK && (ask(d, "PRAGMA integrity_check", answer, sizeof answer) != OK || strcmp(answer, "ok") != 0))
        e = damaged();
    if (e == OK && (ask(d, "PRAGMA user_version", version, sizeof version) != OK || strcmp(version, "0") == 0 ||
                    ask(d, "SELECT count(*) FROM clinics", answer, sizeof answer) != OK)) {
        (void)wrong("check", "this is a database, but not a relay's");
        e = ERR_STORE_CORRUPT;
    }
    char own[24];
    (void)snprintf(own, sizeof own, "%d", SCHEMA_VERSION);
    if (e == OK && (strlen(version) > strlen(own) || (strlen(version) == strlen(own) && strcmp(version, own) > 0))) {
        (void)wrong("check", "the copy is of a newer relay");
        e = ERR_STORE_NEWER;
    }
    (void)sqlite3_close(d);
    return e;
}

/* The log belongs to the database that goes: SQLite would play it into the new one. */
static err remove_log(const char *path) {
    static const char *const SUFFIX[] = {"-wal", "-shm", "-journal"};
    char name[PATH_MAX];
    for (size_t i = 0; i < sizeof SUFFIX / sizeof *SUFFIX; i++) {
        if (snprintf(name, sizeof name, "%s%s", path, SUFFIX[i]) >= (int)sizeof name)
            return ERR_TOO_LARGE;
        if (unlink(name) != 0 && errno != ENOENT)
            return wrong("remove", strerror(errno));
    }
    return flush_folder(path);
}

/* Brings the copy up to date, and raises its numbers. */
static err go_on(const char *part) {
    char log[PATH_MAX];
    db *d = NULL;
    TRY(db_open_sqlite(part, false, &d));
    err e = database_restored(d, clock_now_ms());
    db_close(d); /* what was written goes from the log into the file; else the log stays */
    if (e == OK && snprintf(log, sizeof log, "%s-wal", part) < (int)sizeof log && access(log, F_OK) != 0)
        return flush(part, O_RDONLY);
    return wrong("restore", "the copy can't be written to");
}

err backup_restore(const char *file, const char *path, bool force) {
    char part[PATH_MAX];
    struct stat st;
    if (!force && stat(path, &st) == 0) {
        (void)wrong("restore", "there is a database already; --force replaces it");
        return ERR_EXISTS;
    }
    if (snprintf(part, sizeof part, "%s.part", path) >= (int)sizeof part)
        return ERR_TOO_LARGE;
    err e = copy_file(file, part);
    if (e == OK)
        e = check(part);
    if (e == OK)
        e = go_on(part);
    if (e == OK)
        e = remove_log(path);
    if (e == OK)
        e = put_in_place(part, path);
    if (e != OK) {
        (void)unlink(part);
        (void)!remove_log(part);
    }
    return e;
}
