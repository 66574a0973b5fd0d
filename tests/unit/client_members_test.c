/* The client (core/client) of a clinic's roster keeper, and who it brings into conversations: many devices, devices that never
 * come, several conversations at once, a device that was removed and comes back. */
#include "support/clinic_world.h"

#define STAFF_MAX 100
#define HOUR_MS 3600000

typedef struct clinic {
    world w; /* keeper: whose client it is */
    person staff[STAFF_MAX];
    person patients[2];
    size_t staff_count;
    char *groups[2];
    span last_resort; /* the client's */
} clinic;

/* The client's account as an invitation of the founder's made it, with RIGHT_ROSTER. */
static void make_clinic(clinic *k, size_t staff) {
    world *w = &k->w;
    json *body;
    uint8_t seed[ED25519_SEED_SIZE];
    held_invitation *h = calloc(1, sizeof *h);
    assert_non_null(h);
    *k = (clinic){.w.now = (int64_t)NOW * 1000, .staff_count = staff};
    arena_reset(&heap);
    host_set_now((double)w->now);
    assert_ok(arena_init(&w->arena, 8u << 20));
    assert_ok(client_new("", &w->c));
    make_staff(&w->keeper, &root, FOUNDER_RIGHTS);
    host_random(seed, sizeof seed);
    signature_key_from_seed(seed, &w->keeper.key);
    memcpy(w->keeper.list[0].subject_key, public_of(&w->keeper.key), ED25519_PUBLIC_SIZE);
    assert_ok(certificate_issue(&w->keeper.list[0], &root));
    memcpy(h->device_seed, seed, sizeof seed);
    memcpy(h->root_key, public_of(&root), sizeof h->root_key);
    span chain = encoded_chain(&w->keeper);
    memcpy(h->device_chain, chain.p, chain.n);
    h->device_chain_size = chain.n;
    h->enrols = CERTIFICATE_STAFF;
    h->opened = h->accepted = true;
    memcpy(h->relay, "https://relay.test", 18);
    h->relay_size = 18;
    memcpy(h->name, "Keeper", 6);
    h->name_size = 6;
    w->c->held = h;
    begin(w);
    assert_ok(finish(w, client_account_create(w->c, &w->fx, SPAN_NONE)));
    pending *p = find(w, "PUT", "/v1/key-packages");
    assert_ok(json_open(span_of(p->body, p->n), &body));
    assert_ok(json_bytes(body, "last_resort", &heap, &k->last_resort));
    json_close(body);
    answer(w, p, 200, "{}");
    for (size_t i = 0; i < staff; i++) {
        make_staff(&k->staff[i], &root, STAFF_RIGHTS);
        make_key_package(&k->staff[i]);
    }
}

static void forget_clinic(clinic *k) {
    for (size_t i = 0; i < 2; i++)
        group_close(k->patients[i].group);
    forget_world(&k->w);
}

/* The roster of the keeper and the first `count` of the staff. */
static char *roster_of(clinic *k, size_t count) {
    roster r = {.number = ++k->w.roster_number, .issued_ms = NOW * 1000};
    roster_member list[STAFF_MAX + 1];
    span bytes;
    r.members.p = list;
    r.members.n = count + 1;
    for (size_t i = 0; i <= count; i++) {
        person *p = i < count ? &k->staff[i] : &k->w.keeper;
        device_of(p, list[i].device_id);
        list[i].chain = chain_of(p);
    }
    assert_ok(roster_issue(&r, &root, &heap, &bytes));
    size_t n = BASE64URL_SIZE(bytes.n) + 80;
    char *text = arena_take(&heap, n, 1);
    snprintf(text, n, "{\"number\":%llu,\"roster\":\"%s\"}", (unsigned long long)r.number,
             base64url_text(&heap, bytes));
    return text;
}

static void new_roster(clinic *k, size_t count) {
    world *w = &k->w;
    char event[80];
    if (find(w, "GET", "/v1/roster") == NULL) {
        snprintf(event, sizeof event, "{\"seq\":%lld,\"kind\":\"roster\",\"number\":9}", (long long)++w->seq);
        assert_ok(inbox(w, event));
    }
    if (find(w, "GET", "/v1/roster") == NULL)
        tick(w, 40000);
    answer(w, find(w, "GET", "/v1/roster"), 200, roster_of(k, count));
}

/* Everything that waits as a message is taken. */
static void settle(clinic *k) {
    for (pending *p = find(&k->w, "POST", "/messages"); p != NULL; p = find(&k->w, "POST", "/messages"))
        answer(&k->w, p, 200, "{\"seq\":5}");
}

