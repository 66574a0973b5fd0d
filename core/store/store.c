#include "store/store.h"

#include <assert.h>
#include <stdlib.h>

#include "base/secret.h"
#include "base/text.h"
#include "host.h"
#include "sqlite3.h"
#include "store/vfs.h"

#define PAGE_SIZE 4096
#define PLAINTEXT_HEADER "SQLite format 3" /* with its NUL, 16 bytes */
#define HEADER_SIZE 16
#define RAW_KEY_PREFIX "raw:" /* SQLite3MC: the bytes that follow are the key, no derivation */
#define RAW_KEY_PREFIX_SIZE 4
#define PATH_SIZE 200

/* The statement cache: a literal's address chooses a set, and the least recently used in it makes room. */
#define CACHE_SETS 64
#define CACHE_WAYS 4

typedef struct statement {
    const char *sql;
    sqlite3_stmt *prepared;
    struct statement *next; /* in the list of those that found no room in the cache */
    uint32_t used_at;
    bool busy;
    bool spare; /* in that list */
} statement;

struct store {
    sqlite3 *db;
    vfs_file *file; /* NULL in memory */
    statement *spares;
    int busy;
    uint32_t clock;
    statement cache[CACHE_SETS][CACHE_WAYS];
};

/* --- errors --- */

static err err_of_host(int error) {
    switch (error) {
    case HOST_EFULL: return ERR_STORE_FULL;
    case HOST_EBUSY: return ERR_STORE_BUSY;
    case HOST_EDENIED: return ERR_STORE_DENIED;
    default: return ERR_STORE;
    }
}

/* A line for the developer: SQL is literals of ours, so it holds nobody's data. */
static void log_failure(int code, const char *what) {
    char line[200];
    sqlite3_snprintf(sizeof line, line, "store: %s (%d): %.120s", sqlite3_errstr(code), code, what);
    host_log(3, line, strlen(line));
}

/* The error for an extended code of SQLite's. */
static err err_of_sqlite(store *s, int code, const char *what) {
    int host = s->file != NULL ? vfs_take_error(s->file) : 0;
    switch (code & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE: return OK;
    case SQLITE_NOMEM: return ERR_NO_MEMORY;
    case SQLITE_CONSTRAINT:
        if (code == SQLITE_CONSTRAINT_UNIQUE || code == SQLITE_CONSTRAINT_PRIMARYKEY || code == SQLITE_CONSTRAINT_ROWID)
            return ERR_EXISTS;
        break;
    case SQLITE_TOOBIG: return ERR_TOO_LARGE;
    default:
        if (host != 0) {
            log_failure(code, what);
            return err_of_host(host);
        }
        break;
    }
    if (code != SQLITE_NOTADB) /* that is a key that does not fit */
        log_failure(code, what);
    switch (code & 0xff) {
    case SQLITE_FULL: return ERR_STORE_FULL;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return ERR_STORE_BUSY;
    case SQLITE_PERM: return ERR_STORE_DENIED;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return ERR_STORE_CORRUPT;
    default: return ERR_STORE;
    }
}

/* SQLite3MC lets some failed reads pass for good ones; the file layer remembers them (vfs.h). */
static err store_check(store *s) {
    int host = s->file != NULL ? vfs_failed(s->file) : 0;
    return host != 0 ? err_of_host(host) : OK;
}

/* --- statements --- */

static int prepare(store *s, const char *sql, statement *out) {
    out->sql = sql;
    return sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &out->prepared, NULL);
}

static statement *spare(store *s, const char *sql, int *code) {
    statement *st = calloc(1, sizeof *st);
    if (st == NULL) {
        *code = SQLITE_NOMEM;
        return NULL;
    }
    *code = prepare(s, sql, st);
    if (*code != SQLITE_OK) {
        free(st);
        return NULL;
    }
    st->spare = true;
    st->next = s->spares;
    s->spares = st;
    return st;
}

