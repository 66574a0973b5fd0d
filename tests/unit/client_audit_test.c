/* The client (core/client/audit*.c) and the relay's audit log: an honest one is never an alarm; whatever is done to it is told by
 * name, once, and kept with its proof; a member that lies proves nothing. The relay and its log are this file. */
#include "support/clinic_world.h"
#include "support/disk.h"

#define LOG_MAX 300
#define HOUR ((int64_t)3600000)

static signature_key relay_key, other_key;

/* A log: its entries, and the hash of each. */
typedef struct chain {
    span entries[LOG_MAX + 1]; /* from 1 */
    uint8_t hashes[LOG_MAX + 1][AUDIT_HASH_SIZE];
    size_t n;
} chain;

/* Adds the entry that comes next; `status` makes histories differ. */
static void add_entry(chain *c, uint16_t status) {
    audit_entry e = {
        .number = c->n + 1, .at = NOW * 1000, .who = AUDIT_BY_DEVICE, .call = AUDIT_MESSAGE, .status = status};
    memcpy(e.previous, c->hashes[c->n], AUDIT_HASH_SIZE);
    c->n++;
    assert_ok(WIRE_ENCODE(&heap, wire_audit_entry, &e, &c->entries[c->n]));
    audit_hash(c->entries[c->n], c->hashes[c->n]);
}

static chain *make_chain(size_t n, size_t forked_at) {
    chain *c = arena_take(&heap, 1, sizeof *c);
    memset(c, 0, sizeof *c);
    for (size_t i = 1; i <= n; i++)
        add_entry(c, i >= forked_at ? 403 : 200);
    return c;
}

static audit_checkpoint checkpoint_of(world *w, const chain *c, size_t number, const signature_key *key) {
    audit_checkpoint p = {.number = number, .at = NOW * 1000};
    memcpy(p.clinic, w->c->clinic_id, ID_SIZE);
    memcpy(p.hash, c->hashes[number], AUDIT_HASH_SIZE);
    audit_checkpoint_sign(&p, key);
    return p;
}

static char *checkpoint_json(const audit_checkpoint *p) {
    char *text = arena_take(&heap, 500, 1);
    snprintf(text, 500, "{\"clinic\":\"%s\",\"number\":%llu,\"hash\":\"%s\",\"at\":%llu,\"signature\":\"%s\"}",
             base64url_text(&heap, SPAN(p->clinic)), (unsigned long long)p->number,
             base64url_text(&heap, SPAN(p->hash)), (unsigned long long)p->at,
             base64url_text(&heap, SPAN(p->signature)));
    return text;
}

static char *checkpoint_at(world *w, const chain *c, size_t number) {
    audit_checkpoint p = checkpoint_of(w, c, number, &relay_key);
    return checkpoint_json(&p);
}

static void describe(world *w, const signature_key *key) {
    char text[200] = "{\"version\":1,\"features\":[\"sse\"]}";
    if (key != NULL)
        snprintf(text, sizeof text, "{\"version\":1,\"features\":[\"sse\",\"audit\"],\"audit_key\":\"%s\"}",
                 base64url_text(&heap, signature_key_public(key)));
    answer(w, find(w, "GET", "/.well-known/sotto"), 200, text);
}

static bool asked_for(world *w, size_t number) {
    char path[80];
    pending *p = find(w, "GET", "/v1/audit/checkpoint");
    snprintf(path, sizeof path, "/v1/audit/checkpoint?number=%zu", number);
    return p != NULL && strcmp(p->path, path) == 0;
}

/* The relay's answer to what is asked now: with the chain's checkpoint `number`, or none. */
static void give(world *w, const chain *c, size_t number) {
    pending *p = find(w, "GET", "/v1/audit/checkpoint");
    if (number > 0)
        answer(w, p, 200, checkpoint_at(w, c, number));
    else
        answer(w, p, 404, "{\"type\":\"urn:sotto:problem:not-found\"}");
}

