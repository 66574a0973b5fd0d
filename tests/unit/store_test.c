/* core/store: the encrypted database; what remains of it when files fail and power is cut. */
#include "base/secret.h"
#include "host.h"
#include "store/store.h"
#include "support/check.h"
#include "support/disk.h"
#include "support/host.h"

/* Where all is slower, every third of the many operations has to do; the build without sanitizers takes each. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define STRIDE 3
#endif
#endif
#ifndef STRIDE
#define STRIDE 1
#endif

static const uint8_t key_1[STORE_KEY_SIZE] = {1, 2, 3, 4};
static const uint8_t key_2[STORE_KEY_SIZE] = {1, 2, 3, 5};
static const char name[] = "account.db";
static const char canary[] = "canary: Frau Wagner, born 1961-03-02";

static const char *const two_steps[] = {
    "CREATE TABLE item (id INTEGER PRIMARY KEY, body BLOB) STRICT; CREATE TABLE tag (name TEXT PRIMARY KEY) WITHOUT "
    "ROWID;",
    "CREATE TABLE total (n INTEGER NOT NULL) STRICT; INSERT INTO total VALUES (0);"
    "CREATE VIRTUAL TABLE words USING fts5 (body);",
};
static const store_schema schema_1 = {two_steps, 1};
static const store_schema schema_2 = {two_steps, 2};
static const char *const broken_steps[] = {
    "CREATE TABLE item (id INTEGER PRIMARY KEY, body BLOB) STRICT; CREATE TABLE tag (name TEXT PRIMARY KEY) WITHOUT "
    "ROWID;",
    "CREATE TABLE total (n INTEGER NOT NULL); DROP TABLE item; INSERT INTO nothing VALUES (1)",
};
static const store_schema schema_broken = {broken_steps, 2};

static disk *the_disk;

static int set_up(void **state) {
    the_disk = disk_new();
    host_set_disk(the_disk);
    host_fail_after(0);
    host_fail_from(0);
    host_fail_with(HOST_EIO);
    if (getenv("SOTTO_LOG") == NULL)
        host_set_log_level(4); /* failing is what is tested here */
    return 0;
}

static int tear_down(void **state) {
    host_fail_after(0);
    host_fail_from(0);
    host_set_disk(NULL);
    disk_free(the_disk);
    return 0;
}

static store *opened(bool create) {
    store *s;
    assert_ok(store_open(name, key_1, create, &schema_2, &s));
    return s;
}

static err add_item(store *s, span body) {
    query q;
    query_init(&q, s, "INSERT INTO item (body) VALUES (?)");
    query_bind_blob(&q, body);
    return query_end(&q);
}

static err count_of(store *s, const char *sql, int64_t *count) {
    query q;
    query_init(&q, s, sql);
    *count = query_row(&q) ? query_int(&q, 0) : -1;
    return query_end(&q);
}

static int64_t items(store *s) {
    int64_t n;
    assert_ok(count_of(s, "SELECT count(*) FROM item", &n));
    return n;
}

static void assert_intact(store *s) {
    query q;
    query_init(&q, s, "PRAGMA integrity_check");
    assert_true(query_row(&q));
    assert_span(query_text(&q, 0), span_text("ok"));
    assert_ok(query_end(&q));
}

/* --- opening --- */

static void a_store_is_made_once_and_opened_again(void **state) {
    store *s;
    assert_err(store_open(name, key_1, false, &schema_2, &s), ERR_NOT_FOUND);
    assert_null(s);
    assert_int_equal(disk_size(the_disk), 0);
    s = opened(true);
    assert_ok(store_begin(s));
    assert_ok(add_item(s, span_text("hello")));
    assert_ok(store_commit(s));
    store_close(s);
    assert_err(store_open(name, key_1, true, &schema_2, &s), ERR_EXISTS);
    assert_err(store_open(name, key_2, true, &schema_2, &s), ERR_EXISTS);
    s = opened(false);
    assert_int_equal(items(s), 1);
    assert_intact(s);
    store_close(s);
    store_close(NULL);
}

static void closing_leaves_the_database_alone_without_wal_and_journal(void **state) {
    size_t n;
    store *s = opened(true);
    assert_null(disk_bytes(the_disk, "account.db-journal", &n));
    assert_ok(store_begin(s));
    assert_ok(add_item(s, span_text("hello")));
    assert_ok(store_commit(s));
    assert_non_null(disk_bytes(the_disk, "account.db-wal", &n));
    assert_true(n > 4096);
    store_close(s);
    assert_null(disk_bytes(the_disk, "account.db-wal", &n));
    assert_null(disk_bytes(the_disk, "account.db-journal", &n));
}

