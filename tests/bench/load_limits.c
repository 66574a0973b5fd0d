#include "load_protocols.h"

#include <libpq-fe.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#define VERIFICATIONS 4000

static void sqlite_must(sqlite3 *db, int status) {
    if (status != SQLITE_OK && status != SQLITE_DONE)
        die("SQLite: %s", sqlite3_errmsg(db));
}

double limit_sqlite(const char *file, size_t count, size_t batch, size_t size) {
    sqlite3 *db = NULL;
    sqlite3_stmt *insert = NULL;
    uint8_t *data = take_memory(size);
    memset(data, 'x', size);
    sqlite_must(db, sqlite3_open(file, &db));
    sqlite_must(db, sqlite3_exec(db,
                                 "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                                 "CREATE TABLE IF NOT EXISTS messages (seq INTEGER PRIMARY KEY, data BLOB NOT NULL)",
                                 NULL, NULL, NULL));
    sqlite_must(db, sqlite3_prepare_v2(db, "INSERT INTO messages (data) VALUES (?1)", -1, &insert, NULL));
    int64_t from = now_ns();
    for (size_t i = 0; i < count; i++) {
        if (i % batch == 0)
            sqlite_must(db, sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL));
        sqlite_must(db, sqlite3_bind_blob(insert, 1, data, (int)size, SQLITE_STATIC));
        sqlite_must(db, sqlite3_step(insert));
        sqlite_must(db, sqlite3_reset(insert));
        if (i % batch == batch - 1 || i + 1 == count)
            sqlite_must(db, sqlite3_exec(db, "COMMIT", NULL, NULL, NULL));
    }
    double rate = (double)count * 1e9 / (double)(now_ns() - from);
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

double limit_postgres(const char *database, size_t count, size_t batch, size_t size) {
    char *data = take_memory(size);
    const char *const value[] = {data};
    const int length[] = {(int)size}, binary[] = {1};
    PGconn *pg = PQconnectdb(database);
    memset(data, 'x', size);
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
    int64_t from = now_ns();
    for (size_t i = 0; i < count;) {
        bool good = PQsendQueryPrepared(pg, "begin", 0, NULL, NULL, NULL, 0) == 1;
        for (size_t k = 0; k < batch && i < count; k++, i++)
            good = good && PQsendQueryPrepared(pg, "insert", 1, value, length, binary, 0) == 1;
        good = good && PQsendQueryPrepared(pg, "commit", 0, NULL, NULL, NULL, 0) == 1 && PQpipelineSync(pg) == 1;
        if (!good)
            die("PostgreSQL: %s", PQerrorMessage(pg));
        postgres_drain(pg);
    }
    double rate = (double)count * 1e9 / (double)(now_ns() - from);
    PQfinish(pg);
    free(data);
    return rate;
}

double limit_verify(void) {
    uint8_t seed[ED25519_SEED_SIZE] = {1}, message[400] = {2}, signature[ED25519_SIGNATURE_SIZE];
    signature_key key;
    signature_key_from_seed(seed, &key);
    signature_sign(&key, SPAN(message), signature);
    double from = own_cpu_s();
    for (int i = 0; i < VERIFICATIONS; i++)
        if (signature_verify(signature_key_public(&key), SPAN(message), SPAN(signature)) != OK)
            die("a good signature does not verify");
    return VERIFICATIONS / (own_cpu_s() - from);
}
