/* core/client/account_lock.c: the key file under right, wrong and changed PINs, and under crashes. */
#include "client/account_lock.h"
#include "support/check.h"
#include "support/host.h"

static const char path[] = "account.key";
static const uint8_t key[STORE_KEY_SIZE] = {1, 2, 3, 4};

static int setup(void **state) {
    host_temporary_root();
    host_set_now(1790000000000.0);
    return 0;
}

static int teardown(void **state) {
    host_fail_after(0);
    host_remove_root();
    host_set_now(-1);
    return 0;
}

static void make(void) {
    assert_ok(account_lock_create(path, span_text("2468"), key));
    assert_ok(account_lock_finish(path));
}

static void the_right_pin_opens(void **state) {
    uint8_t opened[STORE_KEY_SIZE];
    lock_status status;
    assert_ok(account_lock_status(path, &status));
    assert_false(status.exists);
    make();
    assert_err(account_lock_create(path, span_text("9999"), key), ERR_EXISTS);
    assert_ok(account_lock_open(path, span_text("2468"), opened));
    assert_memory_equal(opened, key, sizeof key);
    assert_ok(account_lock_status(path, &status));
    assert_true(status.exists && status.finished && status.wrong == 0);
}

static void wrong_pins_are_counted_and_slowed_and_wipe_nothing(void **state) {
    uint8_t opened[STORE_KEY_SIZE];
    lock_status status;
    double now = 1790000000000.0;
    make();
    for (int i = 1; i <= PIN_FREE_TRIES; i++) {
        assert_err(account_lock_open(path, span_text("1111"), opened), ERR_PIN);
        assert_ok(account_lock_status(path, &status));
        assert_int_equal(status.wrong, i);
    }
    assert_int_equal(status.wait_ms, PIN_FIRST_WAIT_MS);
    assert_err(account_lock_open(path, span_text("2468"), opened),
               ERR_TOO_SOON);   /* the right one has to wait as well */
    host_set_now(now - 3600e3); /* setting the clock back gains nothing */
    assert_err(account_lock_open(path, span_text("2468"), opened), ERR_TOO_SOON);
    host_set_now(now += PIN_FIRST_WAIT_MS);
    assert_err(account_lock_open(path, span_text("1111"), opened), ERR_PIN);
    assert_ok(account_lock_status(path, &status));
    assert_int_equal(status.wait_ms, 2 * PIN_FIRST_WAIT_MS);
    for (int i = 0; i < 12; i++) {
        host_set_now(now += PIN_LONGEST_WAIT_MS);
        assert_err(account_lock_open(path, span_text("1111"), opened), ERR_PIN);
    }
    assert_ok(account_lock_status(path, &status));
    assert_int_equal(status.wait_ms, PIN_LONGEST_WAIT_MS);
    host_set_now(now += PIN_LONGEST_WAIT_MS);
    assert_ok(account_lock_open(path, span_text("2468"), opened));
    assert_memory_equal(opened, key, sizeof key);
    assert_ok(account_lock_status(path, &status));
    assert_int_equal(status.wrong, 0);
}

static void a_changed_pin_replaces_the_old_one_in_both_slots(void **state) {
    uint8_t opened[STORE_KEY_SIZE];
    make();
    assert_err(account_lock_change(path, span_text("0000"), span_text("13579")), ERR_PIN);
    assert_ok(account_lock_change(path, span_text("2468"), span_text("13579")));
    assert_err(account_lock_open(path, span_text("2468"), opened), ERR_PIN);
    assert_ok(account_lock_open(path, span_text("13579"), opened));
}

/* Whatever file operation fails, the next start finds either the state before or the state after; and no wrong PIN goes
 * uncounted because the write of its count failed. */
static void every_failing_operation_leaves_a_file_that_opens(void **state) {
    for (long n = 1;; n++) {
        uint8_t opened[STORE_KEY_SIZE];
        host_remove_root();
        host_temporary_root();
        make();
        long before = host_operations();
        host_set_torn(1);
        host_fail_after(n);
        err e = account_lock_change(path, span_text("2468"), span_text("13579"));
        bool reached = host_operations() - before >= n;
        host_fail_after(0);
        host_set_torn(0);
        err old_pin = account_lock_open(path, span_text("2468"), opened);
        if (old_pin != OK)
            assert_ok(account_lock_open(path, span_text("13579"), opened));
        assert_memory_equal(opened, key, sizeof key);
        if (e == OK)
            assert_err(old_pin, ERR_PIN);
        if (!reached)
            break;
    }
}

static void a_damaged_file_is_said_and_kept(void **state) {
    lock_status status;
    uint8_t opened[STORE_KEY_SIZE], junk[64] = {9};
    make();
    int32_t fd = host_file_open(path, strlen(path), 0);
    assert_true(fd >= 0);
    host_file_write(fd, junk, sizeof junk, 0);
    assert_ok(account_lock_open(path, span_text("2468"), opened)); /* the other slot is whole */
    host_file_write(fd, junk, sizeof junk, 0);
    host_file_write(fd, junk, sizeof junk, 256);
    host_file_close(fd);
    assert_err(account_lock_status(path, &status), ERR_STORE_CORRUPT);
    assert_err(account_lock_open(path, span_text("2468"), opened), ERR_STORE_CORRUPT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_right_pin_opens, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_pins_are_counted_and_slowed_and_wipe_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_changed_pin_replaces_the_old_one_in_both_slots, setup, teardown),
        cmocka_unit_test_setup_teardown(every_failing_operation_leaves_a_file_that_opens, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_file_is_said_and_kept, setup, teardown),
    };
    return cmocka_run_group_tests_name("account_lock", tests, NULL, NULL);
}
