/* core/store/vfs: SQLite's file layer by itself, without encryption and schema: codes, clock, memory. */
#include "sqlite3.h"
#include "store/vfs.h"
#include "support/check.h"
#include "support/disk.h"
#include "support/host.h"

static disk *the_disk;

static int set_up(void **state) {
    the_disk = disk_new();
    host_set_disk(the_disk);
    host_set_log_level(4);
    return vfs_configure();
}

static int tear_down(void **state) {
    host_fail_after(0);
    host_set_now(-1);
    host_fail_with(HOST_EIO);
    host_set_disk(NULL);
    disk_free(the_disk);
    return 0;
}

static sqlite3_vfs *ours(void) {
    sqlite3_vfs *vfs = sqlite3_vfs_find("sotto");
    assert_non_null(vfs);
    return vfs;
}

static void it_is_under_the_cipher_layer_and_that_is_the_default(void **state) {
    assert_string_equal(sqlite3_vfs_find(NULL)->zName, "multipleciphers-sotto");
    assert_ptr_equal(sqlite3_vfs_find(NULL)->pAppData, ours());
    assert_int_equal(vfs_configure(), SQLITE_OK); /* again is fine */
}

static sqlite3_file *opened(int flags) {
    sqlite3_file *file = calloc(1, (size_t)ours()->szOsFile);
    assert_int_equal(ours()->xOpen(ours(), "account.db", file, flags, NULL), SQLITE_OK);
    return file;
}

static const int database = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_MAIN_DB;

static void reads_past_the_end_are_zeros(void **state) {
    uint8_t buf[8];
    sqlite3_int64 size;
    sqlite3_file *file = opened(database);
    assert_int_equal(file->pMethods->xWrite(file, "abcd", 4, 2), SQLITE_OK);
    memset(buf, 0xff, sizeof buf);
    assert_int_equal(file->pMethods->xRead(file, buf, 8, 0), SQLITE_IOERR_SHORT_READ);
    assert_memory_equal(buf, "\0\0abcd\0\0", 8);
    assert_int_equal(file->pMethods->xFileSize(file, &size), SQLITE_OK);
    assert_int_equal(size, 6);
    assert_int_equal(file->pMethods->xTruncate(file, 3), SQLITE_OK);
    assert_int_equal(file->pMethods->xRead(file, buf, 3, 0), SQLITE_OK);
    assert_int_equal(file->pMethods->xClose(file), SQLITE_OK);
    free(file);
}

static void a_failed_read_shows_nothing_and_stops_the_file(void **state) {
    uint8_t buf[4] = "old";
    sqlite3_int64 size;
    sqlite3_file *file = opened(database);
    vfs_file *f = (vfs_file *)file;
    assert_int_equal(file->pMethods->xWrite(file, "abcd", 4, 0), SQLITE_OK);
    host_fail_after(1);
    assert_int_equal(file->pMethods->xRead(file, buf, 4, 0), SQLITE_IOERR_READ);
    assert_memory_equal(buf, "\0\0\0\0", 4);
    assert_int_equal(vfs_failed(f), HOST_EIO);
    long operations = host_operations();
    assert_int_equal(file->pMethods->xRead(file, buf, 4, 0), SQLITE_IOERR_READ);
    assert_int_equal(file->pMethods->xWrite(file, "abcd", 4, 0), SQLITE_IOERR_WRITE);
    assert_int_equal(file->pMethods->xTruncate(file, 0), SQLITE_IOERR_WRITE);
    assert_int_equal(file->pMethods->xSync(file, SQLITE_SYNC_FULL), SQLITE_IOERR_FSYNC);
    assert_int_equal(file->pMethods->xFileSize(file, &size), SQLITE_IOERR_FSTAT);
    assert_int_equal(host_operations(), operations);
    assert_int_equal(vfs_take_error(f), HOST_EIO);
    assert_int_equal(file->pMethods->xClose(file), SQLITE_OK);
    free(file);
}

