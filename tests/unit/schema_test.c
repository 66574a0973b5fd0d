/* core/store/schema.c: what the account's tables promise beyond their columns. */
#include "store/store.h"
#include "support/check.h"
#include "support/disk.h"
#include "support/host.h"

static store *opened;

static int setup(void **state) {
    static const uint8_t key[STORE_KEY_SIZE];
    assert_ok(store_open("", key, true, &account_schema, &opened));
    assert_ok(store_begin(opened));
    return 0;
}

static int teardown(void **state) {
    store_rollback(opened);
    store_close(opened);
    return 0;
}

static int64_t add_job(void) {
    query q;
    query_init(&q, opened, "INSERT INTO job (lane, kind, method, path) VALUES (1, 8, 'POST', '/')");
    assert_ok(query_end(&q));
    return store_last_id(opened);
}

/* An answer that comes late for a job that is gone must not be taken for the next job's: a message would count as sent
 * that never went out. */
static void a_jobs_id_is_never_used_again(void **state) {
    query q;
    int64_t first = add_job();
    query_init(&q, opened, "DELETE FROM job");
    assert_ok(query_end(&q));
    assert_true(add_job() > first);
}

static void a_message_is_kept_once_by_its_name(void **state) {
    static const char insert[] = "INSERT INTO message (conversation, message_id, kind, own, text, state, sent_ms, "
                                 "received_ms) VALUES (1, x'01', 0, 1, 'a', 0, 0, 0)";
    query q;
    query_init(&q, opened, insert);
    assert_ok(query_end(&q));
    query_init(&q, opened, insert);
    assert_err(query_end(&q), ERR_EXISTS);
}

/* STRICT tables: a value of the wrong type is refused instead of kept as it is. */
static void columns_keep_their_types(void **state) {
    query q;
    query_init(&q, opened, "INSERT INTO person (subject_id, kind, name) VALUES (x'01', 'staff', 'Ann')");
    assert_int_not_equal(query_end(&q), OK);
}

/* An account that the version before wrote is opened, with all that is in it, and has what is new. */
static void the_version_before_is_brought_to_this_one(void **state) {
    static const uint8_t key[STORE_KEY_SIZE] = {7};
    const store_schema before = {account_schema.migrations, account_schema.count - 1};
    disk *medium = disk_new();
    query q;
    host_set_disk(medium);
    assert_ok(store_open("old.db", key, true, &before, &opened));
    assert_ok(store_begin(opened));
    query_init(&q, opened, "SELECT 1 FROM audit_alarm");
    assert_int_not_equal(query_end(&q), OK); /* there is none yet */
    store_rollback(opened);
    assert_ok(store_begin(opened));
    query_init(
        &q, opened,
        "INSERT INTO conversation (group_id, state, created_ms, counter, previous) VALUES (x'01', 1, 5, 9, x'02')");
    assert_ok(query_end(&q));
    query_init(&q, opened, "INSERT INTO setting (name, value) VALUES ('cursor', x'0000000000000007')");
    assert_ok(query_end(&q));
    assert_ok(store_commit(opened));
    store_close(opened);

    assert_ok(store_open("old.db", key, false, &account_schema, &opened));
    assert_ok(store_begin(opened));
    query_init(&q, opened,
               "SELECT counter FROM conversation JOIN setting ON name = 'cursor' AND value = x'0000000000000007'");
    assert_true(query_row(&q));
    assert_int_equal(query_int(&q, 0), 9);
    assert_ok(query_end(&q));
    query_init(&q, opened, "INSERT INTO audit_checkpoint (number, checkpoint) VALUES (3, x'04')");
    assert_ok(query_end(&q));
    for (int again = 0; again < 2; again++) { /* one fault of one number stands once */
        query_init(&q, opened, "INSERT OR IGNORE INTO audit_alarm (fault, number, at_ms) VALUES (1, 3, 5)");
        assert_ok(query_end(&q));
        assert_int_equal(store_changes(opened), !again);
    }
    assert_ok(store_commit(opened));
    store_close(opened);
    assert_err(store_open("old.db", key, false, &before, &opened), ERR_STORE_NEWER);
    host_set_disk(NULL);
    disk_free(medium);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_jobs_id_is_never_used_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_message_is_kept_once_by_its_name, setup, teardown),
        cmocka_unit_test_setup_teardown(columns_keep_their_types, setup, teardown),
        cmocka_unit_test(the_version_before_is_brought_to_this_one),
    };
    return cmocka_run_group_tests_name("schema", tests, NULL, NULL);
}
