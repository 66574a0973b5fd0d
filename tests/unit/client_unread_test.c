/* The client (core/client) and what can never be read: keys that are gone by a limit, messages that the relay refused. Each
 * is told, asked for again or called back; none stays a gap in silence. */
#include "support/clinic_world.h"

/* The oldest message that the client has out, opened by a member; its answer is "taken". path: where it went, or NULL. */
static content taken(world *w, person *reader, char *path) {
    pending *p = find(w, "POST", "/messages");
    incoming in;
    content o;
    span body;
    if (p == NULL)
        fail_msg("nothing is sent");
    if (path != NULL)
        strcpy(path, p->path);
    assert_ok(arena_copy(&heap, span_of(p->body, p->n), &body));
    assert_ok(group_process(reader->group, body, &heap, &in));
    assert_int_equal(in.kind, INCOMING_APPLICATION);
    assert_ok(content_read(in.plaintext, &heap, &o));
    answer(w, p, 200, "{\"seq\":5}");
    return o;
}

static void nothing_is_sent(world *w) { assert_null(find(w, "POST", "/messages")); }

/* Any content of a member's. */
static span wrapped(person *p, content *o) {
    span encoded, message;
    o->version = CONTENT_VERSION;
    o->sent_ms = NOW * 1000;
    host_random(o->id, sizeof o->id);
    o->counter = ++p->counter;
    memcpy(o->previous, p->previous, sizeof o->previous);
    assert_ok(WIRE_ENCODE(&heap, wire_content, o, &encoded));
    sha256(encoded, p->previous);
    assert_ok(group_protect(p->group, encoded, SPAN_NONE, &heap, &message));
    return message;
}

static void say(world *w, person *p, content *o) { deliver(w, "message", p, wrapped(p, o)); }

/* A commit of the keeper's that everybody takes. */
static void next_epoch(world *w) {
    incoming in;
    commit_params params = {.force_path = true};
    span commit = commit_by(&w->keeper, &params, true);
    assert_ok(group_process(w->insider.group, commit, &heap, &in));
    assert_ok(group_merge_commit(w->insider.group, in.staged, &heap));
    deliver(w, "commit", &w->keeper, commit);
}

/* ---------------------------------------------------------------- whose key is gone */

/* Told under its own name, and its sender is asked for it by the name it came under. */
static void asked_for_again(world *w, span message, const char *code) {
    static const uint8_t name[MESSAGE_ID_SIZE]; /* as event_json has it */
    assert_told_nothing(w);
    deliver(w, "message", &w->insider, message);
    assert_int_equal(w->told_count, 1);
    assert_told(w, code);
    content o = taken(w, &w->keeper, NULL);
    assert_int_equal(o.kind, CONTENT_RECEIPT);
    assert_int_equal(o.receipt_state, MESSAGE_FAILED);
    assert_int_equal(o.receipts.n, 1);
    assert_memory_equal(o.receipts.p[0].b, name, sizeof name);
    nothing_is_sent(w);
    forget_world(w);
}

static void too_far_ahead(void **state) {
    world w;
    start(&w);
    size_t mark = arena_mark(&heap);
    for (int i = 0; i <= GROUP_FORWARD_GENERATIONS; i++) {
        arena_release(&heap, mark);
        (void)written(&w.insider, "lost", 0);
    }
    asked_for_again(&w, written(&w.insider, "far", 0), "too_far_ahead");
}

static void skipped_by_too_many(void **state) {
    world w;
    start(&w);
    span early = written(&w.insider, "early", 0), last = SPAN_NONE;
    for (int i = 0; i <= GROUP_SKIPPED_KEYS; i++)
        last = written(&w.insider, "lost", 0);
    deliver(&w, "message", &w.insider, last);
    assert_told(&w, "missing");
    w.told_count = 0;
    (void)taken(&w, &w.keeper, NULL); /* its receipt */
    asked_for_again(&w, early, "skipped");
}

static void of_an_epoch_that_is_gone(void **state) {
    world w;
    start(&w);
    span early = written(&w.insider, "early", 0);
    for (int i = 0; i <= GROUP_PAST_EPOCHS; i++)
        next_epoch(&w);
    asked_for_again(&w, early, "too_old");
}

static void more_than_a_week_late(void **state) {
    world w;
    start(&w);
    span early = written(&w.insider, "early", 0);
    next_epoch(&w);
    tick(&w, (int64_t)GROUP_PAST_EPOCH_MS + 60000);
    asked_for_again(&w, early, "too_late");
}

/* What was read and comes again once its key is gone is a copy: nobody is asked for it. */
static void a_copy_is_not_asked_for(void **state) {
    world w;
    start(&w);
    content o = {.kind = CONTENT_TEXT, .text = span_text("once")};
    span encoded, message;
    o.version = CONTENT_VERSION;
    o.counter = 1;
    w.insider.counter = 1;
    assert_ok(WIRE_ENCODE(&heap, wire_content, &o, &encoded)); /* its id is the one of event_json */
    assert_ok(group_protect(w.insider.group, encoded, SPAN_NONE, &heap, &message));
    deliver(&w, "message", &w.insider, message);
    assert_true(shows(&w, "once"));
    (void)taken(&w, &w.keeper, NULL);
    for (int i = 0; i <= GROUP_PAST_EPOCHS; i++)
        next_epoch(&w);
    assert_told_nothing(&w);
    deliver(&w, "message", &w.insider, message);
    assert_told(&w, "replayed");
    nothing_is_sent(&w);
    forget_world(&w);
}

/* ---------------------------------------------------------------- which others could not read */