/* Patient i makes a conversation with the keeper, and a colleague or NULL. */
static void make_conversation(clinic *k, size_t i, person *colleague) {
    person *p = &k->patients[i];
    loose_leaf leaf;
    commit_output out;
    staged_commit *staged;
    uint8_t id[GROUP_ID_SIZE] = {(uint8_t)(9 + i)};
    make_patient(p, &k->w.keeper, NULL);
    make_leaf(&leaf, subject_of(p), &p->key, encoded_chain(p));
    assert_ok(group_create(
        &loose_host, &(group_params){.suite = suite_find(SUITE_XWING), .group_id = SPAN(id), .leaf = &leaf.params},
        &heap, &p->group));
    span packages[2] = {k->last_resort, colleague ? colleague->key_package : SPAN_NONE};
    commit_params params = {.adds = packages, .add_count = colleague ? 2 : 1, .force_path = true};
    assert_ok(group_stage_commit(p->group, &params, &heap, &out, &staged));
    assert_ok(group_merge_commit(p->group, staged, &heap));
    if (colleague != NULL)
        join(colleague, out.welcome);
    k->groups[i] = base64url_text(&heap, SPAN(id));
    assert_ok(inbox(&k->w, event_json(&k->w, "welcome", k->groups[i], p, out.welcome)));
    settle(k);
    assert_told_nothing(&k->w);
}

/* How many devices the client asks packages of; is p among them? */
static size_t claimed_now(clinic *k, const person *p, bool *among) {
    pending *out = find(&k->w, "POST", "/v1/key-packages/claim");
    uint8_t device[ID_SIZE];
    size_t count = 0;
    if (out == NULL)
        fail_msg("no key packages are asked for");
    char *body = arena_take(&heap, out->n + 1, 1);
    memcpy(body, out->body, out->n);
    for (const char *at = body; (at = strchr(at, '"')) != NULL; at++)
        count++;
    if (p != NULL) {
        device_of(p, device);
        *among = strstr(body, base64url_text(&heap, SPAN(device))) != NULL;
    }
    return (count - 2) / 2; /* "devices" and each id have two quotes */
}

/* Answers the claim with the packages of those who are asked and are in [from, to). */
static void give(clinic *k, size_t from, size_t to) {
    person *list[STAFF_MAX] = {NULL};
    size_t count = 0;
    for (size_t i = from; i < to; i++) {
        bool among;
        (void)claimed_now(k, &k->staff[i], &among);
        if (among)
            list[count++] = &k->staff[i];
    }
    answer(&k->w, find(&k->w, "POST", "/v1/key-packages/claim"), 200, claim_json(list, count));
}

/* The client's commit is taken and comes back; how many it adds. */
static size_t commit_comes_back(clinic *k, size_t conversation) {
    world *w = &k->w;
    json *body;
    span commit;
    incoming in;
    pending *p = find(w, "POST", "/commits");
    if (p == NULL)
        fail_msg("no commit");
    assert_span(span_of((const uint8_t *)p->path + strlen("/v1/groups/"), 43), span_text(k->groups[conversation]));
    assert_ok(json_open(span_of(p->body, p->n), &body));
    assert_ok(json_bytes(body, "commit", &heap, &commit));
    size_t added = json_count(json_member(body, "added"));
    json_close(body);
    answer(w, p, 200, "{\"seq\":1,\"epoch\":1}");
    group *g = k->patients[conversation].group;
    assert_ok(group_process(g, commit, &heap, &in));
    assert_ok(group_merge_commit(g, in.staged, &heap));
    assert_ok(inbox(w, event_json(w, "commit", k->groups[conversation], &w->keeper, commit)));
    settle(k);
    return added;
}

static void nothing_is_asked(clinic *k) { assert_null(find(&k->w, "POST", "/v1/key-packages/claim")); }

static size_t members_of(clinic *k, size_t conversation) {
    conversation_view v;
    k->w.conversation = (int64_t)conversation + 1;
    view(&k->w, &v);
    return v.member_count;
}

static void more_devices_than_one_claim_holds(void **state) {
    clinic k;
    make_clinic(&k, STAFF_MAX);
    new_roster(&k, 0);
    make_conversation(&k, 0, NULL);
    new_roster(&k, STAFF_MAX);
    assert_int_equal(claimed_now(&k, NULL, NULL), 64);
    give(&k, 0, STAFF_MAX);
    assert_int_equal(commit_comes_back(&k, 0), 64);
    assert_int_equal(claimed_now(&k, NULL, NULL), STAFF_MAX - 64);
    give(&k, 0, STAFF_MAX);
    assert_int_equal(commit_comes_back(&k, 0), STAFF_MAX - 64);
    assert_int_equal(members_of(&k, 0), STAFF_MAX + 2);
    tick(&k.w, HOUR_MS);
    nothing_is_asked(&k);
    assert_told_nothing(&k.w);
    forget_clinic(&k);
}