static void a_store_in_memory_has_no_files(void **state) {
    store *s;
    assert_ok(store_open("", NULL, true, &schema_2, &s));
    assert_ok(store_begin(s));
    assert_ok(add_item(s, span_text("hello")));
    assert_ok(store_commit(s));
    assert_int_equal(items(s), 1);
    store_close(s);
    assert_int_equal(disk_size(the_disk), 0);
}

static void a_second_owner_is_refused(void **state) {
    store *s = opened(true), *other;
    assert_err(store_open(name, key_1, false, &schema_2, &other), ERR_STORE_BUSY);
    assert_null(other);
    assert_ok(store_begin(s));
    assert_ok(store_commit(s));
    store_close(s);
}

static void a_host_that_refuses_storage_is_told_apart(void **state) {
    static const struct {
        enum host_error host;
        err e;
    } cases[] = {{HOST_EDENIED, ERR_STORE_DENIED},
                 {HOST_EBUSY, ERR_STORE_BUSY},
                 {HOST_EFULL, ERR_STORE_FULL},
                 {HOST_EIO, ERR_STORE}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        store *s;
        host_fail_with(cases[i].host);
        host_fail_from(1);
        assert_err(store_open(name, key_1, true, &schema_2, &s), cases[i].e);
        host_fail_from(0);
        host_fail_from(3); /* what looks at the files before works, SQLite's own open does not */
        assert_err(store_open(name, key_1, true, &schema_2, &s), cases[i].e);
        host_fail_from(0);
    }
}

static void a_name_that_is_too_long_is_refused(void **state) {
    char long_name[300] = {0};
    store *s;
    memset(long_name, 'a', sizeof long_name - 1);
    assert_err(store_open(long_name, key_1, true, &schema_2, &s), ERR_TOO_LARGE);
}

/* --- encryption --- */

static void nothing_readable_reaches_the_disk(void **state) {
    store *s = opened(true);
    assert_ok(store_begin(s));
    for (int i = 0; i < 200; i++) {
        query q;
        assert_ok(add_item(s, SPAN(canary)));
        query_init(&q, s, "INSERT INTO words VALUES (?)");
        query_bind_text(&q, span_text(canary));
        assert_ok(query_end(&q));
    }
    assert_ok(store_commit(s));
    for (int closed = 0; closed < 2; closed++) {
        assert_false(disk_contains(the_disk, canary, sizeof canary - 1));
        assert_false(disk_contains(the_disk, "Wagner", 6));
        assert_false(disk_contains(the_disk, "wagner", 6));
        assert_false(disk_contains(the_disk, "SQLite format", 13));
        assert_false(disk_contains(the_disk, "CREATE TABLE", 12));
        assert_false(disk_contains(the_disk, key_1, sizeof key_1));
        if (!closed)
            store_close(s);
    }
}

typedef struct copy {
    uint8_t *p;
    size_t n;
} copy;

static copy copied(const char *file) {
    copy c;
    uint8_t *p = disk_bytes(the_disk, file, &c.n);
    c.p = malloc(c.n + 1);
    if (p != NULL)
        memcpy(c.p, p, c.n);
    return c;
}

static void assert_unchanged(copy *c, const char *file) {
    size_t n;
    uint8_t *p = disk_bytes(the_disk, file, &n);
    assert_int_equal(n, c->n);
    if (n > 0)
        assert_memory_equal(p, c->p, n);
    free(c->p);
}

static void a_wrong_key_is_refused_and_changes_nothing(void **state) {
    store *s = opened(true), *other;
    assert_ok(store_begin(s));
    assert_ok(add_item(s, span_text("hello")));
    assert_ok(store_commit(s));
    /* First with a WAL that holds what the database does not yet: the process was killed. */
    for (int closed = 0; closed < 2; closed++) {
        if (!closed) {
            disk_cut_after(the_disk, 1);
            store_close(s);
            disk_power_on(the_disk, 1);
        }
        copy database = copied("account.db"), wal = copied("account.db-wal");
        assert_int_equal(wal.n > 0, !closed);
        assert_err(store_open(name, key_2, false, &schema_2, &other), ERR_STORE_CORRUPT);
        assert_unchanged(&database, "account.db");
        assert_unchanged(&wal, "account.db-wal");
        s = opened(false);
        assert_int_equal(items(s), 1);
        store_close(s);
    }
}

