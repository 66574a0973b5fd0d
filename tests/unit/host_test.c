/* support/host.c: the native host itself, for the tests that lean on its faults. */
#include <sys/wait.h>
#include <unistd.h>

#include "support/check.h"
#include "support/host.h"

static int32_t open_file(const char *name, int32_t flags) { return host_file_open(name, strlen(name), flags); }

static void files_are_written_and_read(void **state) {
    char buffer[16];
    assert_int_equal(open_file("a.db", 0), HOST_ENOENT);
    assert_int_equal(host_file_exists("a.db", 4), 0);
    int32_t fd = open_file("a.db", HOST_OPEN_CREATE);
    assert_true(fd >= 0);
    assert_int_equal(host_file_write(fd, "0123456789", 10, 5), 0);
    assert_true(host_file_size(fd) == 15);
    assert_int_equal(host_file_read(fd, buffer, 16, 3), 12);
    assert_memory_equal(buffer,
                        "\0\0"
                        "0123456789",
                        12);
    assert_int_equal(host_file_read(fd, buffer, 16, 100), 0);
    assert_int_equal(host_file_truncate(fd, 7), 0);
    assert_true(host_file_size(fd) == 7);
    assert_int_equal(host_file_sync(fd), 0);
    assert_int_equal(host_file_close(fd), 0);
    assert_int_equal(host_file_exists("a.db", 4), 1);
    assert_int_equal(host_file_delete("a.db", 4), 0);
    assert_int_equal(host_file_delete("a.db", 4), HOST_ENOENT);
}

static void an_exclusive_file_has_one_owner(void **state) {
    int32_t first = open_file("x", HOST_OPEN_CREATE | HOST_OPEN_EXCLUSIVE);
    assert_true(first >= 0);
    assert_int_equal(open_file("x", HOST_OPEN_EXCLUSIVE), HOST_EBUSY);
    assert_int_equal(host_file_close(first), 0);
    first = open_file("x", HOST_OPEN_EXCLUSIVE);
    assert_true(first >= 0);
    assert_int_equal(host_file_close(first), 0);
}

static void paths_stay_below_the_root(void **state) {
    assert_int_equal(open_file("../x", HOST_OPEN_CREATE), HOST_EDENIED);
    assert_int_equal(open_file("/tmp/x", HOST_OPEN_CREATE), HOST_EDENIED);
    assert_int_equal(open_file("", HOST_OPEN_CREATE), HOST_EDENIED);
    assert_int_equal(open_file("..", 0), HOST_EDENIED);
}

static void the_nth_operation_fails(void **state) {
    int32_t fd = open_file("f", HOST_OPEN_CREATE);
    char buffer[4];
    host_fail_after(2);
    assert_int_equal(host_file_write(fd, "abcd", 4, 0), 0);
    assert_int_equal(host_file_write(fd, "efgh", 4, 0), HOST_EIO);
    assert_int_equal(host_file_read(fd, buffer, 4, 0), 4);
    assert_memory_equal(buffer, "abcd", 4);
    host_fail_with(HOST_EFULL);
    host_set_torn(1);
    host_fail_after(1);
    assert_int_equal(host_file_write(fd, "efgh", 4, 0), HOST_EFULL);
    host_set_torn(0);
    host_fail_from(2);
    assert_int_equal(host_file_read(fd, buffer, 4, 0), 4);
    assert_memory_equal(buffer, "efcd", 4);
    assert_int_equal(host_file_sync(fd), HOST_EFULL);
    assert_true(host_file_size(fd) == HOST_EFULL);
    assert_int_equal(host_file_truncate(fd, 0), HOST_EFULL);
    host_fail_from(0);
    host_fail_with(HOST_EIO);
    assert_true(host_file_size(fd) == 4);
    assert_int_equal(host_file_close(fd), 0);
}

static void the_nth_operation_ends_the_process(void **state) {
    long before = host_operations();
    pid_t child = fork();
    if (child == 0) {
        int32_t fd = open_file("c", HOST_OPEN_CREATE);
        host_abort_after(2);
        (void)host_file_write(fd, "one", 3, 0);
        (void)host_file_write(fd, "two", 3, 3);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WEXITSTATUS(status), HOST_ABORTED);
    int32_t fd = open_file("c", 0);
    assert_true(host_file_size(fd) == 3);
    assert_int_equal(host_file_close(fd), 0);
    assert_int_equal(host_operations() - before, 3);
}

static void the_clock_stands_where_it_is_set(void **state) {
    assert_true(host_now() > 1.7e12);
    host_set_now(12345);
    assert_true(host_now() == 12345);
    host_set_now(0);
    assert_true(host_now() == 0);
    host_set_now(-1);
    assert_true(host_now() > 1.7e12);
}

static void the_log_is_kept(void **state) {
    host_set_log_level(9);
    host_log(1, "canary", 6);
    assert_non_null(strstr(host_logged(), "canary\n"));
    for (int i = 0; i < 20000; i++)
        host_log(1, "line", 4);
    assert_null(strstr(host_logged(), "canary"));
    assert_string_equal(host_logged() + strlen(host_logged()) - 10, "line\nline\n");
    host_set_log_level(2);
}

static int start(void **state) {
    (void)host_temporary_root();
    return 0;
}

static int finish(void **state) {
    host_remove_root();
    return open_file("x", HOST_OPEN_CREATE) != HOST_EDENIED;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_written_and_read),
        cmocka_unit_test(an_exclusive_file_has_one_owner),
        cmocka_unit_test(paths_stay_below_the_root),
        cmocka_unit_test(the_nth_operation_fails),
        cmocka_unit_test(the_nth_operation_ends_the_process),
        cmocka_unit_test(the_clock_stands_where_it_is_set),
        cmocka_unit_test(the_log_is_kept),
    };
    return cmocka_run_group_tests(tests, start, finish);
}