static void quiet(world *w) {
    assert_null(find(w, "GET", "/.well-known/sotto"));
    assert_null(find(w, "GET", "/v1/audit"));
}

/* A patient in conversation, whose client has seen checkpoint 5 of the chain. */
static void start_seen(world *w, const chain **c) {
    start(w);
    fresh_key(&relay_key);
    fresh_key(&other_key);
    *c = make_chain(20, 99);
    describe(w, &relay_key);
    assert_true(asked_for(w, 0));
    give(w, *c, 5);
    quiet(w);
}

static void check_again(world *w) {
    begin(w);
    assert_ok(finish(w, client_audit_check(w->c, &w->fx)));
}

static void status(world *w, audit_view *v) {
    begin(w);
    assert_ok(client_audit(w->c, &w->arena, v));
    assert_ok(finish(w, OK));
}

/* The newest alarm is this one; so many stand. */
static audit_alarm_view alarm_stands(world *w, const char *fault, int64_t number, size_t count) {
    audit_view v;
    status(w, &v);
    assert_int_equal(v.alarm_count, count);
    assert_string_equal(audit_fault_name(v.alarms[0].fault), fault);
    assert_int_equal(v.alarms[0].number, number);
    return v.alarms[0];
}

static size_t times_told(const world *w) {
    size_t n = 0;
    for (size_t i = 0; i < w->told_count; i++)
        n += strcmp(w->told[i], "audit_changed") == 0;
    return n;
}

static bool is_proof(world *w, span proof, const chain *c, size_t number) {
    uint8_t key[ED25519_PUBLIC_SIZE];
    memcpy(key, public_of(&relay_key), sizeof key);
    return proof.n == AUDIT_CHECKPOINT_SIZE && audit_checkpoint_verify_encoded(proof.p, SPAN(key)) == OK &&
           audit_number(proof.p) == number && memcmp(audit_hash_of(proof.p), c->hashes[number], AUDIT_HASH_SIZE) == 0;
}

/* What was found holds up no message. */
static void goes_on(world *w) {
    assert_ok(send_text(w, "out"));
    assert_non_null(find(w, "POST", "/messages"));
    deliver(w, "message", &w->keeper, written(&w->keeper, "in", 0));
    assert_true(shows(w, "in"));
    forget_world(w);
}

/* ---------------------------------------------------------------- the relay alone */

static void an_honest_log_is_no_alarm(void **state) {
    world w;
    disk *medium = disk_new();
    host_set_disk(medium);
    make_world(&w, "audit", "123456");
    converse(&w);
    fresh_key(&relay_key);
    const chain *c = make_chain(20, 99);
    describe(&w, &relay_key);
    give(&w, c, 0); /* none yet */
    quiet(&w);
    tick(&w, 11 * HOUR);
    quiet(&w);
    assert_in_range(w.timer, 1, HOUR);
    tick(&w, HOUR);
    describe(&w, &relay_key);
    give(&w, c, 5);
    check_again(&w);
    describe(&w, &relay_key);
    give(&w, c, 5);
    check_again(&w);
    describe(&w, &relay_key);
    give(&w, c, 7);
    assert_true(asked_for(&w, 5));
    give(&w, c, 5);
    quiet(&w);
    /* Over a restart of the client, too; and a relay that cannot answer for a while. */
    client_account_lock(w.c);
    for (size_t i = 0; i < PENDING_MAX; i++)
        if (w.pending[i].id != 0)
            forget(&w.pending[i]);
    begin(&w);
    assert_ok(finish(&w, client_account_unlock(w.c, &w.fx, span_text("123456"))));
    quiet(&w); /* not before the relay is known to be there */
    assert_ok(inbox(&w, ""));
    answer(&w, find(&w, "GET", "/.well-known/sotto"), 503, "");
    tick(&w, 5 * 60000);
    assert_ok(inbox(&w, ""));
    describe(&w, &relay_key);
    answer(&w, find(&w, "GET", "/v1/audit/checkpoint"), 200, "<html>");
    tick(&w, 5 * 60000);
    give(&w, c, 9);
    assert_true(asked_for(&w, 7));
    give(&w, c, 7);
    audit_view v;
    status(&w, &v);
    assert_int_equal(v.alarm_count, 0);
    assert_true(is_proof(&w, v.newest, c, 9));
    assert_true(v.offered && v.checked_ms > 0);
    assert_told_nothing(&w);
    goes_on(&w);
    host_set_disk(NULL);
    disk_free(medium);
}