static void write_file(const char *file, const void *p, size_t n) {
    int32_t fd = host_file_open(file, strlen(file), HOST_OPEN_CREATE);
    assert_true(fd >= 0);
    assert_int_equal(host_file_truncate(fd, 0), 0);
    assert_int_equal(host_file_write(fd, p, n, 0), 0);
    assert_int_equal(host_file_sync(fd), 0);
    assert_int_equal(host_file_close(fd), 0);
}

static void a_plaintext_database_is_refused(void **state) {
    static uint8_t page[4096] = "SQLite format 3\0\x10\x00\x02\x02\x00\x40\x20\x20";
    store *s;
    write_file(name, page, sizeof page);
    copy database = copied(name);
    assert_err(store_open(name, key_1, false, &schema_2, &s), ERR_STORE_CORRUPT);
    assert_err(store_open(name, key_1, true, &schema_2, &s), ERR_EXISTS);
    assert_unchanged(&database, name);
}

static void what_is_no_database_is_refused(void **state) {
    static uint8_t junk[10000];
    store *s;
    for (size_t i = 0; i < sizeof junk; i++)
        junk[i] = (uint8_t)(i * 31 + 7);
    for (size_t n = 1; n <= sizeof junk; n = n * 3 + 1) {
        write_file(name, junk, n);
        copy database = copied(name);
        assert_err(store_open(name, key_1, false, &schema_2, &s), ERR_STORE_CORRUPT);
        assert_err(store_open(name, key_1, true, &schema_2, &s), ERR_EXISTS);
        assert_unchanged(&database, name);
    }
}

static void an_empty_database_with_a_wal_is_a_lost_one_and_not_a_new_one(void **state) {
    store *s = opened(true);
    assert_ok(store_begin(s));
    assert_ok(add_item(s, span_text("hello")));
    assert_ok(store_commit(s));
    disk_cut_after(the_disk, 1);
    store_close(s);
    disk_power_on(the_disk, 1);
    assert_int_equal(host_file_delete(name, strlen(name)), 0);
    assert_err(store_open(name, key_1, false, &schema_2, &s), ERR_STORE_CORRUPT);
    assert_err(store_open(name, key_1, true, &schema_2, &s), ERR_EXISTS);
}

static void an_altered_byte_is_an_error_and_never_wrong_data(void **state) {
    static const char marker[] = "0123456789abcdef0123456789abcdef";
    store *s = opened(true);
    assert_ok(store_begin(s));
    for (int i = 0; i < 300; i++)
        assert_ok(add_item(s, SPAN(marker)));
    assert_ok(store_commit(s));
    store_close(s);
    size_t n;
    uint8_t *p = disk_bytes(the_disk, name, &n);
    for (size_t at = 5; at < n; at += 997) {
        p[at] ^= 0x40;
        int64_t count = 0;
        err e = store_open(name, key_1, false, &schema_2, &s);
        if (e == OK) {
            query q;
            query_init(&q, s, "SELECT body FROM item ORDER BY id");
            for (; query_row(&q); count++)
                assert_span(query_blob(&q, 0), SPAN(marker));
            e = query_end(&q);
            if (e == OK)
                assert_int_equal(count, 300);
            store_close(s);
        }
        if (e != OK)
            assert_err(e, ERR_STORE_CORRUPT);
        p = disk_bytes(the_disk, name, &n);
        p[at] ^= 0x40;
    }
    s = opened(false);
    assert_int_equal(items(s), 300);
    store_close(s);
}

/* --- migrations --- */

static void an_older_store_is_brought_to_the_newest_version(void **state) {
    store *s;
    int64_t n;
    assert_ok(store_open(name, key_1, true, &schema_1, &s));
    assert_ok(store_begin(s));
    assert_ok(add_item(s, span_text("hello")));
    assert_ok(store_commit(s));
    store_close(s);
    assert_ok(store_open(name, key_1, false, &schema_2, &s));
    assert_int_equal(items(s), 1);
    assert_ok(count_of(s, "SELECT n FROM total", &n));
    store_close(s);
    assert_err(store_open(name, key_1, false, &schema_1, &s), ERR_STORE_NEWER);
    s = opened(false);
    assert_int_equal(items(s), 1);
    store_close(s);
}

