/* db_postgres.c: PostgreSQL by libpq. One connection, everything in binary; a statement is prepared when it is first used. A
 * connection that broke is made anew at the next transaction, so that the relay outlives its database.
 *
 * The connection is in pipeline mode: statements are sent as they come, and only who asks for a result waits, for all that was sent
 * before too. After a failure the server skips what follows up to the next synchronisation, which every wait is. */
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
#define STATEMENTS_MAX 512
/* More values than any statement takes: a db_many of 256 rows with 10 columns. */
#define VALUES_MAX 2560
/* Statements under way, those that prepare others too; then their results are taken in. */
#define UNDER_WAY_MAX 256
#define SQL_MAX 700
/* Object ids of the types, fixed in PostgreSQL's catalogue. */
enum { TYPE_BYTEA = 17, TYPE_INT8 = 20, TYPE_INT4 = 23 };
/* Relays that start together migrate one after the other: the number of an advisory lock. */
#define MIGRATION_LOCK "7301841"
/* A server that recovers from a crash is not asked more often than this: every try costs it a process. */
#define RECONNECT_MS 200
/* A machine that vanishes says nothing. The relay finds out by itself, and stands still no longer than this; */
#define CONNECT_TIMEOUT_S "3"
#define NO_ANSWER_MS "10000"
/* and so does the server of a relay's: what its session has locked, others wait for. They wait a little longer than that. */
#define IDLE_MS "10000"
#define LOCK_WAIT_MS "15000"
/* The digits of an int64, its sign and the end. */
#define DIGITS_MAX 24

typedef struct postgres_rows {
    PGresult *result; /* NULL until it came */
    err error;        /* what came instead */
    bool came;
    int row;
    char digits[DIGITS_MAX]; /* db_bytes of a number */
} postgres_rows;

typedef struct under_way {
    enum { STATEMENT, SYNCHRONISATION } kind;
    postgres_rows *rows;   /* who wants the result; NULL: nobody does */
    const char **prepares; /* the slot of the statement that it prepares, or NULL */
} under_way;

typedef struct postgres_db {
    db base;
    PGconn *connection;
    int64_t changes;
    int64_t tried_ms; /* to connect again */
    int64_t took_ms;  /* that, when it failed */
    bool missed;      /* notifications, while the connection was down */
    /* To others after the commit: of each piece two bytes that say how long it is, and itself. */
    uint8_t *told;
    size_t told_size, told_room;
    bool broken; /* the connection can't be used any more */
    err lost;    /* why the transaction is lost: a statement failed whose result nobody asked for */
    /* Statements prepared on this connection; the address is the name. */
    const char *prepared[STATEMENTS_MAX];
    under_way queue[UNDER_WAY_MAX]; /* the oldest first */
    size_t queued, unsynchronised;
    struct { /* of the statement that is being sent */
        uint8_t integers[VALUES_MAX][8];
        const char *at[VALUES_MAX];
        int lengths[VALUES_MAX], formats[VALUES_MAX];
        Oid types[VALUES_MAX];
    } values;
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

/* Outside the pipeline: while the connection is made, and migrations. */
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

/* ---- the pipeline */

static bool alive(const postgres_db *d) { return !d->broken && PQstatus(d->connection) == CONNECTION_OK; }

/* Nothing more comes on this connection. */
static void give_up(postgres_db *d) {
    d->broken = true;
    for (size_t i = 0; i < d->queued; i++)
        if (d->queue[i].rows != NULL) {
            d->queue[i].rows->came = true;
            d->queue[i].rows->error = ERR_STORE;
        }
    d->lost = ERR_STORE;
    d->queued = d->unsynchronised = 0;
}

static void statement_answered(postgres_db *d, const under_way *u, PGresult *result) {
    ExecStatusType status = PQresultStatus(result);
    postgres_rows *rows = u->rows;
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) {
        if (rows == NULL)
            PQclear(result);
        else
            *rows = (postgres_rows){.result = result, .came = true, .row = -1};
        return;
    }
    /* One that was skipped says nothing: the one before it did. */
    err e =
        status == PGRES_PIPELINE_ABORTED ? ERR_STORE : failed(d, result, u->prepares != NULL ? "prepare" : "statement");
    if (status == PGRES_PIPELINE_ABORTED)
        PQclear(result);
    if (u->prepares != NULL)
        *u->prepares = NULL;
    if (rows != NULL) {
        rows->came = true;
        rows->error = e;
    } else if (d->lost == OK) {
        d->lost = e;
    }
}