static void a_relay_without_a_log_is_no_alarm(void **state) {
    world w;
    start(&w);
    describe(&w, NULL);
    quiet(&w);
    audit_view v;
    status(&w, &v);
    assert_false(v.offered);
    assert_int_equal(v.key.n + v.newest.n + v.alarm_count, 0);
    assert_told_nothing(&w);
    goes_on(&w);
}

static void a_log_that_got_shorter(void **state) {
    for (size_t number = 0; number < 5; number += 4) { /* none at all, or an earlier one */
        world w;
        const chain *c;
        start_seen(&w, &c);
        for (int i = 0; i < 2; i++) { /* told once, however often it is seen */
            check_again(&w);
            describe(&w, &relay_key);
            give(&w, c, number);
            quiet(&w);
            audit_alarm_view a = alarm_stands(&w, "truncation", 5, 1);
            assert_true(is_proof(&w, a.kept, c, 5));
            assert_true(number == 0 ? a.other.n == 0 : is_proof(&w, a.other, c, number));
        }
        assert_int_equal(times_told(&w), 1);
        goes_on(&w);
    }
}

static void two_checkpoints_of_one_number(void **state) {
    world w;
    const chain *c;
    start_seen(&w, &c);
    const chain *fork = make_chain(20, 3);
    check_again(&w);
    describe(&w, &relay_key);
    give(&w, fork, 5);
    audit_alarm_view a = alarm_stands(&w, "fork", 5, 1);
    assert_true(is_proof(&w, a.kept, c, 5));
    assert_true(is_proof(&w, a.other, fork, 5));
    assert_int_equal(times_told(&w), 1);
    goes_on(&w);
}

static void a_log_that_was_rewritten(void **state) {
    for (int gone = 0; gone < 2; gone++) {
        world w;
        const chain *c;
        start_seen(&w, &c);
        const chain *anew = make_chain(20, 3);
        check_again(&w);
        describe(&w, &relay_key);
        give(&w, anew, 9);
        assert_true(asked_for(&w, 5));
        give(&w, anew, gone ? 0 : 5);
        quiet(&w);
        audit_alarm_view a = alarm_stands(&w, "rewrite", 5, 1);
        assert_true(is_proof(&w, a.kept, c, 5));
        assert_true(is_proof(&w, a.other, anew, gone ? 9 : 5));
        audit_view v;
        status(&w, &v);
        assert_true(is_proof(&w, v.newest, c, 5)); /* what contradicts does not take its place */
        assert_int_equal(times_told(&w), 1);
        goes_on(&w);
    }
}

static void checkpoints_that_are_none_of_the_relays(void **state) {
    for (int i = 0; i < 4; i++) {
        world w;
        const chain *c;
        start_seen(&w, &c);
        audit_checkpoint p = checkpoint_of(&w, c, 9, i == 0 ? &other_key : &relay_key);
        if (i == 1) {
            p.clinic[0] ^= 1;
            audit_checkpoint_sign(&p, &relay_key);
        } else if (i == 2) {
            p.number = 10;
        } else if (i == 3) {
            p.at++;
        }
        check_again(&w);
        describe(&w, &relay_key);
        answer(&w, find(&w, "GET", "/v1/audit/checkpoint"), 200, checkpoint_json(&p));
        quiet(&w);
        (void)alarm_stands(&w, "forgery", 0, 1);
        audit_view v;
        status(&w, &v);
        assert_true(is_proof(&w, v.newest, c, 5));
        goes_on(&w);
    }
}