/* A statement for sql, marked busy. */
static statement *take(store *s, const char *sql, int *code) {
    statement *set = s->cache[(((uintptr_t)sql * 0x9e3779b1u) >> 16) % CACHE_SETS], *found = NULL;
    bool twice = false;
    *code = SQLITE_OK;
    for (int i = 0; i < CACHE_WAYS; i++) {
        statement *st = &set[i];
        if (st->sql == sql && st->busy)
            twice = true; /* the same query within itself */
        else if (st->sql == sql) {
            found = st;
            break;
        } else if (!st->busy && (found == NULL || st->used_at < found->used_at))
            found = st;
    }
    if (found == NULL || (twice && found->sql != sql)) {
        found = spare(s, sql, code);
    } else if (found->sql != sql) {
        sqlite3_finalize(found->prepared);
        memset(found, 0, sizeof *found);
        *code = prepare(s, sql, found);
        if (*code != SQLITE_OK) {
            memset(found, 0, sizeof *found);
            found = NULL;
        }
    }
    if (found == NULL)
        return NULL;
    found->busy = true;
    found->used_at = ++s->clock;
    s->busy++;
    return found;
}

static void give_back(store *s, statement *st) {
    sqlite3_reset(st->prepared);
    sqlite3_clear_bindings(st->prepared); /* they point into memory of the caller's */
    st->busy = false;
    s->busy--;
    if (!st->spare)
        return;
    for (statement **at = &s->spares; *at != NULL; at = &(*at)->next) {
        if (*at != st)
            continue;
        *at = st->next;
        sqlite3_finalize(st->prepared);
        free(st);
        return;
    }
}

/* A function that left early may have left its query open: no query outlives the transaction it was made in. */
static void take_back_all(store *s) {
    while (s->spares != NULL)
        give_back(s, s->spares);
    for (int i = 0; s->busy > 0 && i < CACHE_SETS * CACHE_WAYS; i++) {
        statement *st = &s->cache[i / CACHE_WAYS][i % CACHE_WAYS];
        if (st->busy)
            give_back(s, st);
    }
    assert(s->busy == 0);
}

/* --- queries --- */

static sqlite3_stmt *prepared_of(const query *q) {
    return q->statement != NULL ? ((statement *)q->statement)->prepared : NULL;
}

static const char *sql_of(const query *q) { return ((statement *)q->statement)->sql; }

void query_init(query *q, store *s, const char *sql) {
    int code;
    *q = (query){.store = s};
    q->statement = take(s, sql, &code);
    if (q->statement == NULL)
        q->error = err_of_sqlite(s, code, sql);
}

static void bound(query *q, int code) {
    if (code != SQLITE_OK)
        q->error = err_of_sqlite(q->store, code, sql_of(q));
}

void query_bind_int(query *q, int64_t v) {
    if (q->error == OK)
        bound(q, sqlite3_bind_int64(prepared_of(q), ++q->bound, v));
}

void query_bind_blob(query *q, span v) {
    if (q->error != OK)
        return;
    if (v.p == NULL && v.n > 0)
        q->error = ERR_STATE;
    else
        bound(q, sqlite3_bind_blob64(prepared_of(q), ++q->bound, v.p, v.n, SQLITE_STATIC));
}

void query_bind_text(query *q, span v) {
    if (q->error != OK)
        return;
    if (v.p == NULL && v.n > 0)
        q->error = ERR_STATE;
    else
        bound(q, sqlite3_bind_text64(prepared_of(q), ++q->bound, (const char *)v.p, v.n, SQLITE_STATIC, SQLITE_UTF8));
}

void query_bind_null(query *q) {
    if (q->error == OK)
        bound(q, sqlite3_bind_null(prepared_of(q), ++q->bound));
}

bool query_row(query *q) {
    if (q->error != OK || q->done)
        return false;
    int code = sqlite3_step(prepared_of(q));
    if (code == SQLITE_ROW)
        return true;
    q->done = true;
    if (code != SQLITE_DONE)
        q->error = err_of_sqlite(q->store, code, sql_of(q));
    return false;
}

int64_t query_int(query *q, int column) {
    return q->error == OK && !q->done ? sqlite3_column_int64(prepared_of(q), column) : 0;
}

static span column_span(query *q, const void *p, int column) {
    size_t n = (size_t)sqlite3_column_bytes(prepared_of(q), column);
    return n > 0 ? span_of(p, n) : span_of("", 0);
}