/* A claim's worth of devices that never come must not stand before those that do. */
static void the_absent_do_not_hold_up_the_others(void **state) {
    clinic k;
    make_clinic(&k, STAFF_MAX);
    new_roster(&k, 0);
    make_conversation(&k, 0, NULL);
    new_roster(&k, 64);
    assert_int_equal(claimed_now(&k, NULL, NULL), 64);
    give(&k, 0, 0);
    nothing_is_asked(&k);
    new_roster(&k, STAFF_MAX);
    bool among;
    (void)claimed_now(&k, &k.staff[64], &among);
    if (!among) { /* the same again, asked for before the roster was there, and all may be asked for once more */
        tick(&k.w, HOUR_MS);
        give(&k, 0, 0);
    }
    for (size_t i = 64; i < STAFF_MAX; i++) {
        (void)claimed_now(&k, &k.staff[i], &among);
        assert_true(among);
    }
    give(&k, 64, STAFF_MAX);
    assert_int_equal(commit_comes_back(&k, 0), STAFF_MAX - 64);
    forget_clinic(&k);
}

/* The patient's client makes the conversation with as many as one claim holds; the keeper adds the others. */
static void a_patient_makes_it_with_the_first(void **state) {
    clinic k;
    world w;
    make_clinic(&k, STAFF_MAX);
    char *list = roster_of(&k, STAFF_MAX);
    make_world(&w, "", ""); /* starts the heap anew */
    (void)list;
    for (size_t i = 0; i < STAFF_MAX; i++) {
        make_staff(&k.staff[i], &root, STAFF_RIGHTS);
        make_key_package(&k.staff[i]);
    }
    answer(&w, find(&w, "PUT", "/v1/key-packages"), 200, "{}");
    answer(&w, find(&w, "GET", "/v1/roster"), 200, roster_of(&k, STAFF_MAX));
    json *body;
    pending *p = find(&w, "POST", "/v1/key-packages/claim");
    assert_non_null(p);
    assert_ok(json_open(span_of(p->body, p->n), &body));
    assert_int_equal(json_count(json_member(body, "devices")), 64);
    json_close(body);
    forget_world(&w);
    forget_clinic(&k);
}

/* Asked for again after a quarter of the time waited so far: often at first, for somebody may be choosing a PIN; then hardly
 * ever. Another device that is listed meanwhile does not wait. */
static void a_device_that_never_publishes(void **state) {
    clinic k;
    size_t asked = 0;
    make_clinic(&k, 2);
    new_roster(&k, 0);
    make_conversation(&k, 0, NULL);
    new_roster(&k, 1);
    for (int64_t until = k.w.now + 12ll * HOUR_MS; k.w.now < until;) {
        if (find(&k.w, "POST", "/v1/key-packages/claim") != NULL) {
            asked++;
            give(&k, 0, 0);
            assert_null(find(&k.w, "POST", "/v1/key-packages/claim"));
        }
        pending *p = find(&k.w, "GET", "/v1/inbox");
        if (p != NULL)
            answer(&k.w, p, 0, "");
        assert_true(k.w.timer >= 0);
        tick(&k.w, k.w.timer > 1000 ? k.w.timer : 1000);
    }
    assert_in_range(asked, 30, 60); /* every minute: 720 */
    new_roster(&k, 2);
    bool among;
    (void)claimed_now(&k, &k.staff[1], &among);
    assert_true(among);
    give(&k, 1, 2);
    assert_int_equal(commit_comes_back(&k, 0), 1);
    /* It comes at last: at the latest an hour later. */
    for (int i = 0; i < 2 && find(&k.w, "POST", "/v1/key-packages/claim") == NULL; i++)
        tick(&k.w, HOUR_MS);
    give(&k, 0, 1);
    assert_int_equal(commit_comes_back(&k, 0), 1);
    assert_int_equal(members_of(&k, 0), 4);
    forget_clinic(&k);
}