static void another_key_is_an_alarm_and_never_an_update(void **state) {
    world w;
    const chain *c;
    start_seen(&w, &c);
    for (int i = 0; i < 2; i++) {
        check_again(&w);
        describe(&w, &other_key);
        audit_alarm_view a = alarm_stands(&w, "key_change", 0, 1);
        assert_true(span_equal(a.kept, signature_key_public(&relay_key)));
        assert_true(span_equal(a.other, signature_key_public(&other_key)));
        give(&w, c, 5);
    }
    audit_view v;
    status(&w, &v);
    assert_true(span_equal(v.key, signature_key_public(&relay_key)));
    assert_int_equal(times_told(&w), 1);
    goes_on(&w);
}

static void a_log_that_is_no_longer_shown(void **state) {
    world w;
    const chain *c;
    start_seen(&w, &c);
    check_again(&w);
    describe(&w, NULL);
    quiet(&w);
    (void)alarm_stands(&w, "withdrawal", 0, 1);
    assert_int_equal(times_told(&w), 1);
    goes_on(&w);
}

/* ---------------------------------------------------------------- members */

/* What a member says that it was shown. */
static span telling(person *p, const audit_checkpoint *checkpoint, const signature_key *key) {
    content o = {.version = CONTENT_VERSION, .kind = CONTENT_CHECKPOINT, .sent_ms = NOW * 1000};
    span encoded, message, bytes;
    assert_ok(WIRE_ENCODE(&heap, wire_audit_checkpoint, checkpoint, &bytes));
    memcpy(o.checkpoint, bytes.p, sizeof o.checkpoint);
    memcpy(o.audit_key, public_of(key), sizeof o.audit_key);
    host_random(o.id, sizeof o.id);
    o.counter = ++p->counter;
    memcpy(o.previous, p->previous, sizeof o.previous);
    assert_ok(WIRE_ENCODE(&heap, wire_content, &o, &encoded));
    sha256(encoded, p->previous);
    assert_ok(group_protect(p->group, encoded, SPAN_NONE, &heap, &message));
    return message;
}

static void hear(world *w, const audit_checkpoint *p, const signature_key *key) {
    deliver(w, "message", &w->insider, telling(&w->insider, p, key));
}

static void what_others_tell_is_compared(void **state) {
    world w;
    const chain *c;
    start_seen(&w, &c);
    audit_checkpoint p = checkpoint_of(&w, c, 5, &relay_key);
    hear(&w, &p, &relay_key); /* the same as ours */
    quiet(&w);
    for (size_t number = 3; number < 9; number += 5) { /* an earlier one and a later one, that the relay stands by */
        p = checkpoint_of(&w, c, number, &relay_key);
        hear(&w, &p, &relay_key);
        assert_true(asked_for(&w, number));
        give(&w, c, number);
        quiet(&w);
    }
    audit_view v;
    status(&w, &v);
    assert_true(is_proof(&w, v.newest, c, 8));
    assert_told_nothing(&w);
    assert_int_equal(v.alarm_count, 0);
    goes_on(&w);
}

static void others_were_shown_another_history(void **state) {
    for (int i = 0; i < 3; i++) {
        world w;
        const chain *c;
        uint8_t insider[ID_SIZE];
        start_seen(&w, &c);
        const chain *fork = make_chain(20, 3);
        size_t number = i == 2 ? 5 : 8;
        audit_checkpoint p = checkpoint_of(&w, fork, number, &relay_key);
        hear(&w, &p, &relay_key);
        assert_true(asked_for(&w, number));
        /* The relay denies it; or has another for us; or stands by it, and by ours: that is two of one number. */
        give(&w, i == 2 ? fork : c, i == 0 ? 0 : number);
        quiet(&w);
        audit_alarm_view a = alarm_stands(&w, "fork", (int64_t)number, 1);
        device_of(&w.insider, insider);
        if (i < 2)
            assert_true(span_equal(a.device_id, SPAN(insider)));
        assert_true(is_proof(&w, a.kept, i == 2 ? c : fork, number));
        assert_true(i == 0 ? a.other.n == 0 : is_proof(&w, a.other, i == 2 ? fork : c, number));
        assert_int_equal(times_told(&w), 1);
        goes_on(&w);
    }
}

