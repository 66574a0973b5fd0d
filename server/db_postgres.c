/* db_postgres.c: PostgreSQL by libpq. One connection, everything in binary; a statement is prepared when it is first used. A
 * connection that broke is made anew at the next transaction, so that the relay outlives its database. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libpq-fe.h>

#include "base/text.h"
#include "db.h"
#include "log.h"
#include "schema.h"

/* More statements than the logic has; open addressing needs room. */
#define STATEMENTS_MAX 256
/* More values than any statement takes. */
#define VALUES_MAX 16
#define SQL_MAX 700
/* Object ids of the types, fixed in PostgreSQL's catalogue. */
enum { TYPE_BYTEA = 17, TYPE_INT8 = 20, TYPE_INT4 = 23 };
/* Relays that start together migrate one after the other: the number of an advisory lock. */
#define MIGRATION_LOCK "7301841"
/* A server that recovers from a crash is not asked more often than this: every try costs it a process. */
#define RECONNECT_MS 200
/* The digits of an int64, its sign and the end. */
#define DIGITS_MAX 24

typedef struct postgres_rows {
    PGresult *result;
    int row;
    char digits[DIGITS_MAX]; /* db_bytes of a number */
} postgres_rows;

typedef struct postgres_db {
    db base;
    PGconn *connection;
    int64_t changes;
    int64_t tried_ms; /* to connect again */
    bool missed;      /* notifications, while the connection was down */
    /* Statements prepared on this connection; the address is the name. */
    const char *prepared[STATEMENTS_MAX];
} postgres_db;

/* ---- errors: by SQLSTATE (PostgreSQL, appendix A) */

static err error_of(const postgres_db *d, const PGresult *result) {
    const char *state = result != NULL ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
    if (PQstatus(d->connection) != CONNECTION_OK || state == NULL)
        return ERR_STORE;
    if (strcmp(state, "53100") == 0) /* disk_full */
        return ERR_STORE_FULL;
    if (strcmp(state, "25006") == 0 ||
        strcmp(state, "42501") == 0) /* read_only_sql_transaction, insufficient_privilege */
        return ERR_STORE_DENIED;
    if (strncmp(state, "40", 2) == 0 || strcmp(state, "55P03") == 0) /* rolled back by a conflict; lock_not_available */
        return ERR_STORE_BUSY;
    if (strncmp(state, "XX", 2) == 0) /* internal error, data corrupted */
        return ERR_STORE_CORRUPT;
    if (strncmp(state, "53200", 5) == 0)
        return ERR_NO_MEMORY;
    return ERR_STORE;
}

/* The primary message names tables and constraints; the detail, which quotes values, is never asked for. */
static err failed(postgres_db *d, PGresult *result, const char *doing) {
    err e = error_of(d, result);
    const char *message = result != NULL ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : NULL;
    const char *state = result != NULL ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
    log_line(LOG_ERROR, "event=database doing=%s state=%s message=\"%s\"", doing, state != NULL ? state : "-",
             message != NULL ? message : "the connection is gone");
    PQclear(result);
    return e;
}

static err execute(postgres_db *d, const char *sql, const char *doing) {
    PGresult *result = PQexec(d->connection, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
        return failed(d, result, doing);
    PQclear(result);
    return OK;
}

/* ---- statements */

static size_t slot_of(const postgres_db *d, const char *sql) {
    size_t i = (size_t)(((uintptr_t)sql >> 3) * 0x9E3779B97F4A7C15u >> 32) % STATEMENTS_MAX;
    while (d->prepared[i] != NULL && d->prepared[i] != sql)
        i = (i + 1) % STATEMENTS_MAX;
    return i;
}

static err prepare(postgres_db *d, size_t slot, const char *name, const char *sql, const Oid *types, size_t n) {
    PGresult *result = PQprepare(d->connection, name, sql, (int)n, types);
    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        return failed(d, result, "prepare");
    PQclear(result);
    d->prepared[slot] = sql;
    return OK;
}

static void big_endian(uint8_t out[8], int64_t v) {
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)((uint64_t)v >> (56 - 8 * i));
}

