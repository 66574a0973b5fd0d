/* A database of every released schema, with rows, is brought up to date with its rows kept. On SQLite, and where the environment's
 * SOTTO_SCHEMA_DATABASE names an empty PostgreSQL database, there too (tests/node/relay-schema.test.mjs gives it one). */
#include <libpq-fe.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../../server/db.h"
#include "../../server/schema.h"
#include "support/check.h"

/* One row of each table of version 1; strings stand for bytes in both. */
static const char *const ROWS[] = {
    "INSERT INTO clinics (clinic, root_key, seq, created) VALUES ('c', 'k', 7, 1)",
    "INSERT INTO directory (name, clinic) VALUES ('d', 'c')",
    "INSERT INTO devices (clinic, device, public_key, chain, kind, rights, not_after, enrolled, revoked) "
    "VALUES ('c', 'd', 'k', 'h', 1, 31, 9, 1, 0)",
    "INSERT INTO key_packages (clinic, device, digest, number, claimed, data) VALUES ('c', 'd', 'x', 1, 0, 'p')",
    "INSERT INTO last_resorts (clinic, device, data) VALUES ('c', 'd', 'p')",
    "INSERT INTO mls_groups (clinic, group_id, epoch) VALUES ('c', 'g', 3)",
    "INSERT INTO members (clinic, group_id, device, active) VALUES ('c', 'g', 'd', 1)",
    "INSERT INTO commits (clinic, group_id, epoch, sender, digest, seq) VALUES ('c', 'g', 2, 'd', 'x', 5)",
    "INSERT INTO sent (clinic, device, message_id, digest, seq, at) VALUES ('c', 'd', 'm', 'x', 7, 1)",
    "INSERT INTO events (clinic, seq, waiting, kind, at, data) VALUES ('c', 7, 1, 1, 1, 'body')",
    "INSERT INTO deliveries (clinic, device, seq) VALUES ('c', 'd', 7)",
    "INSERT INTO invitations (clinic, invitation, public_key, issuer, state, attempts_left, enrols, expires, created, "
    "number, chain, "
    "sealed) VALUES ('c', 'i', 'k', 'd', 0, 5, 4, 9, 1, 1, 'h', 's')",
    "INSERT INTO nonces (clinic, minute, keyid, nonce) VALUES ('c', 1, 'd', 'n')",
};
#define ROW_COUNT (sizeof ROWS / sizeof *ROWS)

static int64_t count(db *d, const char *sql) {
    db_rows r = db_query_values(d, sql, NULL, 0);
    int64_t n = db_next(&r) ? db_integer(&r, 0) : -1;
    db_end(&r);
    assert_false(db_failed(d));
    return n;
}

/* Every table is there, those of version 1 with their row. */
static void check_migrated(db *d) {
    static char sql[40][80]; /* an address names a prepared statement */
    size_t tables = 0, kept = 0;
    for (; SCHEMA_TABLES[tables][0] != NULL; tables++) {
        assert_true(tables < 40);
        snprintf(sql[tables], sizeof *sql, "SELECT COUNT(*) FROM %s", SCHEMA_TABLES[tables][0]);
        kept += (size_t)count(d, sql[tables]);
    }
    assert_int_equal(kept, ROW_COUNT);
    assert_true(tables > ROW_COUNT);
    db_rows r = db_query_values(d, "SELECT seq, waiting, data FROM events", NULL, 0);
    assert_true(db_next(&r));
    assert_int_equal(db_integer(&r, 0), 7);
    assert_int_equal(db_integer(&r, 1), 1);
    assert_span(db_bytes(&r, 2), span_text("body"));
    db_end(&r);
}

static char folder[] = "/tmp/sotto-schema-XXXXXX";
static char path[64];

static sqlite3 *old_sqlite(int version) {
    sqlite3 *h = NULL;
    char sql[1000];
    (void)unlink(path);
    assert_int_equal(sqlite3_open(path, &h), SQLITE_OK);
    for (size_t i = 0; i < SCHEMA_STEPS; i++) {
        if (SCHEMA[i].version > version)
            continue;
        snprintf(sql, sizeof sql, "%s%s", SCHEMA[i].sql, SCHEMA[i].clustered ? " WITHOUT ROWID" : "");
        assert_int_equal(sqlite3_exec(h, sql, NULL, NULL, NULL), SQLITE_OK);
    }
    for (size_t i = 0; i < ROW_COUNT; i++)
        assert_int_equal(sqlite3_exec(h, ROWS[i], NULL, NULL, NULL), SQLITE_OK);
    snprintf(sql, sizeof sql, "PRAGMA user_version = %d", version);
    assert_int_equal(sqlite3_exec(h, sql, NULL, NULL, NULL), SQLITE_OK);
    return h;
}