/* A relay that gives no answer about it does not get round the checks by that; and it is asked again. */
static void what_was_heard_waits_for_its_answer(void **state) {
    world w;
    const chain *c;
    start_seen(&w, &c);
    const chain *fork = make_chain(20, 3);
    audit_checkpoint p = checkpoint_of(&w, fork, 8, &relay_key);
    hear(&w, &p, &relay_key);
    for (int i = 0; i < 3; i++) {
        assert_true(asked_for(&w, 8));
        answer(&w, find(&w, "GET", "/v1/audit/checkpoint"), i ? 503 : 400, "");
        quiet(&w);
        tick(&w, 5 * 60000);
    }
    answer(&w, find(&w, "GET", "/v1/audit/checkpoint"), 503, "");
    tick(&w, 12 * HOUR);
    describe(&w, &relay_key);
    give(&w, c, 5);
    assert_true(asked_for(&w, 8));
    give(&w, c, 8);
    (void)alarm_stands(&w, "fork", 8, 1);
    goes_on(&w);
}

static void a_member_that_lies_proves_nothing(void **state) {
    world w;
    const chain *c;
    start_seen(&w, &c);
    const chain *fork = make_chain(20, 3);
    audit_checkpoint p = checkpoint_of(&w, fork, 8, &other_key);
    hear(&w, &p, &relay_key); /* not signed by it */
    p = checkpoint_of(&w, fork, 8, &relay_key);
    p.number = 9;
    hear(&w, &p, &relay_key);
    p = checkpoint_of(&w, fork, 8, &relay_key);
    p.clinic[3] ^= 1; /* another clinic's, well signed */
    audit_checkpoint_sign(&p, &relay_key);
    hear(&w, &p, &relay_key);
    p = checkpoint_of(&w, fork, 8, &relay_key);
    p.number = 0;
    audit_checkpoint_sign(&p, &relay_key);
    hear(&w, &p, &relay_key);
    p.number = UINT64_MAX;
    audit_checkpoint_sign(&p, &relay_key);
    hear(&w, &p, &relay_key);
    quiet(&w);
    assert_told_nothing(&w);
    /* A key of its own: the one thing that cannot be told from a relay that shows people different keys. It is told who says so. */
    uint8_t insider[ID_SIZE];
    device_of(&w.insider, insider);
    p = checkpoint_of(&w, fork, 8, &other_key);
    hear(&w, &p, &other_key);
    hear(&w, &p, &other_key);
    quiet(&w);
    audit_alarm_view a = alarm_stands(&w, "dispute", 0, 1);
    assert_true(span_equal(a.device_id, SPAN(insider)));
    assert_int_equal(times_told(&w), 1);
    goes_on(&w);
}

static void a_log_that_is_shown_to_others_only(void **state) {
    world w;
    start(&w);
    fresh_key(&relay_key);
    describe(&w, NULL);
    quiet(&w);
    audit_checkpoint p = checkpoint_of(&w, make_chain(9, 99), 8, &relay_key);
    hear(&w, &p, &relay_key);
    describe(&w, NULL); /* asked again first: it may be new */
    (void)alarm_stands(&w, "dispute", 0, 1);
    goes_on(&w);
}

