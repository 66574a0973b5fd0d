/* db.h: the little of a database that the relay's logic needs. One handle is one connection with at most one
 * transaction. The SQL is plain enough for SQLite and PostgreSQL alike; parameters are written $1, $2, …
 *
 * Failures stick: after one, later calls do nothing and give no rows, until db_rollback_to or db_rollback. So the
 * logic reads as its statements and asks once. */
#ifndef SERVER_DB_H
#define SERVER_DB_H

#include "base/err.h"
#include "base/span.h"

typedef struct db db;

typedef struct db_value {
    enum { DB_INTEGER, DB_BYTES, DB_NULL } kind;
    int64_t integer;
    span bytes;
} db_value;

static inline db_value db_i(int64_t v) { return (db_value){.kind = DB_INTEGER, .integer = v}; }
static inline db_value db_b(span v) { return (db_value){.kind = DB_BYTES, .bytes = v}; }
/* A name of ID_SIZE bytes. */
static inline db_value db_id(const uint8_t id[16]) { return (db_value){.kind = DB_BYTES, .bytes = span_of(id, 16)}; }
static inline db_value db_null(void) { return (db_value){.kind = DB_NULL}; }

/* Rows of a statement under way. Bytes live until the next db_next or db_end. */
typedef struct db_rows {
    db *db;
    void *statement;
} db_rows;

/* A driver: what lies beneath. `sql` is a static string, so that its address can name a prepared statement. */
typedef struct db_driver {
    err (*begin)(db *);
    err (*lock)(db *, span clinic); /* NULL: a transaction has the whole database to itself */
    err (*commit)(db *);
    err (*commit_unflushed)(db *); /* NULL: it is as `commit` */
    void (*rollback)(db *);
    err (*savepoint)(db *);
    err (*release)(db *);
    err (*rollback_to)(db *, bool made); /* ERR_STORE when the whole transaction is gone; made: there is a savepoint */
    /* May answer before the database has; then the failure comes with `next`. */
    err (*query)(db *, const char *sql, const db_value *values, size_t n, void **statement);
    /* NULL: a statement takes no way to the database that could be saved. A failure comes with a later call, and rollback_to
     * does not undo it. */
    err (*run_later)(db *, const char *sql, const db_value *values, size_t n);
    err (*next)(db *, void *statement, bool *row);
    int64_t (*integer)(void *statement, int column);
    span (*bytes)(void *statement, int column);
    bool (*is_null)(void *statement, int column);
    void (*end)(db *, void *statement);
    int64_t (*changes)(db *);
    bool pipelined; /* a query is under way until its rows are asked for, and several of one statement may be */
    /* NULL, all three: nobody shares this database. */
    err (*notify)(db *, span bytes);
    int (*descriptor)(db *);
    bool (*heard)(db *, uint8_t *bytes, size_t *n, bool *missed);
    void (*close)(db *);
} db_driver;

struct db {
    const db_driver *driver;
    err error; /* sticks */
    enum { SAVEPOINT_NONE, SAVEPOINT_WANTED, SAVEPOINT_MADE } savepoint;
};

/* Opens or makes the database and brings its schema up to date; read-only, it must be up to date. Says on stderr what is wrong.
 * The address is libpq's (postgres://…); what it leaves out comes from libpq's environment, a password best from PGPASSFILE. */
MUST_USE err db_open_sqlite(const char *path, bool read_only, db **out);
MUST_USE err db_open_postgres(const char *url, bool read_only, db **out);
void db_close(db *d);

/* ERR_STORE_FULL, ERR_STORE or another of the class. */
MUST_USE err db_begin(db *d);
/* What was committed is on the medium when this returns. */
MUST_USE err db_commit(db *d);
/* Only for what nobody was promised: a machine that loses power, or a PostgreSQL that dies, may forget it, with all others like it since the
 * last db_commit that had something to write, and nothing that came before that one. It outlives the death of this process. */