static void a_full_disk_does_not_stop_the_file(void **state) {
    sqlite3_file *file = opened(database);
    vfs_file *f = (vfs_file *)file;
    host_fail_with(HOST_EFULL);
    host_fail_after(1);
    assert_int_equal(file->pMethods->xWrite(file, "abcd", 4, 0), SQLITE_FULL);
    assert_int_equal(vfs_failed(f), 0);
    assert_int_equal(vfs_take_error(f), HOST_EFULL);
    assert_int_equal(vfs_take_error(f), 0);
    assert_int_equal(file->pMethods->xWrite(file, "abcd", 4, 0), SQLITE_OK);
    /* But when a sync finds it so, nobody knows what was kept. */
    host_fail_after(1);
    assert_int_equal(file->pMethods->xSync(file, SQLITE_SYNC_FULL), SQLITE_IOERR_FSYNC);
    assert_int_equal(vfs_failed(f), HOST_EIO);
    assert_int_equal(file->pMethods->xClose(file), SQLITE_OK);
    free(file);
}

static void files_without_a_name_are_refused(void **state) {
    sqlite3_file *file = calloc(1, (size_t)ours()->szOsFile);
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_DELETEONCLOSE | SQLITE_OPEN_TEMP_DB;
    assert_int_equal(ours()->xOpen(ours(), NULL, file, flags, NULL), SQLITE_CANTOPEN);
    assert_null(file->pMethods);
    assert_int_equal(ours()->xOpen(ours(), "account.db", file, SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_READWRITE, NULL),
                     SQLITE_CANTOPEN);
    free(file);
}

static void files_exist_and_are_deleted(void **state) {
    int exists = -1;
    sqlite3_file *file = opened(database);
    assert_int_equal(file->pMethods->xClose(file), SQLITE_OK);
    free(file);
    assert_int_equal(ours()->xAccess(ours(), "account.db", SQLITE_ACCESS_EXISTS, &exists), SQLITE_OK);
    assert_int_equal(exists, 1);
    assert_int_equal(ours()->xDelete(ours(), "account.db", 1), SQLITE_OK);
    assert_int_equal(ours()->xDelete(ours(), "account.db", 1), SQLITE_IOERR_DELETE_NOENT);
    assert_int_equal(ours()->xAccess(ours(), "account.db", SQLITE_ACCESS_EXISTS, &exists), SQLITE_OK);
    assert_int_equal(exists, 0);
    host_fail_after(1);
    assert_int_equal(ours()->xAccess(ours(), "account.db", SQLITE_ACCESS_EXISTS, &exists), SQLITE_IOERR_ACCESS);
}

static void the_clock_is_the_hosts(void **state) {
    sqlite3_int64 now;
    double days;
    host_set_now(0);
    assert_int_equal(ours()->xCurrentTimeInt64(ours(), &now), SQLITE_OK);
    assert_true(now == 210866760000000); /* unixepoch is Julian day 2440587.5 */
    assert_int_equal(ours()->xCurrentTime(ours(), &days), SQLITE_OK);
    assert_true(days == 2440587.5);
}

static void memory_keeps_its_contents_when_it_changes_size(void **state) {
    uint8_t *p = sqlite3_malloc(100);
    assert_int_equal((uintptr_t)p % 8, 0);
    memset(p, 0x5a, 100);
    static const int sizes[] = {90, 40, 41, 5000, 4999, 8, 100000, 1};
    size_t kept = 100;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        p = sqlite3_realloc(p, sizes[i]);
        assert_non_null(p);
        assert_true(sqlite3_msize(p) >= (sqlite3_uint64)sizes[i]);
        kept = kept < (size_t)sizes[i] ? kept : (size_t)sizes[i];
        for (size_t k = 0; k < kept; k++)
            assert_int_equal(p[k], 0x5a);
    }
    /* What a smaller size cuts off is wiped, not kept for the next who grows into it. */
    p = sqlite3_realloc(p, 64);
    memset(p, 0x5a, 64);
    p = sqlite3_realloc(p, 40);
    assert_int_equal(p[39], 0x5a);
    sqlite3_free(p);
    sqlite3_free(NULL);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(it_is_under_the_cipher_layer_and_that_is_the_default),
        T(reads_past_the_end_are_zeros),
        T(a_failed_read_shows_nothing_and_stops_the_file),
        T(a_full_disk_does_not_stop_the_file),
        T(files_without_a_name_are_refused),
        T(files_exist_and_are_deleted),
        T(the_clock_is_the_hosts),
        T(memory_keeps_its_contents_when_it_changes_size),
    };
    return cmocka_run_group_tests_name("vfs", tests, NULL, NULL);
}