/* Each conversation has its turn: who is missing in one holds up no other, and nobody is asked twice for what is not there. */
static void conversations_take_turns(void **state) {
    clinic k;
    bool among;
    make_clinic(&k, 3);
    new_roster(&k, 0);
    make_conversation(&k, 0, NULL);
    make_conversation(&k, 1, NULL);
    new_roster(&k, 3);
    assert_int_equal(claimed_now(&k, NULL, NULL), 3);
    give(&k, 1, 2); /* of the three one has come */
    assert_null(find(&k.w, "POST", "/v1/key-packages/claim"));
    assert_int_equal(commit_comes_back(&k, 0), 1);
    assert_int_equal(claimed_now(&k, &k.staff[1], &among), 1); /* the other conversation, at once: only who is there */
    assert_true(among);
    give(&k, 1, 2);
    assert_int_equal(commit_comes_back(&k, 1), 1);
    nothing_is_asked(&k);
    tick(&k.w, 60000);
    assert_int_equal(claimed_now(&k, &k.staff[1], &among), 2);
    assert_false(among);
    give(&k, 0, 1);
    assert_int_equal(commit_comes_back(&k, 0), 1);
    give(&k, 0, 1);
    assert_int_equal(commit_comes_back(&k, 1), 1);
    assert_int_equal(members_of(&k, 0), 4);
    assert_int_equal(members_of(&k, 1), 4);
    forget_clinic(&k);
}

/* Removed and added again: it is in the conversation again, with its texts; but not by an old Welcome that comes again. */
static void removed_and_added_again(void **state) {
    clinic k;
    commit_output out;
    staged_commit *staged;
    conversation_view v;
    make_clinic(&k, 1);
    world *w = &k.w;
    person *p = &k.staff[0]; /* who may do that too */
    make_staff(p, &root, FOUNDER_RIGHTS);
    make_key_package(p);
    new_roster(&k, 1);
    make_conversation(&k, 0, p);
    w->group = k.groups[0];
    w->conversation = 1;
    deliver(w, "message", p, written(p, "before", 0));
    settle(&k);
    assert_ok(send_text(w, "ours"));
    settle(&k);

    uint32_t us = 1;
    commit_params remove = {.removes = &us, .remove_count = 1, .force_path = true};
    commit_params add = {.adds = &k.last_resort, .add_count = 1, .force_path = true};
    deliver(w, "commit", p, commit_by(p, &remove, true));
    view(w, &v);
    assert_string_equal(v.state, "left");
    w->told_count = 0;
    assert_ok(group_stage_commit(p->group, &add, &heap, &out, &staged));
    assert_ok(group_merge_commit(p->group, staged, &heap));
    span again = out.welcome;
    (void)written(p, "not for us", 0);
    deliver(w, "welcome", p, again);
    assert_told_nothing(w);
    view(w, &v);
    assert_string_equal(v.state, "active");
    assert_int_equal(v.member_count, 3);
    assert_int_equal(v.epoch, 3);
    settle(&k);
    assert_true(shows(w, "before"));
    deliver(w, "message", p, written(p, "after", 0));
    assert_true(shows(w, "after"));
    assert_told_nothing(w); /* what was written meanwhile was not for us: no gap */
    settle(&k);
    assert_ok(send_text(w, "still ours"));
    incoming in;
    content o;
    pending *sent = find(w, "POST", "/messages");
    span body;
    assert_ok(arena_copy(&heap, span_of(sent->body, sent->n), &body));
    assert_ok(group_process(p->group, body, &heap, &in));
    assert_ok(content_read(in.plaintext, &heap, &o));
    assert_span(o.text, span_text("still ours"));
    assert_int_equal(o.counter, 3); /* after names and a receipt: a chain of its own, as the others see it */
    settle(&k);

    deliver(w, "welcome", p, again); /* while in it: a copy */
    assert_told(w, "replayed");
    w->told_count = 0;
    deliver(w, "commit", p, commit_by(p, &remove, true));
    assert_told(w, "removed");
    w->told_count = 0;
    deliver(w, "welcome", p, again); /* into the epoch before */
    assert_told(w, "replayed");
    view(w, &v);
    assert_string_equal(v.state, "left");
    group_close(p->group);
    forget_clinic(&k);
}

/* What a patient says of a text, by its id. */
static void receipt(clinic *k, size_t from, uint8_t receipt_state, const uint8_t *id) {
    person *p = &k->patients[from];
    content_id one;
    content o = {.version = CONTENT_VERSION, .kind = CONTENT_RECEIPT, .receipt_state = receipt_state, .sent_ms = 1};
    span encoded, message;
    memcpy(one.b, id, sizeof one.b);
    o.receipts.p = &one;
    o.receipts.n = 1;
    o.counter = ++p->counter;
    memcpy(o.previous, p->previous, sizeof o.previous);
    assert_ok(WIRE_ENCODE(&heap, wire_content, &o, &encoded));
    sha256(encoded, p->previous);
    assert_ok(group_protect(p->group, encoded, SPAN_NONE, &heap, &message));
    assert_ok(inbox(&k->w, event_json(&k->w, "message", k->groups[from], p, message)));
}