static err query(db *base, const char *sql, const db_value *values, size_t n, void **statement) {
    postgres_db *d = (postgres_db *)base;
    uint8_t integers[VALUES_MAX][8];
    const char *at[VALUES_MAX];
    int lengths[VALUES_MAX], formats[VALUES_MAX];
    Oid types[VALUES_MAX];
    if (n > VALUES_MAX)
        return ERR_LIMIT;
    for (size_t i = 0; i < n; i++) {
        formats[i] = 1;
        lengths[i] = 8;
        at[i] = (const char *)integers[i];
        types[i] = TYPE_INT8;
        if (values[i].kind == DB_INTEGER) {
            big_endian(integers[i], values[i].integer);
        } else if (values[i].kind == DB_BYTES) {
            types[i] = TYPE_BYTEA;
            lengths[i] = (int)values[i].bytes.n;
            at[i] = values[i].bytes.p != NULL ? (const char *)values[i].bytes.p : "";
        } else {
            types[i] = 0; /* the column says it */
            at[i] = NULL;
        }
    }
    size_t slot = slot_of(d, sql);
    char name[16];
    (void)snprintf(name, sizeof name, "s%zu", slot);
    if (d->prepared[slot] == NULL)
        TRY(prepare(d, slot, name, sql, types, n));
    postgres_rows *rows = calloc(1, sizeof *rows);
    if (rows == NULL)
        return ERR_NO_MEMORY;
    rows->row = -1;
    rows->result = PQexecPrepared(d->connection, name, (int)n, at, lengths, formats, 1);
    ExecStatusType status = PQresultStatus(rows->result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
        PGresult *result = rows->result;
        free(rows);
        return failed(d, result, "statement");
    }
    d->changes = strtoll(PQcmdTuples(rows->result), NULL, 10);
    *statement = rows;
    return OK;
}

static err next(db *base, void *statement, bool *row) {
    (void)base;
    postgres_rows *rows = statement;
    *row = ++rows->row < PQntuples(rows->result);
    return OK;
}

static int64_t integer(void *statement, int column) {
    const postgres_rows *rows = statement;
    const uint8_t *p = (const uint8_t *)PQgetvalue(rows->result, rows->row, column);
    int n = PQgetlength(rows->result, rows->row, column);
    uint64_t v = n > 0 && p[0] >= 0x80 ? UINT64_MAX : 0; /* sign of a shorter one */
    for (int i = 0; i < n && i < 8; i++)
        v = v << 8 | p[i];
    return (int64_t)v;
}

static span bytes(void *statement, int column) {
    postgres_rows *rows = statement;
    Oid type = PQftype(rows->result, column);
    if (type != TYPE_INT8 && type != TYPE_INT4)
        return span_of(PQgetvalue(rows->result, rows->row, column),
                       (size_t)PQgetlength(rows->result, rows->row, column));
    if (PQgetisnull(rows->result, rows->row, column))
        return SPAN_NONE;
    int n = snprintf(rows->digits, sizeof rows->digits, "%lld", (long long)integer(statement, column));
    return span_of(rows->digits, (size_t)n);
}

static bool is_null(void *statement, int column) {
    const postgres_rows *rows = statement;
    return PQgetisnull(rows->result, rows->row, column) == 1;
}

static void end(db *base, void *statement) {
    (void)base;
    postgres_rows *rows = statement;
    PQclear(rows->result);
    free(rows);
}

static int64_t changes(db *base) { return ((postgres_db *)base)->changes; }

/* ---- transactions */

/* An acknowledged write is on disk, whatever the server's default; others' notifications come to this connection. */
static err prepare_connection(postgres_db *d) {
    return execute(d, "SET synchronous_commit = on; LISTEN sotto", "open");
}