span query_blob(query *q, int column) {
    if (query_is_null(q, column))
        return SPAN_NONE;
    return column_span(q, sqlite3_column_blob(prepared_of(q), column), column);
}

span query_text(query *q, int column) {
    if (query_is_null(q, column))
        return SPAN_NONE;
    return column_span(q, sqlite3_column_text(prepared_of(q), column), column);
}

bool query_is_null(query *q, int column) {
    return q->error != OK || q->done || sqlite3_column_type(prepared_of(q), column) == SQLITE_NULL;
}

err query_end(query *q) {
    if (q->statement == NULL)
        return q->error;
    /* What only reads and has begun needs no steps beyond those that the caller wanted. */
    if (!sqlite3_stmt_readonly(prepared_of(q)) || !sqlite3_stmt_busy(prepared_of(q)))
        while (query_row(q)) {
        }
    give_back(q->store, q->statement);
    q->statement = NULL;
    return q->error;
}

/* --- transactions --- */

static err run(store *s, const char *sql) {
    query q;
    query_init(&q, s, sql);
    return query_end(&q);
}

/* What was written last must not outlive its deletion (emscripten/sqlite/core.c). */
void sqlite3_wipe_scratch(sqlite3 *db);

err store_begin(store *s) {
    if (!sqlite3_get_autocommit(s->db))
        return ERR_STATE;
    take_back_all(s);
    TRY(store_check(s));
    if (s->file != NULL)
        (void)vfs_take_error(s->file);
    return run(s, "BEGIN IMMEDIATE");
}

err store_commit(store *s) {
    if (sqlite3_get_autocommit(s->db))
        return ERR_STATE;
    TRY(store_check(s));
    err e = run(s, "COMMIT");
    sqlite3_wipe_scratch(s->db);
    return e;
}

void store_rollback(store *s) {
    take_back_all(s);
    /* Some errors (a full disk among them) have made SQLite roll back already. It holds the old pages in memory or in the
     * database and the WAL, so going back writes nothing; where it can't read, the handle stays failed. */
    if (!sqlite3_get_autocommit(s->db))
        (void)run(s, "ROLLBACK");
    sqlite3_wipe_scratch(s->db);
}

err store_savepoint(store *s) {
    if (sqlite3_get_autocommit(s->db))
        return ERR_STATE;
    return run(s, "SAVEPOINT event");
}

err store_savepoint_release(store *s) { return run(s, "RELEASE event"); }

void store_savepoint_rollback(store *s) {
    take_back_all(s);
    if (sqlite3_get_autocommit(s->db))
        return; /* all of it was rolled back */
    (void)run(s, "ROLLBACK TO event");
    (void)run(s, "RELEASE event");
}

int64_t store_last_id(store *s) { return sqlite3_last_insert_rowid(s->db); }
int64_t store_changes(store *s) { return sqlite3_changes64(s->db); }

/* --- opening --- */

/* What is at a path before SQLite sees it. */
enum found {
    FOUND_NOTHING,
    FOUND_UNFINISHED, /* the first transaction never ended: there was no store yet */
    FOUND_PLAINTEXT,
    FOUND_LOST, /* the database is empty, but not its WAL */
    FOUND_STORE
};

typedef struct file_names {
    size_t n; /* of the database's name, with which the others begin */
    char wal[PATH_SIZE];
    char journal[PATH_SIZE];
} file_names;

/* How large the file is, with its first bytes, or a HOST_E*. */
static double look(const char *path, size_t n, uint8_t *head, size_t head_size) {
    int32_t fd = host_file_open(path, n, HOST_OPEN_READONLY);
    memset(head, 0, head_size);
    if (fd < 0)
        return fd;
    double size = host_file_size(fd);
    int32_t got = size < 0 ? 0 : host_file_read(fd, head, head_size, 0);
    (void)host_file_close(fd);
    return got < 0 ? got : size;
}