MUST_USE err db_commit_unflushed(db *d);
void db_rollback(db *d);
/* Until the transaction ends, no other one that asks for this clinic goes on: what is read of it afterwards stays true, also where
 * several relays share the database. */
void db_lock(db *d, span clinic);
/* One savepoint at a time inside the transaction; made when the first statement comes that is no SELECT. */
void db_savepoint(db *d);
void db_release(db *d);
/* Undoes what happened since the savepoint and clears the error. The error stays when the transaction is lost as a whole. */
void db_rollback_to(db *d);
static inline bool db_failed(const db *d) { return d->error != OK; }

/* Runs a statement to its end and returns how many rows it changed. */
int64_t db_run_values(db *d, const char *sql, const db_value *values, size_t n);
#define DB_COUNT(...) (sizeof((db_value[]){__VA_ARGS__}) / sizeof(db_value))
#define DB_RUN(d, sql, ...) db_run_values((d), (sql), (db_value[]){__VA_ARGS__}, DB_COUNT(__VA_ARGS__))

/* The same without a count, for what fails only when the database does: it may be sent together with what follows. If it fails,
 * the whole transaction does, whatever savepoint it was run under. */
void db_run_later_values(db *d, const char *sql, const db_value *values, size_t n);
#define DB_RUN_LATER(d, sql, ...) db_run_later_values((d), (sql), (db_value[]){__VA_ARGS__}, DB_COUNT(__VA_ARGS__))

/* Is it worth while, and allowed, to begin several queries of one statement before the rows of the first are asked for? */
static inline bool db_pipelined(const db *d) { return d->driver->pipelined; }

/* ---- statements of many rows: `INSERT INTO t (…) VALUES` rows `tail`. Each size that is a power of two is a statement of its own,
 * made when it is first used. */
#define DB_MANY_MAX 256 /* rows; a batch has no more requests */
#define DB_MANY_SIZES 9 /* 1, 2, 4 … 256 */
typedef struct db_many {
    const char *head, *tail;
    size_t columns;
    char *sql[DB_MANY_SIZES];
} db_many;
/* `values` are rows × columns. */
void db_many_run_later(db *d, db_many *many, const db_value *values, size_t rows);
/* At most DB_MANY_MAX rows; the answers of all of them, each to be read to its end. */
typedef struct db_many_rows {
    db_rows part[DB_MANY_SIZES];
    size_t n;
} db_many_rows;
db_many_rows db_many_query(db *d, db_many *many, const db_value *values, size_t rows);
/* The next row of any of them, or NULL. Bytes live until the next call. */
db_rows *db_many_next(db_many_rows *r);

/* ---- others who share the database. */
#define NOTIFY_MAX 3840 /* PostgreSQL's payload is below 8000 bytes, and ours travels in hexadecimal */
/* Tells them, when the transaction is committed. At most NOTIFY_MAX bytes. */
void db_notify(db *d, span bytes);
/* Readable when somebody else has told something, or the connection broke; -1: nobody shares it. Changes with the connection. */
int db_descriptor(db *d);
/* The next thing told; false: none. *missed: since the last call the connection was lost for a while, and what was told then
 * with it. Outside a transaction; makes a broken connection anew. */
bool db_heard(db *d, uint8_t bytes[NOTIFY_MAX], size_t *n, bool *missed);

db_rows db_query_values(db *d, const char *sql, const db_value *values, size_t n);
#define DB_QUERY(d, sql, ...) db_query_values((d), (sql), (db_value[]){__VA_ARGS__}, DB_COUNT(__VA_ARGS__))
/* False when there are no more rows, or after a failure; then the statement has ended. */
bool db_next(db_rows *r);
/* Ends a statement before its last row. Harmless when it has ended. */
void db_end(db_rows *r);
int64_t db_integer(const db_rows *r, int column);
span db_bytes(const db_rows *r, int column);
bool db_is_null(const db_rows *r, int column);

#endif
