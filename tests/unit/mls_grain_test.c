/* State is written at the grain at which it changes, and only what a call needs is read (DESIGN §5): what a message costs the
 * records of a group of 2 and of one of 200. */
#include "support/check.h"
#include "support/mls_member.h"

#define LARGE 200

static const suite *suite_under_test;

typedef struct crowd {
    member m[LARGE];
    size_t n;
} crowd;

/* m[0] adds all others at once; the second and the last join. */
static void open_crowd(crowd *c, size_t n) {
    span adds[LARGE];
    commit_output out;
    staged_commit *staged;
    c->n = n;
    for (size_t i = 0; i < n; i++) {
        member_init(&c->m[i], suite_under_test, "somebody");
        if (i == 0)
            continue;
        member_make_key_package(&c->m[i]);
        adds[i - 1] = c->m[i].key_package;
    }
    member *first = &c->m[0];
    member_create_group(first, "crowd");
    commit_params params = {.adds = adds, .add_count = n - 1, .force_path = true};
    assert_ok(group_stage_commit(first->group, &params, &first->arena, &out, &staged));
    span welcome = keep(out.welcome);
    assert_ok(group_merge_commit(first->group, staged, &first->arena));
    member_reset(first);
    assert_ok(member_join(&c->m[1], welcome, SPAN_NONE));
    if (n > 2)
        assert_ok(member_join(&c->m[n - 1], welcome, SPAN_NONE));
    free((void *)(uintptr_t)welcome.p);
}

static void close_crowd(crowd *c) {
    for (size_t i = 0; i < c->n; i++)
        member_free(&c->m[i]);
}

typedef struct cost {
    size_t puts, bytes_put, gets, bytes_got;
} cost;

static cost cost_of(const member *m) {
    return (cost){m->records.puts, m->records.bytes_put, m->records.gets, m->records.bytes_got};
}

/* Sends one message, with the group just loaded or not, and counts what both sides read and wrote. */
static void exchange(member *from, member *to, bool load, cost *sent, cost *received) {
    span message;
    incoming in;
    memory_records_count_anew(&from->records);
    memory_records_count_anew(&to->records);
    if (load) {
        member_reload(from);
        member_reload(to);
    }
    assert_ok(group_protect(from->group, span_text("half past four"), SPAN_NONE, &from->arena, &message));
    message = keep(message);
    assert_ok(group_process(to->group, message, &to->arena, &in));
    assert_span(in.plaintext, span_text("half past four"));
    *sent = cost_of(from);
    *received = cost_of(to);
    free((void *)(uintptr_t)message.p);
    member_reset(from);
    member_reset(to);
}

/* From the second message of a sender on, each side writes one record: the ratchet. */
static void a_message_writes_the_same_in_any_group(void **state) {
    static crowd c;
    cost sent[2], received[2];
    for (int large = 0; large < 2; large++) {
        open_crowd(&c, large ? LARGE : 2);
        exchange(&c.m[0], &c.m[1], false, &sent[large], &received[large]);
        for (int load = 0; load < 2; load++) {
            exchange(&c.m[0], &c.m[1], load != 0, &sent[large], &received[large]);
            assert_int_equal(sent[large].puts, 1);
            assert_int_equal(received[large].puts, 1);
            assert_true(sent[large].bytes_put < 200);
            assert_true(received[large].bytes_put < 200);
        }
        close_crowd(&c);
    }
    /* After loading too: the group, the ratchet, the sender's leaf; no tree. */
    assert_memory_equal(&sent[0], &sent[1], sizeof(cost));
    assert_memory_equal(&received[0], &received[1], sizeof(cost));
    assert_true(sent[0].gets <= 2 && sent[0].bytes_got < 1000);
    assert_true(received[0].gets <= 3 && received[0].bytes_got < 2500);
}

/* The first message of a sender in an epoch derives his ratchets: a path of the secret tree, which grows as log n. */
static void a_senders_first_message_writes_a_path(void **state) {
    static crowd c;
    cost sent, received;
    open_crowd(&c, LARGE);
    exchange(&c.m[LARGE - 1], &c.m[1], true, &sent, &received);
    enum { PATH = 8 }; /* levels of a tree of 200 leaves */
    assert_true(sent.puts <= PATH + 2 && sent.bytes_put < 1000 && sent.gets <= PATH + 4);
    assert_true(received.puts <= PATH + 2 && received.bytes_put < 1000 && received.gets <= PATH + 4);
    close_crowd(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_writes_the_same_in_any_group),
        cmocka_unit_test(a_senders_first_message_writes_a_path),
    };
    int failed = 0;
    static const uint16_t suites[] = {SUITE_X25519, SUITE_XWING};
    for (size_t i = 0; i < sizeof suites / sizeof *suites; i++) {
        suite_under_test = suite_find(suites[i]);
        failed += cmocka_run_group_tests_name("mls_grain", tests, NULL, NULL);
    }
    return failed;
}