static void others_are_told_now_and_then(void **state) {
    world w;
    const chain *c;
    size_t told = 0;
    start_seen(&w, &c);
    for (int i = 0; i < 40; i++) {
        assert_ok(send_text(&w, "text"));
        for (pending *p; (p = find(&w, "POST", "/messages")) != NULL;) {
            incoming in;
            content o;
            assert_ok(group_process(w.keeper.group, span_of(p->body, p->n), &heap, &in));
            assert_ok(content_read(in.plaintext, &heap, &o));
            if (o.kind == CONTENT_CHECKPOINT) {
                told++;
                assert_true(is_proof(&w, SPAN(o.checkpoint), c, 5));
                assert_true(span_equal(SPAN(o.audit_key), signature_key_public(&relay_key)));
            }
            answer(&w, p, 200, "{\"seq\":7}");
        }
    }
    assert_int_equal(told, 3); /* of 43 contents */
    assert_told_nothing(&w);
    forget_world(&w);
}

static void a_silent_kind_that_is_not_known_is_passed_over(void **state) {
    world w;
    start(&w);
    content o = {
        .version = CONTENT_VERSION, .kind = 200, .counter = ++w.insider.counter, .unknown = span_text("later")};
    span encoded, message;
    assert_ok(WIRE_ENCODE(&heap, wire_content, &o, &encoded));
    sha256(encoded, w.insider.previous);
    assert_ok(group_protect(w.insider.group, encoded, SPAN_NONE, &heap, &message));
    deliver(&w, "message", &w.insider, message);
    deliver(&w, "message", &w.insider, written(&w.insider, "after it", 0));
    assert_true(shows(&w, "after it"));
    assert_told_nothing(&w); /* no gap either */
    forget_world(&w);
}

/* ---------------------------------------------------------------- walks */

static void page(world *w, audit_page_view *v) {
    begin(w);
    assert_ok(client_audit_page(w->c, &w->arena, v));
    assert_ok(finish(w, OK));
}

/* The relay's answer: `count` entries from those of the list. */
static void give_entries(world *w, const span *entries, size_t count) {
    size_t n = 40;
    for (size_t i = 0; i < count; i++)
        n += BASE64URL_SIZE(entries[i].n) + 3;
    char *text = arena_take(&heap, n, 1), *at = text;
    at += sprintf(at, "{\"entries\":[");
    for (size_t i = 0; i < count; i++)
        at += sprintf(at, "%s\"%s\"", i ? "," : "", base64url_text(&heap, entries[i]));
    sprintf(at, "],\"next\":1}");
    answer(w, find(w, "GET", "/v1/audit?after="), 200, text);
}

/* With the right audit, and a walk that has come to its first question; `after` -1: where walks have come to. */
static void set_out(world *w, const chain *c, int64_t after) {
    w->c->rights |= RIGHT_AUDIT;
    begin(w);
    assert_ok(finish(w, client_audit_walk(w->c, &w->fx, after)));
    audit_page_view v;
    page(w, &v);
    assert_string_equal(v.state, "checking");
    describe(w, &relay_key);
    give(w, c, c->n);
    if (find(w, "GET", "/v1/audit/checkpoint") != NULL)
        give(w, c, 5);
}

