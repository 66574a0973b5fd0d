/* A database of every released schema, with rows, is brought up to date with its rows kept. On SQLite, and where the environment's
 * SOTTO_SCHEMA_DATABASE names an empty PostgreSQL database, there too (tests/node/relay-schema.test.mjs gives it one). */
#include <libpq-fe.h>
#include <signal.h>
#include <sodium/crypto_hash_sha256.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../server/db.h"
#include "../../server/schema.h"
#include "support/check.h"

/* A row of each table but the relay's own key, with the version that brought the table; strings stand for bytes in both. */
static const struct {
    int version;
    const char *sql;
} ROWS[] = {
    {1, "INSERT INTO clinics (clinic, root_key, seq, created) VALUES ('c', 'k', 7, 1)"},
    {1, "INSERT INTO directory (name, clinic) VALUES ('d', 'c')"},
    {1, "INSERT INTO devices (clinic, device, public_key, chain, kind, rights, not_after, enrolled, revoked) "
        "VALUES ('c', 'd', 'k', 'h', 1, 31, 9, 1, 0)"},
    {1, "INSERT INTO key_packages (clinic, device, digest, number, claimed, data) VALUES ('c', 'd', 'x', 1, 0, 'p')"},
    {1, "INSERT INTO last_resorts (clinic, device, data) VALUES ('c', 'd', 'p')"},
    {1, "INSERT INTO mls_groups (clinic, group_id, epoch) VALUES ('c', 'g', 3)"},
    {1, "INSERT INTO members (clinic, group_id, device, active) VALUES ('c', 'g', 'd', 1)"},
    {1, "INSERT INTO commits (clinic, group_id, epoch, sender, digest, seq) VALUES ('c', 'g', 2, 'd', 'x', 5)"},
    {1, "INSERT INTO sent (clinic, device, message_id, digest, seq, at) VALUES ('c', 'd', 'm', 'x', 7, 1)"},
    {1, "INSERT INTO events (clinic, seq, waiting, kind, at, data) VALUES ('c', 7, 1, 1, 1, 'body')"},
    {1, "INSERT INTO deliveries (clinic, device, seq) VALUES ('c', 'd', 7)"},
    {1,
     "INSERT INTO invitations (clinic, invitation, public_key, issuer, state, attempts_left, enrols, expires, created, "
     "number, chain, "
     "sealed) VALUES ('c', 'i', 'k', 'd', 0, 5, 4, 9, 1, 1, 'h', 's')"},
    {1, "INSERT INTO nonces (clinic, minute, keyid, nonce) VALUES ('c', 1, 'd', 'n')"},
    {2, "INSERT INTO scheduled (clinic, device, message_id, deliver_at, group_id, data) VALUES ('c', 'd', 'm', 9, 'g', "
        "'p')"},
    {2, "INSERT INTO blobs (clinic, blob, device, size, stored, created) VALUES ('c', 'b', 'd', 5, 3, 1)"},
    {2, "INSERT INTO blob_pieces (clinic, blob, at, data) VALUES ('c', 'b', 0, 'pie')"},
    {2, "INSERT INTO blob_use (clinic, bytes) VALUES ('c', 5)"},
    {3, "INSERT INTO audit_entries (clinic, number, entry) VALUES ('c', 1, 'e')"},
    {3, "INSERT INTO audit_heads (clinic, number, hash, signed_number, signed_at) VALUES ('c', 1, 'h', 1, 1)"},
    {3, "INSERT INTO audit_checkpoints (clinic, number, hash, at, signature) VALUES ('c', 1, 'h', 1, 's')"},
    {3, "INSERT INTO audit_events (clinic, device, id, digest, number) VALUES ('c', 'd', 'i', 'x', 1)"},
    {3, "INSERT INTO retention (clinic, days) VALUES ('c', 90)"},
    {4, "INSERT INTO nonces (clinic, number, mark, minute, digests) VALUES ('c', 1, 7, 1, 'n')"},
};
#define ROW_COUNT (sizeof ROWS / sizeof *ROWS)

