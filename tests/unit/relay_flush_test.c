/* What is on the medium when a commit returns: SQLite over files that keep, beside each, what it held when it was last flushed. */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../../server/db.h"
#include "../../server/log.h"
#include "support/check.h"

static char folder[] = "/tmp/sotto-flush-XXXXXX";
static char path[64], log_path[80], medium_path[64], medium_log_path[80];
static int flushes; /* of the log */
static bool flush_fails;

static void copy(const char *from, const char *to) {
    static uint8_t bytes[1 << 20];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    assert_true(in != NULL && out != NULL);
    for (size_t n; (n = fread(bytes, 1, sizeof bytes, in)) > 0;)
        assert_int_equal(fwrite(bytes, 1, n, out), n);
    assert_int_equal(fclose(in) | fclose(out), 0);
}

static sqlite3_vfs vfs, *below;
static const sqlite3_io_methods *their_methods;
static sqlite3_io_methods methods, log_methods;

static int sync_database(sqlite3_file *f, int flags) {
    int rc = their_methods->xSync(f, flags);
    copy(path, medium_path);
    return rc;
}

static int sync_log(sqlite3_file *f, int flags) {
    flushes++;
    if (flush_fails)
        return SQLITE_IOERR_FSYNC;
    int rc = their_methods->xSync(f, flags);
    copy(log_path, medium_log_path);
    return rc;
}

static int open_file(sqlite3_vfs *v, sqlite3_filename name, sqlite3_file *f, int flags, int *given) {
    (void)v;
    int rc = below->xOpen(below, name, f, flags, given);
    bool is_log = (flags & SQLITE_OPEN_WAL) != 0;
    if (rc != SQLITE_OK || name == NULL || strncmp(name, path, strlen(path)) != 0 ||
        (!is_log && (flags & SQLITE_OPEN_MAIN_DB) == 0))
        return rc;
    their_methods = f->pMethods;
    methods = log_methods = *their_methods;
    methods.xSync = sync_database;
    log_methods.xSync = sync_log;
    f->pMethods = is_log ? &log_methods : &methods;
    return rc;
}

static db *store;

static int set_up(void **state) {
    assert_ok(db_open_sqlite(path, false, &store));
    DB_RUN(store, "DELETE FROM retention WHERE clinic = $1", db_b(span_text("c")));
    flush_fails = false;
    return 0;
}

static int tear_down(void **state) {
    db_close(store);
    (void)unlink(path);
    return 0;
}

/* A transaction that writes one row. */
static err write_row(int64_t days, bool flushed) {
    TRY(db_begin(store));
    DB_RUN_LATER(store, "INSERT INTO retention (clinic, days) VALUES ($1, $2)",
                 db_b(span_of((const uint8_t *)"abcdefgh" + days, 1)), db_i(days));
    return flushed ? db_commit(store) : db_commit_unflushed(store);
}

static int64_t sum(db *d) {
    db_rows r = db_query_values(d, "SELECT COALESCE(SUM(days), 0) FROM retention", NULL, 0);
    int64_t n = db_next(&r) ? db_integer(&r, 0) : -1;
    db_end(&r);
    assert_false(db_failed(d));
    return n;
}

/* What a machine finds that lost its power now. */
static int64_t sum_on_medium(void) {
    db *d = NULL;
    assert_ok(db_open_sqlite(medium_path, true, &d));
    int64_t n = sum(d);
    db_close(d);
    return n;
}

static void a_flush_covers_what_was_put_off(void **state) {
    assert_ok(write_row(1, true));
    int before = flushes;
    assert_int_equal(sum_on_medium(), 1);
    assert_ok(write_row(2, false));
    assert_ok(write_row(3, false));
    assert_int_equal(flushes, before);
    assert_int_equal(sum(store), 6);
    assert_int_equal(sum_on_medium(), 1);
    assert_ok(write_row(4, true));
    assert_int_equal(flushes, before + 1);
    assert_int_equal(sum_on_medium(), 10);
    assert_ok(write_row(5, false));
    assert_int_equal(sum_on_medium(), 10);
}

/* A commit that begins the log anew, and a checkpoint, flush whatever the commit promises. */
static void checkpoints_are_flushed(void **state) {
    static uint8_t large[1 << 20];
    sqlite3 *other = NULL;
    assert_ok(write_row(1, false));
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "PRAGMA wal_checkpoint(RESTART)", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(other), SQLITE_OK);
    assert_int_equal(sum_on_medium(), 1);
    int before = flushes;
    assert_ok(write_row(2, false));
    assert_int_equal(flushes, before + 1); /* of the header */
    assert_ok(write_row(3, false));
    assert_int_equal(flushes, before + 1);
    /* More than the log is to hold. */
    assert_ok(db_begin(store));
    for (int64_t i = 0; i < 17; i++)
        DB_RUN_LATER(store, "INSERT INTO blob_pieces (clinic, blob, at, data) VALUES ($1, $2, $3, $4)",
                     db_b(span_text("c")), db_b(span_text("b")), db_i(i), db_b(SPAN(large)));
    assert_ok(db_commit_unflushed(store));
    assert_int_equal(flushes, before + 2);
    assert_ok(write_row(4, false));
    assert_int_equal(sum_on_medium(), 6);
}

/* Nothing is added behind what a failed flush may have lost. */
static void what_a_failed_flush_may_have_torn_is_not_built_upon(void **state) {
    assert_ok(write_row(1, true));
    assert_ok(write_row(2, false));
    flush_fails = true;
    assert_err(write_row(3, true), ERR_STORE);
    assert_int_equal(sum(store), 3);
    assert_err(write_row(3, false), ERR_STORE);
    flush_fails = false;
    int before = flushes;
    assert_ok(write_row(4, false)); /* first all that the log has goes to the database, and it begins anew */
    assert_true(flushes >= before + 2);
    assert_int_equal(sum_on_medium(), 3);
    assert_ok(write_row(5, true));
    assert_int_equal(sum_on_medium(), 12);
    /* Where nothing was put off, a failed flush has torn nothing. */
    flush_fails = true;
    assert_err(write_row(6, true), ERR_STORE);
    flush_fails = false;
    before = flushes;
    assert_ok(write_row(6, true));
    assert_int_equal(flushes, before + 1);
    assert_int_equal(sum_on_medium(), 18);
}

static int begin(void **state) {
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/relay.db", folder);
    snprintf(log_path, sizeof log_path, "%s-wal", path);
    snprintf(medium_path, sizeof medium_path, "%s/medium.db", folder);
    snprintf(medium_log_path, sizeof medium_log_path, "%s-wal", medium_path);
    log_from(LOG_ERROR + 1);
    below = sqlite3_vfs_find(NULL);
    vfs = *below;
    vfs.zName = "medium";
    vfs.xOpen = open_file;
    return sqlite3_vfs_register(&vfs, 1);
}

static int finish(void **state) {
    char command[80];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_flush_covers_what_was_put_off, set_up, tear_down),
        cmocka_unit_test_setup_teardown(checkpoints_are_flushed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_a_failed_flush_may_have_torn_is_not_built_upon, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("relay_flush", tests, begin, finish);
}