/* What comes afterwards is not skipped if something failed before, and the server answers. */
static void synchronise(postgres_db *d) {
    if (d->unsynchronised == 0)
        return;
    if (PQpipelineSync(d->connection) != 1) {
        (void)failed(d, NULL, "statement");
        give_up(d);
        return;
    }
    d->queue[d->queued++] = (under_way){.kind = SYNCHRONISATION};
    d->unsynchronised = 0;
}

/* Waits for everything that is under way. */
static void take_in(postgres_db *d) {
    synchronise(d);
    for (size_t i = 0; i < d->queued; i++) {
        PGresult *result = PQgetResult(d->connection);
        if (result == NULL || !alive(d)) {
            (void)failed(d, result, "statement");
            give_up(d);
            return;
        }
        if (d->queue[i].kind == STATEMENT) {
            statement_answered(d, &d->queue[i], result);
            PQclear(PQgetResult(d->connection)); /* the end of this statement's results */
            d->queue[i].rows = NULL;
        } else {
            PQclear(result);
        }
    }
    d->queued = 0;
}

/* Room for a statement, what prepares it and a synchronisation. */
static void make_room(postgres_db *d) {
    if (d->queued + 3 > UNDER_WAY_MAX)
        take_in(d);
}

static void under_way_now(postgres_db *d, postgres_rows *rows, const char **prepares) {
    d->queue[d->queued++] = (under_way){.rows = rows, .prepares = prepares};
    d->unsynchronised++;
}

static void big_endian(uint8_t out[8], int64_t v) {
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)((uint64_t)v >> (56 - 8 * i));
}

static void encode(postgres_db *d, const db_value *values, size_t n) {
    for (size_t i = 0; i < n; i++) {
        d->values.formats[i] = 1;
        d->values.lengths[i] = 8;
        d->values.at[i] = (const char *)d->values.integers[i];
        d->values.types[i] = TYPE_INT8;
        if (values[i].kind == DB_INTEGER) {
            big_endian(d->values.integers[i], values[i].integer);
        } else if (values[i].kind == DB_BYTES) {
            d->values.types[i] = TYPE_BYTEA;
            d->values.lengths[i] = (int)values[i].bytes.n;
            d->values.at[i] = values[i].bytes.p != NULL ? (const char *)values[i].bytes.p : "";
        } else {
            d->values.types[i] = 0; /* the column says it */
            d->values.at[i] = NULL;
        }
    }
}

/* Its result goes to `rows`, which must stay until it came, or be taken out by `forget`. */
static err send_statement(postgres_db *d, const char *sql, const db_value *values, size_t n, postgres_rows *rows) {
    if (n > VALUES_MAX)
        return ERR_LIMIT;
    if (!alive(d))
        return ERR_STORE;
    encode(d, values, n);
    make_room(d);
    size_t slot = slot_of(d, sql);
    char name[16];
    (void)snprintf(name, sizeof name, "s%zu", slot);
    if (d->prepared[slot] == NULL) {
        if (PQsendPrepare(d->connection, name, sql, (int)n, d->values.types) != 1)
            return failed(d, NULL, "prepare");
        d->prepared[slot] = sql;
        under_way_now(d, NULL, &d->prepared[slot]);
    }
    if (PQsendQueryPrepared(d->connection, name, (int)n, d->values.at, d->values.lengths, d->values.formats, 1) != 1)
        return failed(d, NULL, "statement");
    under_way_now(d, rows, NULL);
    return OK;
}

static void forget(postgres_db *d, const postgres_rows *rows) {
    for (size_t i = 0; i < d->queued; i++)
        if (d->queue[i].rows == rows)
            d->queue[i].rows = NULL;
}

static err run_later(db *base, const char *sql, const db_value *values, size_t n) {
    return send_statement((postgres_db *)base, sql, values, n, NULL);
}

static err query(db *base, const char *sql, const db_value *values, size_t n, void **statement) {
    postgres_rows *rows = calloc(1, sizeof *rows);
    if (rows == NULL)
        return ERR_NO_MEMORY;
    err e = send_statement((postgres_db *)base, sql, values, n, rows);
    if (e == OK)
        *statement = rows;
    else
        free(rows);
    return e;
}

static err next(db *base, void *statement, bool *row) {
    postgres_db *d = (postgres_db *)base;
    postgres_rows *rows = statement;
    if (!rows->came)
        take_in(d);
    *row = false;
    if (rows->error != OK)
        return rows->error;
    if (d->lost != OK)
        return d->lost;
    if (rows->row < 0)
        d->changes = strtoll(PQcmdTuples(rows->result), NULL, 10);
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
    postgres_rows *rows = statement;
    if (!rows->came)
        forget((postgres_db *)base, rows);
    PQclear(rows->result);
    free(rows);
}