static void could_not_read(world *w, person *p, const uint8_t *id) {
    content_id list[2] = {{{7}}};
    content o = {.kind = CONTENT_RECEIPT, .receipt_state = MESSAGE_FAILED};
    memcpy(list[1].b, id, MESSAGE_ID_SIZE);
    o.receipts.p = list;
    o.receipts.n = 2;
    say(w, p, &o);
}

static void a_text_goes_out_again(void **state) {
    world w;
    char path[3][300];
    start(&w);
    assert_ok(send_text(&w, "read me"));
    content first = taken(&w, &w.keeper, path[0]);
    for (int i = 0; i < 3; i++) {
        could_not_read(&w, i % 2 ? &w.keeper : &w.insider, first.id); /* whichever side it is of */
        content again = taken(&w, &w.keeper, path[1]);
        assert_int_equal(again.kind, CONTENT_TEXT);
        assert_memory_equal(again.id, first.id, sizeof first.id); /* for the members the same: shown once */
        assert_span(again.text, span_text("read me"));
        assert_int_equal(again.sent_ms, first.sent_ms);
        assert_int_equal(again.counter, first.counter + (unsigned)i + 1);
        assert_string_not_equal(path[0], path[1]); /* for the relay another */
        assert_string_not_equal(path[2], path[1]);
        strcpy(path[2], path[1]);
        nothing_is_sent(&w);
    }
    could_not_read(&w, &w.insider, first.id); /* that is enough */
    nothing_is_sent(&w);
    assert_told_nothing(&w);
    forget_world(&w);
}

/* Only what this device wrote, and only what the relay has: the rest goes out by itself or is not ours to say. */
static void what_is_not_sent_again(void **state) {
    world w;
    start(&w);
    content theirs = {.kind = CONTENT_TEXT, .text = span_text("theirs")};
    say(&w, &w.keeper, &theirs);
    (void)taken(&w, &w.insider, NULL);
    could_not_read(&w, &w.insider, theirs.id);
    nothing_is_sent(&w);
    assert_ok(send_text(&w, "still on its way"));
    pending *p = find(&w, "POST", "/messages");
    span id;
    assert_ok(base64url_decode(&heap, span_of((const uint8_t *)strstr(p->path, "id=") + 3, 22), &id));
    could_not_read(&w, &w.insider, id.p);
    content o = taken(&w, &w.keeper, NULL);
    assert_span(o.text, span_text("still on its way"));
    nothing_is_sent(&w);
    forget_world(&w);
}

/* ---------------------------------------------------------------- which the relay refuses */

static void the_others_learn_what_was_refused(void **state) {
    world w;
    start(&w);
    assert_ok(send_text(&w, "first"));
    assert_int_equal(taken(&w, &w.keeper, NULL).counter, 1);
    assert_ok(send_text(&w, "second"));
    answer(&w, find(&w, "POST", "/messages"), 413, "{}");
    nothing_is_sent(&w); /* not at once: a relay that refuses all would be asked for ever */
    assert_ok(send_text(&w, "third"));
    content o = taken(&w, &w.keeper, NULL);
    assert_int_equal(o.kind, CONTENT_WITHDRAWN);
    assert_int_equal(o.counter, 3);
    assert_int_equal(o.withdrawn.n, 1);
    assert_int_equal(o.withdrawn.p[0].n, 2);
    o = taken(&w, &w.keeper, NULL);
    assert_span(o.text, span_text("third"));
    nothing_is_sent(&w);
    assert_ok(send_text(&w, "fourth"));
    o = taken(&w, &w.keeper, NULL); /* once is enough */
    assert_span(o.text, span_text("fourth"));
    forget_world(&w);
}

static void what_was_refused_is_told_in_place_of_a_gap(void **state) {
    world w;
    start(&w);
    content_counter places[3] = {{1}, {2}, {99}};
    content gone = {.kind = CONTENT_WITHDRAWN};
    gone.withdrawn.p = places;
    gone.withdrawn.n = 1;
    (void)written(&w.keeper, "refused", 0);
    say(&w, &w.keeper, &gone);
    assert_told(&w, "withdrawn");
    assert_false(was_told(&w, "missing"));
    deliver(&w, "message", &w.keeper, written(&w.keeper, "next", 0));
    assert_true(shows(&w, "next"));
    assert_int_equal(w.told_count, 1);
    w.told_count = 0;
    /* Of two that are missing only one was refused: the other may be held back. */
    (void)written(&w.insider, "held back", 0);
    (void)written(&w.insider, "refused", 0);
    gone.withdrawn.p = places + 1;
    gone.withdrawn.n = 2;
    say(&w, &w.insider, &gone);
    assert_told(&w, "withdrawn");
    assert_told(&w, "missing");
    w.told_count = 0;
    say(&w, &w.insider, &gone); /* said twice, told once */
    assert_told_nothing(&w);
    forget_world(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(too_far_ahead),
        cmocka_unit_test(skipped_by_too_many),
        cmocka_unit_test(of_an_epoch_that_is_gone),
        cmocka_unit_test(more_than_a_week_late),
        cmocka_unit_test(a_copy_is_not_asked_for),
        cmocka_unit_test(a_text_goes_out_again),
        cmocka_unit_test(what_is_not_sent_again),
        cmocka_unit_test(the_others_learn_what_was_refused),
        cmocka_unit_test(what_was_refused_is_told_in_place_of_a_gap),
    };
    world_init();
    int failed = cmocka_run_group_tests_name("client_unread", tests, NULL, NULL);
    arena_free(&heap);
    return failed;
}