static void a_migration_that_fails_leaves_the_old_version(void **state) {
    store *s;
    int64_t n;
    assert_ok(store_open(name, key_1, true, &schema_1, &s));
    assert_ok(store_begin(s));
    assert_ok(add_item(s, span_text("hello")));
    assert_ok(store_commit(s));
    store_close(s);
    assert_err(store_open(name, key_1, false, &schema_broken, &s), ERR_STORE);
    assert_ok(store_open(name, key_1, false, &schema_1, &s));
    assert_int_equal(items(s), 1);
    assert_err(count_of(s, "SELECT n FROM total /* is not there */", &n), ERR_STORE);
    store_close(s);
    /* Making one leaves nothing behind: the next try makes it. */
    assert_int_equal(host_file_delete(name, strlen(name)), 0);
    assert_err(store_open(name, key_1, true, &schema_broken, &s), ERR_STORE);
    assert_err(store_open(name, key_1, false, &schema_2, &s), ERR_NOT_FOUND);
    s = opened(true);
    store_close(s);
}

static void the_account_schema_is_valid(void **state) {
    store *s;
    assert_ok(store_open(name, key_1, true, &account_schema, &s));
    assert_intact(s);
    store_close(s);
    assert_ok(store_open(name, key_1, false, &account_schema, &s));
    store_close(s);
}

/* --- queries --- */

static store *in_memory(void) {
    store *s;
    assert_ok(store_open("", NULL, true, &schema_2, &s));
    assert_ok(store_begin(s));
    return s;
}

static void values_come_back_as_they_were_bound(void **state) {
    static const uint8_t nul_inside[] = {0, 1, 0, 255};
    store *s = in_memory();
    query q;
    query_init(&q, s, "SELECT ?, ?, ?, ?, ?, ?, ?, ?");
    query_bind_int(&q, INT64_MIN);
    query_bind_int(&q, INT64_MAX);
    query_bind_blob(&q, SPAN(nul_inside));
    query_bind_blob(&q, span_of("", 0));
    query_bind_blob(&q, SPAN_NONE);
    query_bind_text(&q, span_text("Grüße"));
    query_bind_text(&q, span_of("", 0));
    query_bind_null(&q);
    assert_true(query_row(&q));
    assert_true(query_int(&q, 0) == INT64_MIN);
    assert_true(query_int(&q, 1) == INT64_MAX);
    assert_span(query_blob(&q, 2), SPAN(nul_inside));
    assert_int_equal(query_blob(&q, 3).n, 0);
    assert_non_null(query_blob(&q, 3).p);
    assert_false(query_is_null(&q, 3));
    assert_null(query_blob(&q, 4).p);
    assert_true(query_is_null(&q, 4));
    assert_span(query_text(&q, 5), span_text("Grüße"));
    assert_non_null(query_text(&q, 6).p);
    assert_true(query_is_null(&q, 7));
    assert_int_equal(query_int(&q, 7), 0);
    assert_null(query_text(&q, 7).p);
    assert_false(query_row(&q));
    assert_true(query_is_null(&q, 0)); /* there is no row any more */
    assert_int_equal(query_int(&q, 0), 0);
    assert_ok(query_end(&q));
    assert_ok(query_end(&q)); /* again is fine */
    store_close(s);
}

static void a_bound_value_does_not_stay_for_the_next(void **state) {
    store *s = in_memory();
    for (int i = 0; i < 2; i++) {
        query q;
        query_init(&q, s, "SELECT ?1 IS NULL");
        if (i == 0)
            query_bind_int(&q, 7);
        assert_true(query_row(&q));
        assert_int_equal(query_int(&q, 0), i);
        assert_ok(query_end(&q));
    }
    store_close(s);
}

static void the_first_error_stays(void **state) {
    store *s = in_memory();
    query q;
    query_init(&q, s, "SELECT nonsense FROM nowhere");
    query_bind_int(&q, 1);
    assert_false(query_row(&q));
    assert_int_equal(query_int(&q, 0), 0);
    assert_null(query_blob(&q, 0).p);
    assert_err(query_end(&q), ERR_STORE);
    query_init(&q, s, "SELECT ?");
    query_bind_int(&q, 1);
    query_bind_int(&q, 2); /* has no place */
    assert_false(query_row(&q));
    assert_err(query_end(&q), ERR_STORE);
    assert_null(strstr(host_logged(), canary));
    store_close(s);
}

static void keys_that_are_taken_give_exists(void **state) {
    store *s = in_memory();
    for (int i = 0; i < 2; i++) {
        query q;
        query_init(&q, s, "INSERT INTO tag VALUES (?)");
        query_bind_text(&q, span_text(canary));
        assert_err(query_end(&q), i == 0 ? OK : ERR_EXISTS);
    }
    query q;
    query_init(&q, s, "INSERT INTO total VALUES (?)");
    query_bind_null(&q);
    assert_err(query_end(&q), ERR_STORE);
    assert_null(strstr(host_logged(), canary)); /* no value gets into the log */
    assert_ok(store_commit(s));
    store_close(s);
}

