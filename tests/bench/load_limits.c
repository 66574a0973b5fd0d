#include "load_protocols.h"

#include <libpq-fe.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define VERIFICATIONS 4000
#define VERIFIERS_MAX 64

/* ---- verification */

typedef struct signed_message {
    signature_key key;
    uint8_t message[400], signature[ED25519_SIGNATURE_SIZE]; /* a signature base is about as long */
} signed_message;

static void sign_message(signed_message *m) {
    const uint8_t seed[ED25519_SEED_SIZE] = {1};
    memset(m, 2, sizeof *m);
    signature_key_from_seed(seed, &m->key);
    signature_sign(&m->key, SPAN(m->message), m->signature);
}

static void verify_message(const signed_message *m) {
    if (signature_verify(signature_key_public(&m->key), SPAN(m->message), SPAN(m->signature)) != OK)
        die("a good signature does not verify");
}

double limit_verify(void) {
    signed_message m;
    sign_message(&m);
    double from = own_cpu_s();
    for (int i = 0; i < VERIFICATIONS; i++)
        verify_message(&m);
    return VERIFICATIONS / (own_cpu_s() - from);
}

/* Threads that verify what they may. */
typedef struct verifiers {
    signed_message message;
    pthread_t threads[VERIFIERS_MAX];
    size_t threads_count, allowed, begun, done; /* the last three under the lock */
    bool over;
    pthread_mutex_t lock;
    pthread_cond_t changed;
} verifiers;

static void *verify_allowed(void *ctx) {
    verifiers *v = ctx;
    pthread_mutex_lock(&v->lock);
    while (!v->over) {
        if (v->begun == v->allowed) {
            pthread_cond_wait(&v->changed, &v->lock);
            continue;
        }
        v->begun++;
        pthread_mutex_unlock(&v->lock);
        verify_message(&v->message);
        pthread_mutex_lock(&v->lock);
        if (++v->done == v->allowed)
            pthread_cond_broadcast(&v->changed);
    }
    pthread_mutex_unlock(&v->lock);
    return NULL;
}

/* NULL when nothing is to be verified. */
static verifiers *verifiers_start(const limit_work *w) {
    if (!w->verify)
        return NULL;
    verifiers *v = take_memory(sizeof *v);
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    size_t wanted = processors < 1 ? 1 : processors > VERIFIERS_MAX ? VERIFIERS_MAX : (size_t)processors;
    sign_message(&v->message);
    pthread_mutex_init(&v->lock, NULL);
    pthread_cond_init(&v->changed, NULL);
    for (; v->threads_count < wanted; v->threads_count++)
        if (pthread_create(&v->threads[v->threads_count], NULL, verify_allowed, v) != 0)
            die("no thread");
    return v;
}

static void verifiers_allow(verifiers *v, size_t n) {
    v->allowed = n;
    pthread_cond_broadcast(&v->changed);
}

/* Returns once the batch from row `from` on is verified; with the one after it the threads then begin. */
static void verify_batch(verifiers *v, const limit_work *w, size_t from) {
    if (v == NULL)
        return;
    size_t end = from + w->batch < w->count ? from + w->batch : w->count, ahead = w->batch == 1 ? end
                                                                                  : end + w->batch < w->count
                                                                                      ? end + w->batch
                                                                                      : w->count;
    pthread_mutex_lock(&v->lock);
    verifiers_allow(v, end > v->allowed ? end : v->allowed);
    while (v->done < end)
        pthread_cond_wait(&v->changed, &v->lock);
    verifiers_allow(v, ahead);
    pthread_mutex_unlock(&v->lock);
}

static void verifiers_end(verifiers *v) {
    if (v == NULL)
        return;
    pthread_mutex_lock(&v->lock);
    v->over = true;
    pthread_cond_broadcast(&v->changed);
    pthread_mutex_unlock(&v->lock);
    for (size_t i = 0; i < v->threads_count; i++)
        pthread_join(v->threads[i], NULL);
    free(v);
}

/* ---- inserts */

static void sqlite_must(sqlite3 *db, int status) {
    if (status != SQLITE_OK && status != SQLITE_DONE)
        die("SQLite: %s", sqlite3_errmsg(db));
}