/* Version 4 has another table for nonces. */
static bool is_dropped(size_t i) { return strstr(ROWS[i].sql, "nonces (clinic, minute") != NULL; }
static bool is_of(size_t i, int version) { return ROWS[i].version <= version && (version < 4 || !is_dropped(i)); }

static int64_t count(db *d, const char *sql) {
    db_rows r = db_query_values(d, sql, NULL, 0);
    int64_t n = db_next(&r) ? db_integer(&r, 0) : -1;
    db_end(&r);
    assert_false(db_failed(d));
    return n;
}

/* The question whether a row is there as it was inserted: SELECT … WHERE column = value AND … */
static void question_of(const char *insert, char *out, size_t size) {
    char table[40], columns[300], values[300], *column_end = NULL, *value_end = NULL;
    assert_int_equal(sscanf(insert, "INSERT INTO %39s (%299[^)]) VALUES (%299[^)])", table, columns, values), 3);
    char *column = strtok_r(columns, ", ", &column_end), *value = strtok_r(values, ", ", &value_end);
    int n = snprintf(out, size, "SELECT COUNT(*) FROM %s", table);
    for (const char *word = "WHERE"; column != NULL; word = "AND") {
        assert_non_null(value);
        n += snprintf(out + n, size - (size_t)n, " %s %s = %s", word, column, value);
        column = strtok_r(NULL, ", ", &column_end);
        value = strtok_r(NULL, ", ", &value_end);
    }
    assert_null(value);
    assert_true(n < (int)size);
}

/* Every table is there, and the rows that a database of this version had are all that is in them. */
static void check_migrated(db *d, int version) {
    static char sql[40][80], questions[ROW_COUNT][700]; /* an address names a prepared statement */
    size_t tables = 0, found = 0, kept = 0;
    for (; SCHEMA_TABLES[tables][0] != NULL; tables++) {
        assert_true(tables < 40);
        snprintf(sql[tables], sizeof *sql, "SELECT COUNT(*) FROM %s", SCHEMA_TABLES[tables][0]);
        if (strcmp(SCHEMA_TABLES[tables][0], "clinic_use") != 0 && strcmp(SCHEMA_TABLES[tables][0], "blob_shares") != 0)
            found += (size_t)count(d, sql[tables]);
    }
    /* What a clinic takes was counted when that came with version 3. */
    assert_int_equal(count(d, "SELECT COUNT(*) FROM clinic_use"), version < 3);
    if (version < 3)
        assert_int_equal(count(d, "SELECT stored * 1000 + group_count * 100 + device_count * 10 + invitation_count "
                                  "FROM clinic_use"),
                         (256 + (version < 2 ? 4 : 4 + 1)) * 1000 + 111);
    assert_int_equal(count(d, "SELECT COUNT(*) FROM blob_shares WHERE bytes = 5"), version == 2);
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (is_dropped(i))
            continue;
        question_of(ROWS[i].sql, questions[i], sizeof *questions);
        assert_int_equal(count(d, questions[i]), ROWS[i].version <= version);
        kept += ROWS[i].version <= version;
    }
    assert_int_equal(found, kept);
    assert_true(tables >= ROW_COUNT);
}

/* What was released is what databases out there were made by: nobody edits it. */
static void released_steps_are_as_they_were(void **state) {
    static const char *const RELEASED[] = {
        "92a17830c1bc3b2c1e6f93558afd071d1863339b6ffe356d87538e43e1511d6f",
        "47a1eac4b43134cd25ad34b28f019d8857279f1283baa7c5bdb0ee857f945e8b",
        "ea50b587b11cc494edb3fee44d063a2edefc259ecfc6301f117595e30489755e",
    };
    for (int version = 1; version <= (int)(sizeof RELEASED / sizeof *RELEASED); version++) {
        crypto_hash_sha256_state hash;
        uint8_t digest[32];
        char hex[2 * 32 + 1];
        crypto_hash_sha256_init(&hash);
        for (size_t i = 0; i < SCHEMA_STEPS; i++) {
            if (SCHEMA[i].version != version)
                continue;
            const uint8_t clustered = SCHEMA[i].clustered;
            crypto_hash_sha256_update(&hash, &clustered, 1);
            crypto_hash_sha256_update(&hash, (const uint8_t *)SCHEMA[i].sql, strlen(SCHEMA[i].sql));
        }
        crypto_hash_sha256_final(&hash, digest);
        for (int i = 0; i < 32; i++)
            snprintf(hex + 2 * i, 3, "%02x", digest[i]);
        assert_string_equal(hex, RELEASED[version - 1]);
    }
}