static void writes_take_effect_with_and_without_rows(void **state) {
    store *s = in_memory();
    query q;
    assert_ok(add_item(s, span_text("one")));
    assert_int_equal(store_last_id(s), 1);
    query_init(&q, s, "INSERT INTO item (body) VALUES (x'01'), (x'02') RETURNING id");
    assert_true(query_row(&q));
    assert_int_equal(query_int(&q, 0), 2);
    assert_ok(query_end(&q));
    assert_int_equal(items(s), 3);
    query_init(&q, s, "UPDATE item SET body = NULL");
    assert_false(query_row(&q));
    assert_ok(query_end(&q));
    assert_int_equal(store_changes(s), 3);
    store_close(s);
}

static int64_t nested(store *s, int depth) {
    query q;
    int64_t sum = 0;
    query_init(&q, s, "SELECT id FROM item WHERE id > ? ORDER BY id");
    query_bind_int(&q, 0);
    while (query_row(&q))
        sum += query_int(&q, 0) + (depth > 0 ? nested(s, depth - 1) : 0);
    assert_ok(query_end(&q));
    return sum;
}

static void a_query_may_run_within_itself(void **state) {
    store *s = in_memory();
    for (int i = 0; i < 3; i++)
        assert_ok(add_item(s, span_text("x")));
    assert_int_equal(nested(s, 0), 6);
    assert_int_equal(nested(s, 1), 6 + 3 * 6);
    assert_int_equal(nested(s, 2), 6 + 3 * (6 + 3 * 6));
    assert_ok(store_commit(s));
    store_close(s);
}

static void more_statements_than_the_cache_holds(void **state) {
    static char sql[1000][24];
    store *s = in_memory();
    for (int i = 0; i < 1000; i++)
        snprintf(sql[i], sizeof sql[i], "SELECT %d + ?", i);
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 1000; i++) {
            query q;
            query_init(&q, s, sql[i]);
            query_bind_int(&q, round);
            assert_true(query_row(&q));
            assert_int_equal(query_int(&q, 0), i + round);
            assert_ok(query_end(&q));
        }
    /* And all open at the same time. */
    static query open[1000];
    for (int i = 0; i < 1000; i++) {
        query_init(&open[i], s, sql[i]);
        query_bind_int(&open[i], 1);
        assert_true(query_row(&open[i]));
    }
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(query_int(&open[i], 0), i + 1);
        assert_ok(query_end(&open[i]));
    }
    store_close(s);
}

/* --- transactions --- */

static void what_is_rolled_back_is_gone(void **state) {
    store *s = opened(true);
    assert_err(store_commit(s), ERR_STATE);
    assert_err(store_savepoint(s), ERR_STATE);
    assert_ok(store_begin(s));
    assert_err(store_begin(s), ERR_STATE);
    assert_ok(add_item(s, span_text("one")));
    store_rollback(s);
    assert_int_equal(items(s), 0);
    store_rollback(s); /* again is fine */
    assert_ok(store_begin(s));
    assert_ok(add_item(s, span_text("one")));
    assert_ok(store_savepoint(s));
    assert_ok(add_item(s, span_text("two")));
    store_savepoint_rollback(s);
    assert_ok(store_savepoint(s));
    assert_ok(add_item(s, span_text("three")));
    assert_ok(store_savepoint_release(s));
    assert_ok(store_commit(s));
    assert_int_equal(items(s), 2);
    assert_ok(store_begin(s));
    assert_ok(add_item(s, span_text("four")));
    store_close(s); /* rolls back */
    s = opened(false);
    assert_int_equal(items(s), 2);
    store_close(s);
}

static void a_query_left_open_is_taken_back(void **state) {
    store *s = opened(true);
    assert_ok(store_begin(s));
    for (int i = 0; i < 5; i++)
        assert_ok(add_item(s, span_text("x")));
    assert_ok(store_commit(s));
    for (int i = 0; i < 600; i++) {
        query q, again;
        assert_ok(store_begin(s));
        query_init(&q, s, "SELECT id FROM item");
        assert_true(query_row(&q));
        query_init(&again, s, "SELECT id FROM item");
        store_rollback(s);
    }
    query q;
    query_init(&q, s, "SELECT id FROM item");
    assert_true(query_row(&q));
    store_close(s);
}