double limit_sqlite(const char *file, const limit_work *w) {
    sqlite3 *db = NULL;
    sqlite3_stmt *insert = NULL;
    uint8_t *data = take_memory(w->size);
    memset(data, 'x', w->size);
    sqlite_must(db, sqlite3_open(file, &db));
    sqlite_must(db, sqlite3_exec(db,
                                 "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                                 "CREATE TABLE IF NOT EXISTS messages (seq INTEGER PRIMARY KEY, data BLOB NOT NULL)",
                                 NULL, NULL, NULL));
    sqlite_must(db, sqlite3_prepare_v2(db, "INSERT INTO messages (data) VALUES (?1)", -1, &insert, NULL));
    verifiers *v = verifiers_start(w);
    int64_t from = now_ns();
    for (size_t i = 0; i < w->count; i++) {
        if (i % w->batch == 0) {
            verify_batch(v, w, i);
            sqlite_must(db, sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL));
        }
        sqlite_must(db, sqlite3_bind_blob(insert, 1, data, (int)w->size, SQLITE_STATIC));
        sqlite_must(db, sqlite3_step(insert));
        sqlite_must(db, sqlite3_reset(insert));
        if (i % w->batch == w->batch - 1 || i + 1 == w->count)
            sqlite_must(db, sqlite3_exec(db, "COMMIT", NULL, NULL, NULL));
    }
    double rate = (double)w->count * 1e9 / (double)(now_ns() - from);
    verifiers_end(v);
    sqlite_must(db, sqlite3_finalize(insert));
    sqlite_must(db, sqlite3_close(db));
    free(data);
    return rate;
}

/* All results up to the next sync; dies when one is an error. */
static void postgres_drain(PGconn *pg) {
    for (int synced = 0; !synced;) {
        PGresult *r = PQgetResult(pg);
        ExecStatusType s = PQresultStatus(r);
        if (r != NULL && s != PGRES_COMMAND_OK && s != PGRES_PIPELINE_SYNC)
            die("PostgreSQL: %s", PQerrorMessage(pg));
        synced = s == PGRES_PIPELINE_SYNC;
        PQclear(r);
    }
}

double limit_postgres(const char *database, const limit_work *w) {
    char *data = take_memory(w->size);
    const char *const value[] = {data};
    const int length[] = {(int)w->size}, binary[] = {1};
    PGconn *pg = PQconnectdb(database);
    memset(data, 'x', w->size);
    if (PQstatus(pg) != CONNECTION_OK)
        die("PostgreSQL: %s", PQerrorMessage(pg));
    PQclear(PQexec(pg, "SET client_min_messages = error"));
    PQclear(PQexec(pg, "CREATE TABLE IF NOT EXISTS messages (seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, data "
                       "BYTEA NOT NULL)"));
    PQclear(PQprepare(pg, "insert", "INSERT INTO messages (data) VALUES ($1)", 1, NULL));
    PQclear(PQprepare(pg, "begin", "BEGIN", 0, NULL));
    PQclear(PQprepare(pg, "commit", "COMMIT", 0, NULL));
    if (PQenterPipelineMode(pg) != 1)
        die("PostgreSQL: %s", PQerrorMessage(pg));
    verifiers *v = verifiers_start(w);
    int64_t from = now_ns();
    for (size_t i = 0; i < w->count;) {
        verify_batch(v, w, i);
        bool good = PQsendQueryPrepared(pg, "begin", 0, NULL, NULL, NULL, 0) == 1;
        for (size_t k = 0; k < w->batch && i < w->count; k++, i++)
            good = good && PQsendQueryPrepared(pg, "insert", 1, value, length, binary, 0) == 1;
        good = good && PQsendQueryPrepared(pg, "commit", 0, NULL, NULL, NULL, 0) == 1 && PQpipelineSync(pg) == 1;
        if (!good)
            die("PostgreSQL: %s", PQerrorMessage(pg));
        postgres_drain(pg);
    }
    double rate = (double)w->count * 1e9 / (double)(now_ns() - from);
    verifiers_end(v);
    PQfinish(pg);
    free(data);
    return rate;
}