static char folder[] = "/tmp/sotto-schema-XXXXXX";
static char path[64];

static sqlite3 *old_sqlite(int version) {
    sqlite3 *h = NULL;
    char sql[1000];
    (void)unlink(path);
    assert_int_equal(sqlite3_open(path, &h), SQLITE_OK);
    assert_int_equal(sqlite3_exec(h, "PRAGMA synchronous = OFF; BEGIN", NULL, NULL, NULL), SQLITE_OK);
    for (size_t i = 0; i < SCHEMA_STEPS; i++) {
        if (SCHEMA[i].version > version)
            continue;
        snprintf(sql, sizeof sql, "%s%s", SCHEMA[i].sql, SCHEMA[i].clustered ? " WITHOUT ROWID" : "");
        assert_int_equal(sqlite3_exec(h, sql, NULL, NULL, NULL), SQLITE_OK);
    }
    for (size_t i = 0; i < ROW_COUNT; i++)
        if (is_of(i, version))
            assert_int_equal(sqlite3_exec(h, ROWS[i].sql, NULL, NULL, NULL), SQLITE_OK);
    snprintf(sql, sizeof sql, "PRAGMA user_version = %d; COMMIT", version);
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
            check_migrated(d, version);
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
    check_migrated(d, 1);
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

/* Killed by the system at the first byte beyond a size, in the middle of what is written: the old version stays, or the new one
 * is whole. */
static void sqlite_survives_a_migration_that_was_killed(void **state) {
    enum { STEP = 1500, FIRST = 32768 /* of the shared memory's file */ };
    int killed = 0, whole = 0, kept_old = 0;
    for (rlim_t size = FIRST; whole == 0; size += STEP) {
        int status = 0;
        db *d = NULL;
        assert_int_equal(sqlite3_close(old_sqlite(1)), SQLITE_OK);
        pid_t child = fork();
        if (child == 0) {
            struct rlimit limit = {size, size};
            (void)setrlimit(RLIMIT_FSIZE, &limit);
            _exit(db_open_sqlite(path, false, &d) == OK ? 0 : 1);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        if (WIFSIGNALED(status)) {
            assert_int_equal(WTERMSIG(status), SIGXFSZ);
            killed++;
            kept_old += db_open_sqlite(path, true, &d) == ERR_STATE;
            db_close(d);
        } else {
            assert_int_equal(WEXITSTATUS(status), 0);
            whole++;
        }
        assert_ok(db_open_sqlite(path, false, &d));
        check_migrated(d, 1);
        db_close(d);
        assert_true(size < 10000000);
    }
    assert_true(killed >= 10 && kept_old >= 10);
}

static void run(PGconn *p, const char *sql) {
    PGresult *r = PQexec(p, sql);
    if (PQresultStatus(r) != PGRES_COMMAND_OK)
        fail_msg("%s: %s", sql, PQresultErrorMessage(r));
    PQclear(r);
}

static PGconn *old_postgres(const char *url, int version) {
    char sql[100];
    PGconn *p = PQconnectdb(url);
    assert_int_equal(PQstatus(p), CONNECTION_OK);
    run(p, "SET client_min_messages = error; DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    run(p, "CREATE TABLE schema_version (version BIGINT NOT NULL)");
    for (size_t i = 0; i < SCHEMA_STEPS; i++)
        if (SCHEMA[i].version <= version)
            run(p, SCHEMA[i].sql);
    for (size_t i = 0; i < ROW_COUNT; i++)
        if (is_of(i, version))
            run(p, ROWS[i].sql);
    snprintf(sql, sizeof sql, "INSERT INTO schema_version (version) VALUES (%d)", version);
    run(p, sql);
    return p;
}

static void postgres_is_migrated_from_every_version(void **state) {
    const char *url = getenv("SOTTO_SCHEMA_DATABASE");
    if (url == NULL)
        skip();
    for (int version = 1; version <= SCHEMA_VERSION; version++) {
        db *d = NULL;
        PQfinish(old_postgres(url, version));
        for (int again = 0; again < 2; again++) {
            assert_ok(db_open_postgres(url, false, &d));
            check_migrated(d, version);
            assert_int_equal(count(d, "SELECT version FROM schema_version"), SCHEMA_VERSION);
            db_close(d);
        }
    }
}

static int64_t asked(PGconn *p, const char *sql) {
    PGresult *r = PQexec(p, sql);
    if (PQresultStatus(r) != PGRES_TUPLES_OK)
        fail_msg("%s: %s", sql, PQresultErrorMessage(r));
    int64_t n = strtoll(PQgetvalue(r, 0, 0), NULL, 10);
    PQclear(r);
    return n;
}

/* Asks until it is so. */
static void await(PGconn *p, const char *sql, int64_t wanted) {
    for (int i = 0; asked(p, sql) != wanted; i++) {
        if (i == 3000)
            fail_msg("%s is not %lld", sql, (long long)wanted);
        (void)usleep(10000);
    }
}

static pid_t open_in_child(const char *url) {
    db *d = NULL;
    pid_t child = fork();
    if (child == 0)
        _exit(db_open_postgres(url, false, &d) == OK ? 0 : 1);
    assert_true(child > 0);
    return child;
}

/* A relay that dies in the middle, held there by somebody who makes the same table; then two that start at once. */
static void postgres_survives_a_migration_that_was_killed(void **state) {
    static const char WAITING[] = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND "
                                  "wait_event_type = 'Lock'",
                      OTHERS[] = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> "
                                 "pg_backend_pid() AND backend_type = 'client backend'";
    const char *url = getenv("SOTTO_SCHEMA_DATABASE");
    int status = 0;
    if (url == NULL)
        skip();
    PGconn *p = old_postgres(url, 1), *blocker = PQconnectdb(url);
    run(blocker, "BEGIN");
    run(blocker, "CREATE TABLE audit_key (x BIGINT)");
    pid_t child = open_in_child(url);
    await(p, WAITING, 1);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    run(blocker, "ROLLBACK");
    PQfinish(blocker);
    await(p, OTHERS, 0);
    assert_int_equal(asked(p, "SELECT version FROM schema_version"), 1);
    assert_int_equal(asked(p, "SELECT COUNT(*) FROM pg_tables WHERE tablename IN ('scheduled', 'audit_key')"), 0);

    pid_t children[2] = {open_in_child(url), open_in_child(url)};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    db *d = NULL;
    assert_int_equal(asked(p, "SELECT COUNT(*) FROM schema_version"), 1);
    assert_ok(db_open_postgres(url, false, &d));
    check_migrated(d, 1);
    db_close(d);
    run(p, "UPDATE schema_version SET version = version + 1");
    assert_err(db_open_postgres(url, false, &d), ERR_STORE_NEWER);
    PQfinish(p);
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
        cmocka_unit_test(released_steps_are_as_they_were),
        cmocka_unit_test(sqlite_survives_a_migration_that_was_killed),
        cmocka_unit_test(postgres_is_migrated_from_every_version),
        cmocka_unit_test(postgres_survives_a_migration_that_was_killed),
    };
    return cmocka_run_group_tests_name("relay_schema", tests, set_up, tear_down);
}