static void entries_are_walked_page_by_page(void **state) {
    world w;
    const chain *c;
    audit_page_view v;
    start_seen(&w, &c);
    c = make_chain(290, 99);
    check_again(&w); /* of the same beginning: nothing is new in it but its length */
    describe(&w, &relay_key);
    give(&w, c, 290);
    give(&w, c, 5);
    begin(&w);
    assert_err(finish(&w, client_audit_walk(w.c, &w.fx, -1)), ERR_SENDER); /* a patient may not */
    set_out(&w, c, -1);
    assert_string_equal(find(&w, "GET", "/v1/audit?")->path, "/v1/audit?after=0");
    give_entries(&w, c->entries + 1, 256);
    assert_null(find(&w, "GET", "/v1/audit?")); /* the next page when this one was taken */
    page(&w, &v);
    assert_string_equal(v.state, "reading");
    assert_int_equal(v.count, 256);
    assert_int_equal(v.number, 256);
    assert_int_equal(v.target, 290);
    assert_int_equal(v.entries[255].number, 256);
    assert_int_equal(v.entries[255].call, AUDIT_MESSAGE);
    assert_string_equal(find(&w, "GET", "/v1/audit?")->path, "/v1/audit?after=256");
    answer(&w, find(&w, "GET", "/v1/audit?"), 503, "");
    tick(&w, 30000);
    page(&w, &v);
    assert_int_equal(v.count, 0);
    give_entries(&w, c->entries + 257, 34);
    page(&w, &v);
    assert_string_equal(v.state, "done");
    assert_int_equal(v.count, 34);
    quiet(&w);
    /* From there on there is nothing new; and from the middle, one whose end is held against the checkpoint alone. */
    set_out(&w, c, -1);
    page(&w, &v);
    assert_string_equal(v.state, "done");
    assert_int_equal(v.number, 290);
    set_out(&w, c, 280);
    give_entries(&w, c->entries + 281, 10);
    page(&w, &v);
    assert_string_equal(v.state, "done");
    /* Ended by the user; and refused. */
    set_out(&w, c, 0);
    check_again(&w);
    page(&w, &v);
    assert_string_equal(v.state, "none");
    give_entries(&w, c->entries + 1, 5);
    page(&w, &v);
    assert_int_equal(v.count, 0);
    describe(&w, &relay_key);
    give(&w, c, c->n);
    set_out(&w, c, 0);
    answer(&w, find(&w, "GET", "/v1/audit?"), 403, "{\"type\":\"urn:sotto:problem:forbidden\"}");
    page(&w, &v);
    assert_string_equal(v.reason, "forbidden");
    set_out(&w, c, 0);
    answer(&w, find(&w, "GET", "/v1/audit?"), 200, "{\"entries\":[7]}");
    page(&w, &v);
    assert_string_equal(v.reason, "refused");
    assert_told_nothing(&w);
    goes_on(&w);
}

/* The relay was put back from a copy that ended with `kept`: numbers go on from 40. */
static void add_restored(chain *c, uint8_t kept) {
    audit_entry e = {.number = 40,
                     .at = NOW * 1000,
                     .who = AUDIT_BY_OPERATOR,
                     .call = AUDIT_RESTORED,
                     .object = {[7] = kept},
                     .object_size = 8,
                     .status = 200};
    memcpy(e.previous, c->hashes[c->n], AUDIT_HASH_SIZE);
    c->n = 40;
    assert_ok(WIRE_ENCODE(&heap, wire_audit_entry, &e, &c->entries[c->n]));
    audit_hash(c->entries[c->n], c->hashes[c->n]);
    add_entry(c, 200);
}

static void walk_over_restored(uint8_t kept, audit_page_view *v) {
    world w;
    const chain *seen;
    span list[17];
    start_seen(&w, &seen);
    chain *c = make_chain(15, 99);
    add_restored(c, kept);
    check_again(&w);
    describe(&w, &relay_key);
    give(&w, c, 41);
    give(&w, c, 5);
    set_out(&w, c, 0);
    memcpy(list, c->entries + 1, 15 * sizeof *list);
    memcpy(list + 15, c->entries + 40, 2 * sizeof *list);
    give_entries(&w, list, 17);
    page(&w, v);
    goes_on(&w);
}

/* Numbers may jump where the operator says that he restored a copy, and says what it ended with; nowhere else. */
static void a_walk_passes_what_was_restored(void **state) {
    audit_page_view v;
    walk_over_restored(15, &v);
    assert_string_equal(v.state, "done");
    assert_int_equal(v.number, 41);
    assert_int_equal(v.count, 17);
    walk_over_restored(14, &v);
    assert_string_equal(v.state, "failed");
    assert_string_equal(v.reason, "deletion");
    assert_int_equal(v.count, 15);
}

