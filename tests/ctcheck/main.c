/* main.c: runs every path under memcheck and says, as TAP, which of them branched on a secret or looked up by one. */
#if __has_include(<valgrind/memcheck.h>)
#include "ctcheck.h"

void must_be_secret(const void *p, size_t n) {
    uint8_t marks[256];
    MUST(n <= sizeof marks && VALGRIND_GET_VBITS(p, marks, n) == 1);
    for (size_t i = 0; i < n; i++)
        MUST(marks[i] != 0);
}

/* The check itself must be able to fail: each of these is what it is there to find. */
static volatile int sink;

static void branch_on_secret(const suite *s) {
    (void)s;
    volatile uint8_t bytes[2] = {1, 2};
    SECRET((void *)(uintptr_t)bytes, sizeof bytes);
    if (bytes[0] == 1)
        sink = 1;
}

static void index_by_secret(const suite *s) {
    (void)s;
    static volatile uint8_t table[256];
    volatile uint8_t byte = 7;
    SECRET((void *)(uintptr_t)&byte, 1);
    sink = table[byte];
}

/* What tags and keys must never be compared with. */
static void memcmp_of_secret(const suite *s) {
    (void)s;
    volatile uint8_t a[32] = {1}, b[32] = {2};
    SECRET((void *)(uintptr_t)a, sizeof a);
    sink = span_equal(span_of((const void *)(uintptr_t)a, 32), span_of((const void *)(uintptr_t)b, 32));
    if (sink)
        sink = 2;
}

static const path must_be_reported[] = {
    {"a branch on a secret is reported", branch_on_secret, false},
    {"an index by a secret is reported", index_by_secret, false},
    {"memcmp of a secret is reported", memcmp_of_secret, false},
    {0},
};

static int number, failures;

static void run(const path *p, const suite *s, bool reports) {
    char name[120];
    const char *of_suite = s == NULL ? "" : s->id == SUITE_XWING ? " (0xF00E)" : " (0x0003)";
    snprintf(name, sizeof name, "%s%s", p->name, of_suite);
    VALGRIND_PRINTF("-- %s\n", name);
    unsigned before = VALGRIND_COUNT_ERRORS;
    p->run(s);
    unsigned found = VALGRIND_COUNT_ERRORS - before;
    bool ok = (found > 0) == reports;
    failures += !ok;
    printf("%sok %d - %s\n", ok ? "" : "not ", ++number, name);
    if (!ok)
        printf("# %u reports\n", found);
    fflush(stdout);
}

static void run_all(const path *list, bool reports) {
    for (; list->name != NULL; list++) {
        run(list, list->each_suite ? suite_find(SUITE_X25519) : NULL, reports);
        if (list->each_suite)
            run(list, suite_find(SUITE_XWING), reports);
    }
}

int main(void) {
    if (!RUNNING_ON_VALGRIND) {
        fprintf(stderr, "ctcheck: says nothing without valgrind: make ctcheck\n");
        return 2;
    }
    crypto_init();
    run_all(must_be_reported, true);
    if (failures == 0) {
        run_all(crypto_paths, false);
        run_all(mls_paths, false);
        run_all(client_paths, false);
    }
    printf("1..%d\n", number);
    return failures != 0;
}
#else
#include <stdio.h>
int main(void) {
    printf("ok 1 - ctcheck # SKIP valgrind's headers were not there when it was built\n1..1\n");
    return 0;
}
#endif