static void sqlite_is_migrated_from_every_version(void **state) {
    for (int version = 1; version <= SCHEMA_VERSION; version++) {
        db *d = NULL;
        assert_int_equal(sqlite3_close(old_sqlite(version)), SQLITE_OK);
        if (version < SCHEMA_VERSION)
            assert_err(db_open_sqlite(path, true, &d), ERR_STATE);
        for (int again = 0; again < 2; again++) {
            assert_ok(db_open_sqlite(path, false, &d));
            check_migrated(d);
            db_close(d);
        }
        assert_ok(db_open_sqlite(path, true, &d));
        db_close(d);
    }
}

/* A step that fails leaves the old version whole. */
static void a_migration_is_all_or_nothing(void **state) {
    db *d = NULL;
    sqlite3 *h = old_sqlite(1);
    /* In the way of the last table of version 2. */
    assert_int_equal(sqlite3_exec(h, "CREATE TABLE blob_use (x)", NULL, NULL, NULL), SQLITE_OK);
    assert_true(db_open_sqlite(path, false, &d) != OK);
    sqlite3_stmt *s = NULL;
    assert_int_equal(sqlite3_prepare_v2(h,
                                        "SELECT (SELECT COUNT(*) FROM sqlite_schema WHERE name = 'scheduled'), (SELECT "
                                        "user_version FROM pragma_user_version)",
                                        -1, &s, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(s, 0), 0);
    assert_int_equal(sqlite3_column_int(s, 1), 1);
    (void)sqlite3_finalize(s);
    assert_int_equal(sqlite3_exec(h, "DROP TABLE blob_use", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(h), SQLITE_OK);
    assert_ok(db_open_sqlite(path, false, &d));
    check_migrated(d);
    db_close(d);
}

static void a_newer_database_is_refused(void **state) {
    db *d = NULL;
    sqlite3 *h = old_sqlite(SCHEMA_VERSION);
    char sql[40];
    snprintf(sql, sizeof sql, "PRAGMA user_version = %d", SCHEMA_VERSION + 1);
    assert_int_equal(sqlite3_exec(h, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(h), SQLITE_OK);
    assert_err(db_open_sqlite(path, false, &d), ERR_STORE_NEWER);
    assert_err(db_open_sqlite(path, true, &d), ERR_STORE_NEWER);
}

static void run(PGconn *p, const char *sql) {
    PGresult *r = PQexec(p, sql);
    if (PQresultStatus(r) != PGRES_COMMAND_OK)
        fail_msg("%s: %s", sql, PQresultErrorMessage(r));
    PQclear(r);
}

static void postgres_is_migrated_from_every_version(void **state) {
    const char *url = getenv("SOTTO_SCHEMA_DATABASE");
    char sql[100];
    if (url == NULL)
        skip();
    for (int version = 1; version <= SCHEMA_VERSION; version++) {
        db *d = NULL;
        PGconn *p = PQconnectdb(url);
        assert_int_equal(PQstatus(p), CONNECTION_OK);
        run(p, "SET client_min_messages = error; DROP SCHEMA public CASCADE; CREATE SCHEMA public");
        run(p, "CREATE TABLE schema_version (version BIGINT NOT NULL)");
        for (size_t i = 0; i < SCHEMA_STEPS; i++)
            if (SCHEMA[i].version <= version)
                run(p, SCHEMA[i].sql);
        for (size_t i = 0; i < ROW_COUNT; i++)
            run(p, ROWS[i]);
        snprintf(sql, sizeof sql, "INSERT INTO schema_version (version) VALUES (%d)", version);
        run(p, sql);
        PQfinish(p);
        for (int again = 0; again < 2; again++) {
            assert_ok(db_open_postgres(url, false, &d));
            check_migrated(d);
            assert_int_equal(count(d, "SELECT version FROM schema_version"), SCHEMA_VERSION);
            db_close(d);
        }
    }
}

static int set_up(void **state) {
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/relay.db", folder);
    return 0;
}

static int tear_down(void **state) {
    static const char *const MORE[] = {"", "-wal", "-shm"};
    for (int i = 0; i < 3; i++) {
        char name[80];
        snprintf(name, sizeof name, "%s%s", path, MORE[i]);
        (void)unlink(name);
    }
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sqlite_is_migrated_from_every_version),
        cmocka_unit_test(a_migration_is_all_or_nothing),
        cmocka_unit_test(a_newer_database_is_refused),
        cmocka_unit_test(postgres_is_migrated_from_every_version),
    };
    return cmocka_run_group_tests_name("relay_schema", tests, set_up, tear_down);
}