/* What was done to the entries is found by its name; what stood before it is given. */
static void a_walk_finds(const char *fault, int64_t number, size_t good, void (*change)(span *list, size_t *n)) {
    world w;
    const chain *c;
    audit_page_view v;
    span list[LOG_MAX];
    size_t n;
    start_seen(&w, &c);
    set_out(&w, c, 0);
    n = c->n;
    memcpy(list, c->entries + 1, n * sizeof *list);
    change(list, &n);
    give_entries(&w, list, n);
    page(&w, &v);
    if (strcmp(v.state, "reading") == 0) {
        give_entries(&w, list + n, 0);
        size_t count = v.count;
        page(&w, &v);
        v.count = count;
    }
    assert_string_equal(v.state, "failed");
    assert_string_equal(v.reason, fault);
    assert_int_equal(v.count, good);
    audit_alarm_view a = alarm_stands(&w, fault, number, 1);
    assert_true(is_proof(&w, a.kept, c, strcmp(fault, "rewrite") == 0 ? (size_t)number : 20));
    assert_int_equal(times_told(&w), 1);
    goes_on(&w);
}

static void delete_one(span *list, size_t *n) {
    (*n)--;
    memmove(list + 10, list + 11, (*n - 10) * sizeof *list); /* number 11 */
}
static void edit_one(span *list, size_t *n) {
    uint8_t *copy = arena_take(&heap, list[10].n, 1);
    memcpy(copy, list[10].p, list[10].n);
    copy[15] ^= 1; /* when it was */
    list[10] = span_of(copy, list[10].n);
}
static void spoil_one(span *list, size_t *n) { list[10].n -= 3; }
static void swap_two(span *list, size_t *n) {
    span one = list[10];
    list[10] = list[11];
    list[11] = one;
}
static void repeat_one(span *list, size_t *n) { list[10] = list[9]; }
static void cut_off(span *list, size_t *n) { *n = 15; }
static void make_anew(span *list, size_t *n) { memcpy(list, make_chain(20, 3)->entries + 1, 20 * sizeof *list); }
static void make_anew_later(span *list, size_t *n) { memcpy(list, make_chain(20, 8)->entries + 1, 20 * sizeof *list); }

static void a_walk_finds_what_was_done(void **state) {
    a_walk_finds("deletion", 11, 10, delete_one);
    a_walk_finds("edit", 11, 11, edit_one); /* the one behind it says so */
    a_walk_finds("edit", 11, 10, spoil_one);
    a_walk_finds("reorder", 11, 10, swap_two);
    a_walk_finds("reorder", 11, 10, repeat_one);
    a_walk_finds("truncation", 16, 15, cut_off);
    a_walk_finds("rewrite", 5, 4, make_anew);
    a_walk_finds("rewrite", 20, 19, make_anew_later);
}

int main(void) {
    world_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_honest_log_is_no_alarm),
        cmocka_unit_test(a_relay_without_a_log_is_no_alarm),
        cmocka_unit_test(a_log_that_got_shorter),
        cmocka_unit_test(two_checkpoints_of_one_number),
        cmocka_unit_test(a_log_that_was_rewritten),
        cmocka_unit_test(checkpoints_that_are_none_of_the_relays),
        cmocka_unit_test(another_key_is_an_alarm_and_never_an_update),
        cmocka_unit_test(a_log_that_is_no_longer_shown),
        cmocka_unit_test(what_others_tell_is_compared),
        cmocka_unit_test(others_were_shown_another_history),
        cmocka_unit_test(what_was_heard_waits_for_its_answer),
        cmocka_unit_test(a_member_that_lies_proves_nothing),
        cmocka_unit_test(a_log_that_is_shown_to_others_only),
        cmocka_unit_test(others_are_told_now_and_then),
        cmocka_unit_test(a_silent_kind_that_is_not_known_is_passed_over),
        cmocka_unit_test(entries_are_walked_page_by_page),
        cmocka_unit_test(a_walk_finds_what_was_done),
        cmocka_unit_test(a_walk_passes_what_was_restored),
    };
    return cmocka_run_group_tests_name("client and the audit log", tests, NULL, NULL);
}