static void a_commit_costs_one_sync(void **state) {
    store *s = opened(true);
    assert_ok(store_begin(s));
    assert_ok(add_item(s, span_text("x")));
    assert_ok(store_commit(s));
    long before = disk_syncs(the_disk);
    for (int i = 0; i < 20; i++) {
        assert_ok(store_begin(s));
        assert_ok(add_item(s, span_text("x")));
        assert_ok(store_commit(s));
    }
    assert_int_equal(disk_syncs(the_disk) - before, 20);
    store_close(s);
}

static void the_wal_stays_small(void **state) {
    static uint8_t body[1000];
    store *s = opened(true);
    size_t largest = 0;
    for (int i = 0; i < 3000; i++) {
        size_t n;
        assert_ok(store_begin(s));
        assert_ok(add_item(s, SPAN(body)));
        assert_ok(store_commit(s));
        (void)disk_bytes(the_disk, "account.db-wal", &n);
        if (n > largest)
            largest = n;
    }
    assert_true(largest < 1300 * 1024);
    assert_intact(s);
    store_close(s);
}

/* --- failures --- */

/* The workload: transaction i adds item i, whose body is made from i, and counts it in total; every third changes what an
 * earlier one wrote, every seventh deletes a large body, so that pages of all kinds are written. */
static span body_of(int64_t i, uint8_t room[20000]) {
    size_t n = i % 5 == 0 ? 9000 + (size_t)(i % 11) * 1000 : (size_t)(i * 37 % 900);
    for (size_t k = 0; k < n; k++)
        room[k] = (uint8_t)((size_t)i * 131 + k * 7 + (k >> 8));
    return span_of(room, n);
}

static err transact(store *s, int64_t i, bool *at_commit) {
    static uint8_t room[20000];
    err e;
    query q;
    *at_commit = false;
    TRY_OUT(store_begin(s));
    query_init(&q, s, "INSERT INTO item (id, body) VALUES (?, ?)");
    query_bind_int(&q, i);
    query_bind_blob(&q, body_of(i, room));
    TRY_OUT(query_end(&q));
    if (i % 3 == 0) {
        query_init(&q, s, "UPDATE item SET body = ? WHERE id = ?");
        query_bind_blob(&q, body_of(i + 1000, room));
        query_bind_int(&q, i - 2);
        TRY_OUT(query_end(&q));
    }
    if (i % 7 == 0) {
        query_init(&q, s, "DELETE FROM item WHERE id = ?");
        query_bind_int(&q, i - 5);
        TRY_OUT(query_end(&q));
    }
    query_init(&q, s, "UPDATE total SET n = ?");
    query_bind_int(&q, i);
    TRY_OUT(query_end(&q));
    *at_commit = true;
    TRY_OUT(store_commit(s));
    return OK;
out:
    store_rollback(s);
    return e;
}

/* Checks that the store holds the transactions 1 to its count, whole and no other, and returns the count. */
static int64_t assert_consistent(store *s) {
    static uint8_t room[20000];
    int64_t n = -1, seen = 0;
    query q;
    assert_intact(s);
    assert_ok(count_of(s, "SELECT n FROM total", &n));
    query_init(&q, s, "SELECT id, body FROM item ORDER BY id");
    int64_t expected = 0;
    while (query_row(&q)) {
        int64_t id = query_int(&q, 0);
        for (expected++; (expected + 5) % 7 == 0 && expected + 5 <= n; expected++) {
        }
        assert_int_equal(id, expected);
        bool changed = (id + 2) % 3 == 0 && id + 2 <= n;
        assert_span(query_blob(&q, 1), body_of(changed ? id + 2 + 1000 : id, room));
        seen = id;
    }
    assert_ok(query_end(&q));
    for (expected = seen + 1; expected <= n; expected++)
        assert_true((expected + 5) % 7 == 0 && expected + 5 <= n);
    return n;
}

/* Makes or opens the store and runs transactions up to `last`; returns how many are known to be committed, with in
 * *maybe whether the next may be as well. */
static err work(int64_t last, int64_t *committed, bool *maybe) {
    store *s;
    err e = store_open(name, key_1, false, &schema_2, &s);
    *maybe = false;
    if (e == ERR_NOT_FOUND)
        e = store_open(name, key_1, true, &schema_2, &s);
    if (e != OK)
        return e;
    int64_t n;
    e = count_of(s, "SELECT n FROM total", &n);
    if (e == OK)
        *committed = n;
    while (e == OK && *committed < last) {
        e = transact(s, *committed + 1, maybe);
        if (e == OK)
            *committed += 1;
    }
    if (e == OK)
        *maybe = false;
    store_close(s);
    return e;
}