static int64_t changes(db *base) { return ((postgres_db *)base)->changes; }

/* ---- transactions */

/* An acknowledged write is on disk, whatever the server's default; others' notifications come to this connection. */
static err prepare_connection(postgres_db *d) {
    return execute(d,
                   "SET synchronous_commit = on; SET idle_in_transaction_session_timeout = " IDLE_MS
                   "; SET lock_timeout = " LOCK_WAIT_MS "; SET tcp_user_timeout = " NO_ANSWER_MS
                   "; SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3; "
                   "LISTEN sotto",
                   "open");
}

static err enter_pipeline(postgres_db *d) {
    return PQenterPipelineMode(d->connection) == 1 ? OK : failed(d, NULL, "pipeline");
}

static int64_t steady_ms(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static err reconnect(postgres_db *d) {
    if (alive(d))
        return OK;
    /* As long as the last try took, so that half of the time is for those who need no database. */
    int64_t pause = d->took_ms > RECONNECT_MS ? d->took_ms : RECONNECT_MS;
    if (d->tried_ms != 0 && steady_ms() - d->tried_ms < pause)
        return ERR_STORE;
    give_up(d);
    int64_t begun = steady_ms();
    memset(d->prepared, 0, sizeof d->prepared);
    d->missed = true;
    PQreset(d->connection);
    d->tried_ms = steady_ms();
    d->took_ms = d->tried_ms - begun;
    if (PQstatus(d->connection) != CONNECTION_OK)
        return failed(d, NULL, "connect");
    TRY(prepare_connection(d));
    TRY(enter_pipeline(d));
    d->broken = false;
    d->lost = OK;
    log_line(LOG_INFO, "event=database message=\"connected again\"");
    return OK;
}

static const char BEGIN[] = "BEGIN", COMMIT[] = "COMMIT", ROLLBACK[] = "ROLLBACK";
static const char SAVEPOINT[] = "SAVEPOINT request", RELEASE[] = "RELEASE SAVEPOINT request",
                  BACK[] = "ROLLBACK TO SAVEPOINT request";

static err begin(db *base) {
    postgres_db *d = (postgres_db *)base;
    /* A relay is told of its database's death only when it looks. */
    (void)!PQconsumeInput(d->connection);
    TRY(reconnect(d));
    d->lost = OK;
    d->told_size = 0;
    return run_later(base, BEGIN, NULL, 0);
}

static err lock(db *base, span clinic) {
    static const char SQL[] = "SELECT 1 FROM clinics WHERE clinic = $1 FOR NO KEY UPDATE";
    return run_later(base, SQL, &(db_value){.kind = DB_BYTES, .bytes = clinic}, 1);
}

/* PostgreSQL commits transactions that notify one after the other, flushes of the log included. So others are told in a transaction
 * of its own, which needs none. It is sent together with the COMMIT: the server has it even if this relay dies now. */
static void tell(postgres_db *d) {
    static const char SQL[] =
        "SELECT set_config('synchronous_commit', 'off', true), pg_notify('sotto', encode($1, 'hex'))";
    for (size_t at = 0, n; at < d->told_size; at += 2 + n) {
        const uint8_t *p = d->told + at;
        n = (size_t)(p[0] << 8 | p[1]);
        synchronise(d);
        (void)!send_statement(d, SQL, &(db_value){.kind = DB_BYTES, .bytes = span_of(p + 2, n)}, 1, NULL);
    }
    d->told_size = 0;
}

/* A COMMIT of a failed transaction says ROLLBACK and is no error to PostgreSQL. */
static err commit(db *base) {
    postgres_db *d = (postgres_db *)base;
    postgres_rows rows = {.result = NULL};
    TRY(send_statement(d, COMMIT, NULL, 0, &rows));
    tell(d);
    take_in(d);
    bool done = rows.error == OK && strcmp(PQcmdStatus(rows.result), "COMMIT") == 0;
    PQclear(rows.result);
    if (done && alive(d))
        d->lost = OK; /* others were not told: they look by themselves before long */
    return done ? OK : rows.error != OK ? rows.error : d->lost != OK ? d->lost : ERR_STORE;
}

/* Of this transaction only. The server writes its log by itself within a second (wal_writer_delay), and with the next flush. */
static err commit_unflushed(db *base) {
    static const char SQL[] = "SET LOCAL synchronous_commit = off";
    TRY(run_later(base, SQL, NULL, 0));
    return commit(base);
}

static void rollback(db *base) {
    postgres_db *d = (postgres_db *)base;
    take_in(d);
    PGTransactionStatusType status = PQtransactionStatus(d->connection);
    if ((status == PQTRANS_INTRANS || status == PQTRANS_INERROR) && run_later(base, ROLLBACK, NULL, 0) == OK)
        take_in(d);
    d->lost = OK;
}

static err savepoint(db *base) { return run_later(base, SAVEPOINT, NULL, 0); }
static err release(db *base) { return run_later(base, RELEASE, NULL, 0); }

static err rollback_to(db *base, bool made) {
    postgres_db *d = (postgres_db *)base;
    take_in(d);
    if (made && d->lost == OK) {
        TRY(run_later(base, BACK, NULL, 0));
        TRY(run_later(base, RELEASE, NULL, 0));
        take_in(d);
    }
    if (d->lost != OK)
        return d->lost;
    return PQtransactionStatus(d->connection) == PQTRANS_INTRANS ? OK : ERR_STORE;
}

/* ---- others */

static err notify(db *base, span told) {
    postgres_db *d = (postgres_db *)base;
    size_t needed = d->told_size + 2 + told.n;
    if (told.n > NOTIFY_MAX)
        return ERR_LIMIT;
    if (needed > d->told_room) {
        uint8_t *p = realloc(d->told, 2 * needed);
        if (p == NULL)
            return ERR_NO_MEMORY;
        d->told = p;
        d->told_room = 2 * needed;
    }
    d->told[d->told_size] = (uint8_t)(told.n >> 8);
    d->told[d->told_size + 1] = (uint8_t)told.n;
    memcpy(d->told + d->told_size + 2, told.p, told.n);
    d->told_size = needed;
    return OK;
}

static int descriptor(db *base) { return PQsocket(((postgres_db *)base)->connection); }

static bool heard(db *base, uint8_t *out, size_t *n, bool *missed) {
    postgres_db *d = (postgres_db *)base;
    if (PQconsumeInput(d->connection) == 0)
        (void)!reconnect(d);
    *missed = d->missed && alive(d);
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
    free(d->told);
    free(d);
}

static const db_driver DRIVER = {.begin = begin,
                                 .lock = lock,
                                 .commit = commit,
                                 .commit_unflushed = commit_unflushed,
                                 .rollback = rollback,
                                 .savepoint = savepoint,
                                 .release = release,
                                 .rollback_to = rollback_to,
                                 .query = query,
                                 .run_later = run_later,
                                 .next = next,
                                 .integer = integer,
                                 .bytes = bytes,
                                 .is_null = is_null,
                                 .end = end,
                                 .changes = changes,
                                 .pipelined = true,
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
    /* Another relay's migration may take its time. */
    TRY(execute(d, "BEGIN; SET LOCAL lock_timeout = 0", "migrate"));
    err e = execute(d, "SELECT pg_advisory_xact_lock(" MIGRATION_LOCK ")", "migrate");
    if (e == OK)
        e = execute(d, "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)", "migrate");
    if (e == OK)
        e = read_version(d, &version);
    if (e == OK)
        e = migrate_from(d, version);
    if (e == OK)
        e = execute(d, "COMMIT", "migrate");
    if (e != OK && PQtransactionStatus(d->connection) != PQTRANS_IDLE)
        (void)execute(d, "ROLLBACK", "migrate");
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
    /* What the address says goes before what stands before it here. */
    static const char *const NAMES[] = {"connect_timeout",
                                        "tcp_user_timeout",
                                        "keepalives_idle",
                                        "keepalives_interval",
                                        "keepalives_count",
                                        "dbname",
                                        NULL};
    const char *const values[] = {CONNECT_TIMEOUT_S, NO_ANSWER_MS, "5", "2", "3", url, NULL};
    d->connection = PQconnectdbParams(NAMES, values, 1);
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
    if (e == OK && read_only) {
        int version = 0;
        e = read_version(d, &version);
        if (e == OK && version < SCHEMA_VERSION)
            e = ERR_STATE;
    } else if (e == OK) {
        e = migrate(d);
    }
    if (e == OK)
        e = enter_pipeline(d);
    if (e != OK) {
        close_db(&d->base);
        return e;
    }
    *out = &d->base;
    return OK;
}