static err find(const char *path, const file_names *names, enum found *found) {
    static const uint8_t journal_magic[8] = {0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7};
    uint8_t head[HEADER_SIZE], other[20];
    double size = look(path, names->n, head, sizeof head);
    *found = FOUND_NOTHING;
    if (size < 0 && size != HOST_ENOENT)
        return err_of_host((int)size);
    if (size <= 0) {
        double wal = look(names->wal, strlen(names->wal), other, sizeof other);
        if (wal < 0 && wal != HOST_ENOENT)
            return err_of_host((int)wal);
        *found = wal > 0 ? FOUND_LOST : FOUND_NOTHING;
        return OK;
    }
    if (memcmp(head, PLAINTEXT_HEADER, HEADER_SIZE) == 0) {
        *found = FOUND_PLAINTEXT;
        return OK;
    }
    /* A journal that is in force and goes back to a database of no pages (SQLite's file format, §3: bytes 16 to 19). */
    double journal = look(names->journal, strlen(names->journal), other, sizeof other);
    if (journal < 0 && journal != HOST_ENOENT)
        return err_of_host((int)journal);
    bool unfinished = journal >= (double)sizeof other && memcmp(other, journal_magic, sizeof journal_magic) == 0 &&
                      memcmp(other + 16, "\0\0\0", 4) == 0;
    *found = unfinished ? FOUND_UNFINISHED : FOUND_STORE;
    return OK;
}

/* Goes back to no store, as SQLite would with the journal: first the database, then the journal. */
static err remove_unfinished(const char *path, const file_names *names) {
    int32_t fd = host_file_open(path, names->n, HOST_OPEN_EXCLUSIVE);
    if (fd < 0)
        return err_of_host(fd);
    int32_t result = host_file_truncate(fd, 0);
    if (result >= 0)
        result = host_file_sync(fd);
    (void)host_file_close(fd);
    if (result >= 0)
        result = host_file_delete(names->journal, strlen(names->journal));
    return result < 0 && result != HOST_ENOENT ? err_of_host(result) : OK;
}