static int64_t steady_ms(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static err reconnect(postgres_db *d) {
    if (PQstatus(d->connection) == CONNECTION_OK)
        return OK;
    if (d->tried_ms != 0 && steady_ms() - d->tried_ms < RECONNECT_MS)
        return ERR_STORE;
    d->tried_ms = steady_ms();
    memset(d->prepared, 0, sizeof d->prepared);
    d->missed = true;
    PQreset(d->connection);
    if (PQstatus(d->connection) != CONNECTION_OK)
        return failed(d, NULL, "connect");
    TRY(prepare_connection(d));
    log_line(LOG_INFO, "event=database message=\"connected again\"");
    return OK;
}

static err begin(db *base) {
    postgres_db *d = (postgres_db *)base;
    TRY(reconnect(d));
    /* A relay was told of its database's death only by this. */
    err e = execute(d, "BEGIN", "begin");
    if (e == OK || PQstatus(d->connection) == CONNECTION_OK)
        return e;
    TRY(reconnect(d));
    return execute(d, "BEGIN", "begin");
}

static err lock(db *base, span clinic) {
    static const char SQL[] = "SELECT 1 FROM clinics WHERE clinic = $1 FOR NO KEY UPDATE";
    void *rows = NULL;
    TRY(query(base, SQL, &(db_value){.kind = DB_BYTES, .bytes = clinic}, 1, &rows));
    end(base, rows);
    return OK;
}

/* A COMMIT of a failed transaction says ROLLBACK and is no error to PostgreSQL. */
static err commit(db *base) {
    postgres_db *d = (postgres_db *)base;
    PGresult *result = PQexec(d->connection, "COMMIT");
    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        return failed(d, result, "commit");
    bool done = strcmp(PQcmdStatus(result), "COMMIT") == 0;
    PQclear(result);
    return done ? OK : ERR_STORE;
}

static void rollback(db *base) {
    postgres_db *d = (postgres_db *)base;
    if (PQtransactionStatus(d->connection) == PQTRANS_INTRANS || PQtransactionStatus(d->connection) == PQTRANS_INERROR)
        (void)execute(d, "ROLLBACK", "rollback");
}

static err savepoint(db *base) { return execute((postgres_db *)base, "SAVEPOINT request", "savepoint"); }
static err release(db *base) { return execute((postgres_db *)base, "RELEASE SAVEPOINT request", "release"); }

static err rollback_to(db *base) {
    postgres_db *d = (postgres_db *)base;
    if (PQstatus(d->connection) != CONNECTION_OK || PQtransactionStatus(d->connection) == PQTRANS_IDLE)
        return ERR_STORE;
    return execute(d, "ROLLBACK TO SAVEPOINT request; RELEASE SAVEPOINT request", "rollback");
}

/* ---- others */

static err notify(db *base, span told) {
    static const char SQL[] = "SELECT pg_notify('sotto', encode($1, 'hex'))";
    void *rows = NULL;
    TRY(query(base, SQL, &(db_value){.kind = DB_BYTES, .bytes = told}, 1, &rows));
    end(base, rows);
    return OK;
}

static int descriptor(db *base) { return PQsocket(((postgres_db *)base)->connection); }

static bool heard(db *base, uint8_t *out, size_t *n, bool *missed) {
    postgres_db *d = (postgres_db *)base;
    if (PQconsumeInput(d->connection) == 0)
        (void)!reconnect(d);
    *missed = d->missed && PQstatus(d->connection) == CONNECTION_OK;
    if (*missed)
        d->missed = false;
    for (PGnotify *note; (note = PQnotifies(d->connection)) != NULL;) {
        size_t size = strlen(note->extra) / 2;
        bool good = note->be_pid != PQbackendPID(d->connection) && size <= NOTIFY_MAX &&
                    hex_read(out, size, span_text(note->extra)) == OK;
        PQfreemem(note);
        *n = size;
        if (good)
            return true;
    }
    return false;
}

static void close_db(db *base) {
    postgres_db *d = (postgres_db *)base;
    PQfinish(d->connection);
    free(d);
}

static const db_driver DRIVER = {.begin = begin,
                                 .lock = lock,
                                 .commit = commit,
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
                                 .notify = notify,
                                 .descriptor = descriptor,
                                 .heard = heard,
                                 .close = close_db};

/* ---- opening */

static err read_version(postgres_db *d, int *version) {
    PGresult *result = PQexec(d->connection, "SELECT version FROM schema_version");
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        return failed(d, result, "version");
    *version = PQntuples(result) == 1 ? (int)strtol(PQgetvalue(result, 0, 0), NULL, 10) : 0;
    PQclear(result);
    if (*version <= SCHEMA_VERSION)
        return OK;
    log_line(LOG_ERROR, "event=database message=\"the data was written by a newer relay (schema %d)\"", *version);
    return ERR_STORE_NEWER;
}

static err migrate_from(postgres_db *d, int version) {
    for (size_t i = 0; i < SCHEMA_STEPS; i++)
        if (SCHEMA[i].version > version)
            TRY(execute(d, SCHEMA[i].sql, "migrate"));
    if (version == SCHEMA_VERSION)
        return OK;
    char sql[SQL_MAX];
    (void)snprintf(sql, sizeof sql, "DELETE FROM schema_version; INSERT INTO schema_version (version) VALUES (%d)",
                   SCHEMA_VERSION);
    return execute(d, sql, "migrate");
}

static err migrate(postgres_db *d) {
    int version = 0;
    TRY(execute(d, "BEGIN", "migrate"));
    err e = execute(d, "SELECT pg_advisory_xact_lock(" MIGRATION_LOCK ")", "migrate");
    if (e == OK)
        e = execute(d, "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)", "migrate");
    if (e == OK)
        e = read_version(d, &version);
    if (e == OK)
        e = migrate_from(d, version);
    if (e == OK)
        e = execute(d, "COMMIT", "migrate");
    if (e != OK)
        rollback(&d->base);
    return e;
}

/* PostgreSQL tells of what exists already, and the like. */
static void notice(void *ctx, const PGresult *result) {
    (void)ctx;
    (void)result;
}

err db_open_postgres(const char *url, bool read_only, db **out) {
    *out = NULL;
    postgres_db *d = calloc(1, sizeof *d);
    if (d == NULL)
        return ERR_NO_MEMORY;
    d->base.driver = &DRIVER;
    d->connection = PQconnectdb(url);
    err e = OK;
    if (d->connection == NULL) {
        free(d);
        return ERR_NO_MEMORY;
    }
    /* PQerrorMessage may quote the address; it may hold a password. */
    if (PQstatus(d->connection) != CONNECTION_OK)
        e = failed(d, NULL, "connect");
    if (e == OK) {
        (void)PQsetNoticeReceiver(d->connection, notice, NULL);
        e = prepare_connection(d);
    }
    if (e == OK && !read_only)
        e = migrate(d);
    if (e != OK) {
        close_db(&d->base);
        return e;
    }
    *out = &d->base;
    return OK;
}