static void power_cuts(int64_t last, int step, int seeds) {
    long operations = host_operations();
    int64_t committed = 0;
    bool maybe;
    assert_ok(work(last, &committed, &maybe));
    operations = host_operations() - operations;
    assert_int_equal(committed, last);
    print_message("power cut at each %d. of %ld operations, %d ways each\n", step, operations, seeds);
    for (long at = 1; at <= operations; at += step) {
        for (int seed = 0; seed < seeds; seed++) {
            disk_free(the_disk);
            the_disk = disk_new();
            host_set_disk(the_disk);
            disk_cut_after(the_disk, at);
            committed = 0;
            err e = work(last, &committed, &maybe);
            assert_true(e != OK || disk_is_cut(the_disk) || at + 1 >= operations);
            disk_power_on(the_disk, (uint32_t)at * 31 + (uint32_t)seed);
            /* A second cut while it recovers. */
            if (seed % 2) {
                int64_t recovered = 0;
                bool ignored;
                disk_cut_after(the_disk, 1 + (at * 7 + seed) % 60);
                e = work(committed, &recovered, &ignored);
                disk_power_on(the_disk, (uint32_t)at * 17 + (uint32_t)seed);
            }
            store *s;
            e = store_open(name, key_1, false, &schema_2, &s);
            if (e == ERR_NOT_FOUND) {
                /* Only before the store's making was reported; then it can be made. */
                assert_int_equal(committed, 0);
                assert_false(maybe);
                s = opened(true);
            } else {
                assert_ok(e);
            }
            int64_t n = assert_consistent(s);
            if (n != committed && !(maybe && n == committed + 1))
                fail_msg("cut at %ld, seed %d: %lld transactions committed, %lld found", at, seed, (long long)committed,
                         (long long)n);
            store_close(s);
            committed = n;
            assert_ok(work(last + 2, &committed, &maybe));
        }
    }
}

static void a_power_cut_at_any_operation_loses_no_commit(void **state) { power_cuts(12, STRIDE, 4); }
/* Long enough for several checkpoints. */
static void a_power_cut_during_checkpoints_loses_no_commit(void **state) { power_cuts(160, 23 * STRIDE, 2); }

static void failing(enum host_error error, bool from, int64_t last, int step) {
    int64_t committed = 0;
    bool maybe;
    disk_free(the_disk);
    the_disk = disk_new();
    host_set_disk(the_disk);
    long operations = host_operations();
    assert_ok(work(last, &committed, &maybe));
    operations = host_operations() - operations;
    host_fail_with(error);
    for (long at = 1; at <= operations; at += step) {
        disk_free(the_disk);
        the_disk = disk_new();
        host_set_disk(the_disk);
        (from ? host_fail_from : host_fail_after)(at);
        host_set_torn((int)(at & 1));
        committed = 0;
        err e = work(last, &committed, &maybe);
        host_fail_from(0);
        host_fail_after(0);
        /* Some failures cost nothing: an early checkpoint, the final deletion of the WAL. */
        if (e != OK && e != ERR_STORE && e != (error == HOST_EFULL ? ERR_STORE_FULL : ERR_STORE))
            fail_msg("operation %ld fails: got %s", at, err_name(e));
        store *s;
        e = store_open(name, key_1, false, &schema_2, &s);
        if (e == ERR_NOT_FOUND) {
            assert_int_equal(committed, 0);
            s = opened(true);
        } else {
            assert_ok(e);
        }
        int64_t n = assert_consistent(s);
        if (n != committed && !(maybe && n == committed + 1))
            fail_msg("operation %ld fails: %lld transactions committed, %lld found", at, (long long)committed,
                     (long long)n);
        store_close(s);
        committed = n;
        assert_ok(work(last + 2, &committed, &maybe));
    }
    print_message("%ld operations failed one by one\n", operations / step);
    host_set_torn(0);
}

static void any_operation_may_fail_once(void **state) {
    failing(HOST_EIO, false, 12, STRIDE);
    failing(HOST_EIO, false, 160, 29 * STRIDE);
    failing(HOST_EFULL, false, 12, STRIDE);
}

static void from_any_operation_on_all_may_fail(void **state) {
    failing(HOST_EIO, true, 12, STRIDE);
    failing(HOST_EFULL, true, 12, STRIDE);
}