static message_state state_of_text(clinic *k, const uint8_t *id) {
    message_view v;
    begin(&k->w);
    assert_ok(client_message(k->w.c, &k->w.arena, span_of(id, MESSAGE_ID_SIZE), &v));
    assert_ok(finish(&k->w, OK));
    return v.state;
}

/* Nobody can say that another patient read something, or have it sent again. */
static void a_receipt_counts_within_its_conversation(void **state) {
    clinic k;
    uint8_t id[MESSAGE_ID_SIZE];
    make_clinic(&k, 0);
    new_roster(&k, 0);
    make_conversation(&k, 0, NULL);
    make_conversation(&k, 1, NULL);
    begin(&k.w);
    assert_ok(finish(&k.w, client_message_send(k.w.c, &k.w.fx, 1, span_text("for one"), id)));
    settle(&k);
    assert_int_equal(state_of_text(&k, id), MESSAGE_SENT);
    receipt(&k, 1, MESSAGE_DELIVERED, id);
    receipt(&k, 1, MESSAGE_READ, id);
    assert_int_equal(state_of_text(&k, id), MESSAGE_SENT);
    receipt(&k, 1, MESSAGE_FAILED, id);
    assert_null(find(&k.w, "POST", "/messages"));
    receipt(&k, 0, MESSAGE_FAILED, id);
    assert_non_null(find(&k.w, "POST", "/messages"));
    settle(&k);
    receipt(&k, 0, MESSAGE_DELIVERED, id);
    assert_int_equal(state_of_text(&k, id), MESSAGE_DELIVERED);
    receipt(&k, 0, MESSAGE_READ, id);
    assert_int_equal(state_of_text(&k, id), MESSAGE_READ);
    assert_told_nothing(&k.w);
    forget_clinic(&k);
}

static int64_t rows_written(clinic *k) {
    query q;
    int64_t rows = 0;
    query_init(&q, k->w.c->store, "SELECT total_changes()");
    if (query_row(&q))
        rows = query_int(&q, 0);
    assert_ok(query_end(&q));
    return rows;
}

/* Rows that one text costs the store: received with its receipt, sent and taken. */
static void cost_of_texts(clinic *k, int64_t *received, int64_t *sent) {
    world *w = &k->w;
    person *p = &k->patients[0];
    for (int i = 0; i < 2; i++) { /* the first of an epoch derives its sender's ratchets */
        int64_t before = rows_written(k);
        deliver(w, "message", p, written(p, "theirs", 0));
        settle(k);
        *received = rows_written(k) - before;
        before = rows_written(k);
        assert_ok(send_text(w, "ours"));
        settle(k);
        *sent = rows_written(k) - before;
    }
}

/* Neither loading nor writing grows with the members (tests/unit/mls_grain_test.c says what the group's records cost). */
static void a_text_costs_the_same_among_many(void **state) {
    clinic k;
    int64_t received[2], sent[2];
    make_clinic(&k, STAFF_MAX);
    new_roster(&k, 0);
    make_conversation(&k, 0, NULL);
    k.w.group = k.groups[0];
    k.w.conversation = 1;
    cost_of_texts(&k, &received[0], &sent[0]);
    new_roster(&k, STAFF_MAX);
    for (int i = 0; i < 2; i++) {
        give(&k, 0, STAFF_MAX);
        (void)commit_comes_back(&k, 0);
    }
    assert_int_equal(members_of(&k, 0), STAFF_MAX + 2);
    cost_of_texts(&k, &received[1], &sent[1]);
    assert_int_equal(received[0], received[1]);
    assert_int_equal(sent[0], sent[1]);
    assert_in_range(sent[0], 1, 6); /* message twice, its job twice, our chain, a ratchet */
    assert_in_range(received[0], 1,
                    10); /* cursor, message, sender, a ratchet; receipt twice, its job twice, chain, ratchet */
    forget_clinic(&k);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(more_devices_than_one_claim_holds),
        cmocka_unit_test(the_absent_do_not_hold_up_the_others),
        cmocka_unit_test(a_patient_makes_it_with_the_first),
        cmocka_unit_test(a_device_that_never_publishes),
        cmocka_unit_test(conversations_take_turns),
        cmocka_unit_test(removed_and_added_again),
        cmocka_unit_test(a_receipt_counts_within_its_conversation),
        cmocka_unit_test(a_text_costs_the_same_among_many),
    };
    world_init();
    int failed = cmocka_run_group_tests_name("client_members", tests, NULL, NULL);
    arena_free(&heap);
    return failed;
}