static err execute(store *s, const char *sql) {
    int code = sqlite3_exec(s->db, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? OK : err_of_sqlite(s, sqlite3_extended_errcode(s->db), sql);
}

static err set_key(store *s, const uint8_t key[STORE_KEY_SIZE]) {
    uint8_t raw[RAW_KEY_PREFIX_SIZE + STORE_KEY_SIZE];
    memcpy(raw, RAW_KEY_PREFIX, RAW_KEY_PREFIX_SIZE);
    memcpy(raw + RAW_KEY_PREFIX_SIZE, key, STORE_KEY_SIZE);
    int code = sqlite3_key_v2(s->db, "main", raw, sizeof raw);
    wipe(raw, sizeof raw);
    return err_of_sqlite(s, code, "key");
}

static err set_wal(store *s) {
    query q;
    query_init(&q, s, "PRAGMA journal_mode = WAL");
    bool wal = query_row(&q) && span_equal(query_text(&q, 0), span_text("wal"));
    TRY(query_end(&q));
    if (!wal) {
        log_failure(SQLITE_ERROR, "the database refused to use a WAL");
        return ERR_STORE;
    }
    return OK;
}

static err schema_version(store *s, int64_t *version) {
    query q;
    query_init(&q, s, "PRAGMA user_version");
    *version = query_row(&q) ? query_int(&q, 0) : 0;
    return query_end(&q);
}

/* Brings the schema from `version` to its newest, in one transaction. */
static err migrate(store *s, const store_schema *schema, int64_t version) {
    err e;
    char set_version[40];
    if (version > schema->count)
        return ERR_STORE_NEWER;
    if (version == schema->count && version > 0)
        return OK;
    sqlite3_snprintf(sizeof set_version, set_version, "PRAGMA user_version = %d", schema->count);
    TRY_OUT(store_begin(s));
    for (int64_t i = version; i < schema->count; i++)
        TRY_OUT(execute(s, schema->migrations[i]));
    TRY_OUT(execute(s, set_version));
    TRY_OUT(store_commit(s));
    return OK;
out:
    store_rollback(s);
    return e;
}

/* The file must not look like SQLite's: a build without the cipher would ignore the key (libxmtp PR #3798). */
static err check_sealed(store *s) {
    uint8_t head[HEADER_SIZE];
    int32_t got = vfs_read_raw(s->file, head, sizeof head, 0);
    if (got < 0)
        return err_of_host(got);
    if (got == HEADER_SIZE && memcmp(head, PLAINTEXT_HEADER, HEADER_SIZE) != 0)
        return OK;
    log_failure(SQLITE_MISUSE, "the database is not encrypted");
    return ERR_STORE_CORRUPT;
}

static err open_memory(store *s, const store_schema *schema) {
    int code =
        sqlite3_open_v2(":memory:", &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_EXRESCODE, NULL);
    TRY(err_of_sqlite(s, code, "open"));
    return migrate(s, schema, 0);
}

static err open_file(store *s, const char *path, const file_names *names, const uint8_t key[STORE_KEY_SIZE],
                     bool create, const store_schema *schema) {
    static const char exclusive[] = "PRAGMA locking_mode = EXCLUSIVE";
    int64_t version;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_EXRESCODE | (create ? SQLITE_OPEN_CREATE : 0);
    TRY(err_of_sqlite(s, sqlite3_open_v2(path, &s->db, flags, NULL), "open"));
    s->file = vfs_main_file(s->db);
    if (s->file == NULL)
        return ERR_STORE;
    /* Until the key is known to fit, closing must neither copy from the WAL nor delete it. */
    (void)sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    TRY(set_key(s, key));
    /* Exclusive before WAL: the WAL's index then lives on the heap, not in shared memory. */
    if (!create)
        TRY(execute(s, exclusive));
    TRY(execute(s, "PRAGMA cache_size = -2048; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;"
                   "PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;"
                   "PRAGMA wal_autocheckpoint = 256; PRAGMA journal_size_limit = 0"));
    if (create) {
        /* The schema is written under a rollback journal, so that a store either is there as a whole or is not. */
        TRY(execute(s, "PRAGMA page_size = 4096"));
        TRY(migrate(s, schema, 0));
        TRY(execute(s, exclusive));
    }
    TRY(schema_version(s, &version));
    TRY(set_wal(s));
    TRY(store_check(s));
    TRY(check_sealed(s));
    if (create) /* empty since the change to WAL */
        (void)host_file_delete(names->journal, strlen(names->journal));
    (void)sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
    return migrate(s, schema, version);
}

err store_open(const char *path, const uint8_t key[STORE_KEY_SIZE], bool create, const store_schema *schema,
               store **out) {
    err e;
    file_names names = {.n = strlen(path)};
    enum found found;
    store *s = NULL;
    *out = NULL;
    if (vfs_configure() != SQLITE_OK)
        return ERR_NO_MEMORY;
    if (names.n > PATH_SIZE - sizeof "-journal")
        return ERR_TOO_LARGE;
    sqlite3_snprintf(sizeof names.wal, names.wal, "%s-wal", path);
    sqlite3_snprintf(sizeof names.journal, names.journal, "%s-journal", path);
    if (names.n > 0) {
        TRY(find(path, &names, &found));
        switch (found) {
        case FOUND_NOTHING:
            if (!create)
                return ERR_NOT_FOUND;
            break;
        case FOUND_UNFINISHED:
            if (!create)
                return ERR_NOT_FOUND;
            TRY(remove_unfinished(path, &names));
            break;
        case FOUND_PLAINTEXT:
        case FOUND_LOST: return create ? ERR_EXISTS : ERR_STORE_CORRUPT;
        case FOUND_STORE:
            if (create)
                return ERR_EXISTS;
            break;
        }
    }
    s = calloc(1, sizeof *s);
    if (s == NULL)
        return ERR_NO_MEMORY;
    TRY_OUT(names.n > 0 ? open_file(s, path, &names, key, create, schema) : open_memory(s, schema));
    *out = s;
    return OK;
out:
    store_close(s);
    return e;
}

void store_close(store *s) {
    if (s == NULL)
        return;
    if (s->db != NULL) {
        store_rollback(s);
        for (int i = 0; i < CACHE_SETS * CACHE_WAYS; i++)
            sqlite3_finalize(s->cache[i / CACHE_WAYS][i % CACHE_WAYS].prepared);
        /* A WAL that could not be read as a whole must stay. */
        if (s->file != NULL && vfs_failed(s->file))
            (void)sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        int code = sqlite3_close(s->db);
        assert(code != SQLITE_BUSY);
        (void)code;
    }
    wipe(s, sizeof *s);
    free(s);
}
