/* store.h: the encrypted database of one account. The only door to SQLite: everything else in the core speaks to it in
 * these functions, and sqlite3.h is included nowhere else.
 *
 * The file is SQLite3MultipleCiphers' ChaCha20 (each page sealed, key of 32 raw bytes), WAL with exclusive locking, so a
 * commit is one flush and no shared memory is needed; synchronous=FULL, secure_delete=ON, temp_store=MEMORY. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/arena.h"
#include "base/err.h"
#include "base/span.h"

#define STORE_KEY_SIZE 32

typedef struct store store;

/* One step of the schema's history: the SQL that leads from version i to i + 1 (schema.c has the list). */
typedef struct store_schema {
    const char *const *migrations;
    int count;
} store_schema;
/* The account's schema (schema.c). */
extern const store_schema account_schema;

/* Opens (create: makes) the database at `path` ("" for one in memory, which has no key) and brings it to the schema's
 * newest version in one transaction. Fails closed: ERR_STORE_CORRUPT when the key does not fit or the file is
 * plaintext (never opens a store unencrypted), ERR_STORE_NEWER when a newer version wrote it, ERR_NOT_FOUND when
 * it is to exist and does not, ERR_EXISTS when it is to be made and does, ERR_STORE_FULL / _BUSY / _DENIED from the host. */
MUST_USE err store_open(const char *path, const uint8_t key[STORE_KEY_SIZE], bool create, const store_schema *schema,
                        store **out);
/* Rolls back what is open, checkpoints the WAL, closes. NULL is fine. */
void store_close(store *s);

/* One transaction at a time; begin is IMMEDIATE, ERR_STATE within another. Rollback never fails. Of a commit that failed
 * call rollback; whether it took effect is known only when the store has been opened again, unless it was ERR_STORE_FULL.
 * Once ERR_STORE came of the medium, all that follows fails with it until the store is opened again. */
MUST_USE err store_begin(store *s);
MUST_USE err store_commit(store *s);
void store_rollback(store *s);
/* A savepoint within the transaction, for an event that may be refused alone. */
MUST_USE err store_savepoint(store *s);
MUST_USE err store_savepoint_release(store *s);
void store_savepoint_rollback(store *s);

/* A statement in use. Sticky: the first failure wins and later calls do nothing, so a body reads like the SQL.
 *
 *     query q;
 *     query_init(&q, s, "SELECT id, body FROM outbox WHERE conversation = ? ORDER BY id");
 *     query_bind_int(&q, conversation);
 *     while (query_row(&q))
 *         use(query_int(&q, 0), query_blob(&q, 1));
 *     TRY(query_end(&q));
 *
 * SQL is a string literal (statements are cached by its address); values only ever come in by binding. Bound spans are
 * not copied: they must stay until query_end. A query left open by an early return is taken back with its transaction.
 * A unique or primary key that is taken gives ERR_EXISTS. */
typedef struct query {
    store *store;
    void *statement;
    err error;
    int bound;
    bool done;
} query;

void query_init(query *q, store *s, const char *sql);
void query_bind_int(query *q, int64_t v);
void query_bind_blob(query *q, span v); /* SPAN_NONE binds NULL; an empty span with p != NULL binds an empty blob */
void query_bind_text(query *q, span v);
void query_bind_null(query *q);
/* Steps. True while there is a row. */
bool query_row(query *q);
/* Columns of the current row. Spans live until the next query_row or query_end. NULL reads as 0 or SPAN_NONE. */
int64_t query_int(query *q, int column);
span query_blob(query *q, int column);
span query_text(query *q, int column);
bool query_is_null(query *q, int column);
/* Steps to the end (a write takes effect here if query_row was not called), resets and gives the first error. */
MUST_USE err query_end(query *q);

/* After an INSERT into a table with an integer primary key: its id. After a write: how many rows it touched. */
int64_t store_last_id(store *s);
int64_t store_changes(store *s);

#endif