/* SQLite3MC takes some reads that failed for good ones; a WAL read short must not be taken for all there is. */
static void any_operation_may_fail_while_a_wal_is_recovered(void **state) {
    bool all = false;
    long at = 1;
    for (; !all; at++) {
        int64_t n = 20, committed = 20;
        bool maybe;
        disk_free(the_disk);
        the_disk = disk_new();
        host_set_disk(the_disk);
        store *s = opened(true);
        for (int64_t i = 1; i <= 20; i++)
            assert_ok(transact(s, i, &maybe));
        disk_cut_after(the_disk, 1);
        store_close(s);
        disk_power_on(the_disk, 1);
        long before = host_operations();
        host_fail_after(at);
        if (store_open(name, key_1, false, &schema_2, &s) == OK) {
            if (count_of(s, "SELECT n FROM total", &n) == OK && n != 20)
                fail_msg("operation %ld fails: %lld transactions of 20 are left", at, (long long)n);
            while (committed < 22 && transact(s, committed + 1, &maybe) == OK)
                committed++;
            store_close(s);
        }
        host_fail_after(0);
        all = host_operations() - before < at;
        s = opened(false);
        n = assert_consistent(s);
        if (n < committed)
            fail_msg("operation %ld fails: %lld transactions of %lld are left", at, (long long)n, (long long)committed);
        store_close(s);
    }
    print_message("%ld operations failed one by one\n", at - 1);
}

static void a_full_disk_is_said_and_room_helps(void **state) {
    bool maybe;
    int64_t i = 1, full = 0;
    store *s = opened(true);
    disk_set_capacity(the_disk, 400000);
    for (; i < 500; i++) {
        err e = transact(s, i, &maybe);
        if (e == OK)
            continue;
        assert_err(e, ERR_STORE_FULL);
        full++;
        assert_err(transact(s, i, &maybe), ERR_STORE_FULL);
        assert_int_equal(assert_consistent(s), i - 1); /* it can still be read */
        disk_set_capacity(the_disk, disk_size(the_disk) + 300000);
        assert_ok(transact(s, i, &maybe));
    }
    assert_true(full > 2);
    assert_int_equal(assert_consistent(s), i - 1);
    store_close(s);
}

static void after_a_failed_sync_the_store_must_be_opened_again(void **state) {
    bool maybe;
    store *s = opened(true);
    assert_ok(transact(s, 1, &maybe));
    /* A commit's last operation is its sync. */
    long before = host_operations();
    assert_ok(transact(s, 2, &maybe));
    long cost = host_operations() - before;
    host_fail_after(cost - 1);
    err e = transact(s, 3, &maybe);
    host_fail_after(0);
    if (e == OK) {
        host_fail_after(cost);
        e = transact(s, 4, &maybe);
        host_fail_after(0);
    }
    assert_err(e, ERR_STORE);
    assert_err(store_begin(s), ERR_STORE);
    store_close(s);
    s = opened(false);
    assert_consistent(s);
    store_close(s);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_store_is_made_once_and_opened_again),
        T(closing_leaves_the_database_alone_without_wal_and_journal),
        T(a_store_in_memory_has_no_files),
        T(a_second_owner_is_refused),
        T(a_host_that_refuses_storage_is_told_apart),
        T(a_name_that_is_too_long_is_refused),
        T(nothing_readable_reaches_the_disk),
        T(a_wrong_key_is_refused_and_changes_nothing),
        T(a_plaintext_database_is_refused),
        T(what_is_no_database_is_refused),
        T(an_empty_database_with_a_wal_is_a_lost_one_and_not_a_new_one),
        T(an_altered_byte_is_an_error_and_never_wrong_data),
        T(an_older_store_is_brought_to_the_newest_version),
        T(a_migration_that_fails_leaves_the_old_version),
        T(the_account_schema_is_valid),
        T(values_come_back_as_they_were_bound),
        T(a_bound_value_does_not_stay_for_the_next),
        T(the_first_error_stays),
        T(keys_that_are_taken_give_exists),
        T(writes_take_effect_with_and_without_rows),
        T(a_query_may_run_within_itself),
        T(more_statements_than_the_cache_holds),
        T(what_is_rolled_back_is_gone),
        T(a_query_left_open_is_taken_back),
        T(a_commit_costs_one_sync),
        T(the_wal_stays_small),
        T(a_power_cut_at_any_operation_loses_no_commit),
        T(a_power_cut_during_checkpoints_loses_no_commit),
        T(any_operation_may_fail_once),
        T(from_any_operation_on_all_may_fail),
        T(any_operation_may_fail_while_a_wal_is_recovered),
        T(a_full_disk_is_said_and_room_helps),
        T(after_a_failed_sync_the_store_must_be_opened_again),
    };
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
