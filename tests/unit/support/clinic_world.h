/* clinic_world.h: a patient's real client (core/client), and a clinic whose devices are MLS groups without any check, so that
 * they can do what no client of ours would. The relay is this file: a test answers what the client asks, as it likes.
 *
 * Functions are in the header so that a failed check is the test's own, and only those who want cmocka link it. The test
 * calls world_init first. */
#ifndef SUPPORT_CLINIC_WORLD_H
#define SUPPORT_CLINIC_WORLD_H

#include "client/state.h"

#include "base/text.h"
#include "client/relay_json.h"
#include "client/roster.h"
#include "crypto/sha256.h"
#include "mls/group.h"
#include "support/check.h"
#include "support/host.h"

#define NOW 1800000000ull /* seconds */
#define PENDING_MAX 64
#define TOLD_MAX 64

/* ---------------------------------------------------------------- people and their keys */

typedef struct person {
    signature_key key;
    certificate list[6];
    size_t n;
    group *group;
    key_package_secrets secrets;
    span key_package;
    uint64_t counter;
    uint8_t previous[CONTENT_HASH_SIZE];
} person;

static arena heap; /* of one test */
static signature_key root, other_root;

static inline const uint8_t *public_of(const signature_key *key) { return signature_key_public(key).p; }

static inline void fresh_key(signature_key *key) {
    uint8_t seed[ED25519_SEED_SIZE];
    host_random(seed, sizeof seed);
    signature_key_from_seed(seed, key);
}

static inline void world_init(void) {
    crypto_init();
    host_set_log_level(4); /* stores fail here, as they should */
    fresh_key(&root);
    fresh_key(&other_root);
    assert_ok(arena_init(&heap, 64u << 20));
}

static inline certificate_chain chain_of(person *p) { return (certificate_chain){p->list, p->n}; }

static inline span encoded_chain(person *p) {
    certificate_chain chain = chain_of(p);
    span bytes;
    assert_ok(WIRE_ENCODE(&heap, wire_certificate_chain, &chain, &bytes));
    return bytes;
}

static inline void device_of(const person *p, uint8_t id[ID_SIZE]) { device_id_of(public_of(&p->key), id); }

static inline certificate make_cert(const signature_key *clinic, const signature_key *holder, uint8_t kind,
                                    uint32_t rights) {
    certificate c = {.kind = kind, .rights = rights, .not_before = NOW - 1000, .not_after = NOW + 86400};
    clinic_id_of(public_of(clinic), c.clinic_id);
    memcpy(c.subject_key, public_of(holder), ED25519_PUBLIC_SIZE);
    host_random(c.subject_id, ID_SIZE);
    return c;
}

/* A member of staff whom a clinic's root certified. */
static inline void make_staff(person *p, const signature_key *clinic, uint32_t rights) {
    *p = (person){.n = 1};
    fresh_key(&p->key);
    p->list[0] = make_cert(clinic, &p->key, CERTIFICATE_STAFF, rights);
    assert_ok(certificate_issue(&p->list[0], clinic));
}

/* A patient whom `by` invited. subject: NULL for a new one, or whose other device it is. */
static inline void make_patient(person *p, person *by, const uint8_t *subject) {
    signature_key invite;
    *p = (person){.n = by->n + 2};
    fresh_key(&invite);
    fresh_key(&p->key);
    memcpy(p->list, by->list, by->n * sizeof *p->list);
    certificate *c = &p->list[by->n];
    c[0] = make_cert(&root, &invite, CERTIFICATE_INVITE, RIGHT_MESSAGE);
    c[0].enrols = CERTIFICATE_PATIENT;
    if (subject != NULL)
        memcpy(c[0].subject_id, subject, ID_SIZE);
    assert_ok(certificate_issue(&c[0], &by->key));
    c[1] = make_cert(&root, &p->key, CERTIFICATE_PATIENT, RIGHT_MESSAGE);
    memcpy(c[1].subject_id, c[0].subject_id, ID_SIZE);
    assert_ok(certificate_issue(&c[1], &invite));
}

/* A leaf that says what it likes. chain: what stands in its extension, SPAN_NONE for no extension. */
typedef struct loose_leaf {
    extension extension;
    leaf_params params;
} loose_leaf;

static inline void make_leaf(loose_leaf *l, span identity, const signature_key *signer, span chain) {
    l->extension = (extension){EXTENSION_CERTIFICATES, chain};
    l->params =
        (leaf_params){.identity = identity, .signer = signer, .not_before = NOW - 500, .not_after = NOW + 80000};
    if (chain.p != NULL)
        l->params.extensions = (extension_list){&l->extension, 1};
}

static inline span subject_of(const person *p) { return SPAN(p->list[p->n - 1].subject_id); }

static inline span make_package(const loose_leaf *l, key_package_secrets *secrets) {
    span encoded;
    assert_ok(key_package_create(suite_find(SUITE_XWING), &l->params, false, &heap, &encoded, secrets));
    return encoded;
}

static inline void make_key_package(person *p) {
    loose_leaf leaf;
    make_leaf(&leaf, subject_of(p), &p->key, encoded_chain(p));
    p->key_package = make_package(&leaf, &p->secrets);
}

static uint64_t loose_now(void *ctx) { return NOW * 1000; }
static const group_host loose_host = {.now = loose_now}; /* checks nothing, keeps nothing */

/* ---------------------------------------------------------------- the world */

typedef struct pending {
    uint64_t id; /* 0: free */
    char method[8], path[300];
    uint8_t *body;
    size_t n;
} pending;

typedef struct world {
    client *c;
    arena arena;
    effects fx;
    pending pending[PENDING_MAX];
    const char *told[TOLD_MAX];
    size_t told_count;
    int64_t seq, now, timer;
    person keeper, insider, patient; /* with RIGHT_ROSTER; without; whose client c is */
    uint64_t roster_number;
    char *group; /* base64url of the group's id */
    int64_t conversation;
} world;

static inline void begin(world *w) {
    arena_reset(&w->arena);
    assert_ok(client_begin(w->c, &w->arena, &w->fx));
}

/* Ends a command, and takes what it wants of the host. */
static inline err finish(world *w, err e) {
    e = client_finish(w->c, e);
    for (const http_request *r = w->fx.requests; r != NULL; r = r->next) {
        size_t i = 0;
        while (i < PENDING_MAX && w->pending[i].id != 0)
            i++;
        assert_true(i < PENDING_MAX);
        pending *p = &w->pending[i];
        *p = (pending){.id = r->id, .n = r->body.n, .body = malloc(r->body.n + 1)};
        snprintf(p->method, sizeof p->method, "%s", r->method);
        snprintf(p->path, sizeof p->path, "%s", r->path);
        if (r->body.n > 0)
            memcpy(p->body, r->body.p, r->body.n);
    }
    for (const event *v = w->fx.events; v != NULL; v = v->next)
        if (v->kind == EVENT_NOTICE && w->told_count < TOLD_MAX) {
            assert_true(strlen(v->text) > 20); /* in plain words */
            w->told[w->told_count++] = v->code;
        }
    w->timer = w->fx.timer_ms;
    return e;
}

static inline pending *find(world *w, const char *method, const char *part) {
    for (size_t i = 0; i < PENDING_MAX; i++)
        if (w->pending[i].id != 0 && strcmp(w->pending[i].method, method) == 0 &&
            strstr(w->pending[i].path, part) != NULL)
            return &w->pending[i];
    return NULL;
}

static inline void forget(pending *p) {
    free(p->body);
    *p = (pending){0};
}

static inline err answer_bytes(world *w, pending *p, int status, span body) {
    assert_non_null(p);
    uint64_t id = p->id;
    forget(p);
    begin(w);
    return finish(w, client_http_reply(w->c, &w->fx, id, status, -1, body));
}

static inline void answer(world *w, pending *p, int status, const char *body) {
    assert_ok(answer_bytes(w, p, status, span_text(body)));
}

static inline void tick(world *w, int64_t ms) {
    w->now += ms;
    host_set_now((double)w->now);
    begin(w);
    assert_ok(finish(w, client_tick(w->c, &w->fx)));
}

/* The inbox's answer with these events, a list of JSON objects. */
static inline err inbox(world *w, const char *events) {
    size_t n = strlen(events) + 64;
    char *body = malloc(n);
    assert_non_null(body);
    int size = snprintf(body, n, "{\"events\":[%s],\"next\":%lld}", events, (long long)w->seq);
    if (find(w, "GET", "/v1/inbox") == NULL)
        tick(w, 40000);
    err e = answer_bytes(w, find(w, "GET", "/v1/inbox"), 200, span_of(body, (size_t)size));
    free(body);
    return e;
}

static inline char *event_json(world *w, const char *kind, const char *group, const person *sender, span data) {
    uint8_t device[ID_SIZE];
    device_of(sender, device);
    char *bytes = base64url_text(&heap, data), *name = base64url_text(&heap, SPAN(device));
    size_t n = strlen(bytes) + 400;
    char *text = arena_take(&heap, n, 1);
    snprintf(text, n,
             "{\"seq\":%lld,\"kind\":\"%s\",\"group\":\"%s\",\"sender\":\"%s\",\"id\":\"AAAAAAAAAAAAAAAAAAAAAA\","
             "\"epoch\":0,\"at\":1,\"data\":\"%s\"}",
             (long long)++w->seq, kind, group, name, bytes);
    return text;
}

static inline void deliver(world *w, const char *kind, const person *sender, span data) {
    assert_ok(inbox(w, event_json(w, kind, w->group, sender, data)));
}

static inline bool was_told(const world *w, const char *code) {
    for (size_t i = 0; i < w->told_count; i++)
        if (strcmp(w->told[i], code) == 0)
            return true;
    return false;
}

#define assert_told(w, code)                                                                                           \
    do {                                                                                                               \
        if (!was_told((w), (code)))                                                                                    \
            fail_msg("%s was not told, but %s", (code), (w)->told_count ? (w)->told[(w)->told_count - 1] : "nothing"); \
    } while (0)
#define assert_told_nothing(w)                                                                                         \
    do {                                                                                                               \
        if ((w)->told_count > 0)                                                                                       \
            fail_msg("%s was told", (w)->told[0]);                                                                     \
    } while (0)

static inline char *roster_json(world *w, person *const *members, size_t count, const person *revoked) {
    roster r = {.number = ++w->roster_number, .issued_ms = NOW * 1000};
    roster_member list[8];
    roster_revocation gone = {.at_ms = NOW * 1000};
    for (size_t i = 0; i < count; i++) {
        device_of(members[i], list[i].device_id);
        list[i].chain = chain_of(members[i]);
    }
    r.members.p = list;
    r.members.n = count;
    if (revoked != NULL) {
        device_of(revoked, gone.device_id);
        r.revoked.p = &gone;
        r.revoked.n = 1;
    }
    span bytes;
    assert_ok(roster_issue(&r, &root, &heap, &bytes));
    char *text = arena_take(&heap, BASE64URL_SIZE(bytes.n) + 80, 1);
    snprintf(text, BASE64URL_SIZE(bytes.n) + 80, "{\"number\":%llu,\"roster\":\"%s\"}", (unsigned long long)r.number,
             base64url_text(&heap, bytes));
    return text;
}

static inline char *claim_json(person *const *list, size_t count) {
    size_t n = 40;
    for (size_t i = 0; i < count; i++)
        n += BASE64URL_SIZE(list[i]->key_package.n) + 80;
    char *text = arena_take(&heap, n, 1), *at = text;
    at += sprintf(at, "{\"key_packages\":[");
    for (size_t i = 0; i < count; i++) {
        uint8_t device[ID_SIZE];
        device_of(list[i], device);
        at += sprintf(at, "%s{\"device\":\"%s\",\"key_package\":\"%s\"}", i ? "," : "",
                      base64url_text(&heap, SPAN(device)), base64url_text(&heap, list[i]->key_package));
    }
    sprintf(at, "]}");
    return text;
}

static inline void view(world *w, conversation_view *v) {
    begin(w);
    assert_ok(client_conversation(w->c, &w->arena, w->conversation, v));
    assert_ok(finish(w, OK)); /* the view stays until the next command */
}

/* An account like one that an invitation made, kept in memory or with a PIN. */
static inline void make_account(world *w, const char *pin) {
    held_invitation *h = calloc(1, sizeof *h);
    uint8_t seed[ED25519_SEED_SIZE];
    assert_non_null(h);
    make_patient(&w->patient, &w->keeper, NULL);
    /* The patient's own key, so that the client can have it: certified anew by the same invite is more than is needed. */
    host_random(seed, sizeof seed);
    signature_key invite;
    fresh_key(&invite);
    signature_key_from_seed(seed, &w->patient.key);
    certificate *c = &w->patient.list[w->keeper.n];
    memcpy(c[0].subject_key, public_of(&invite), ED25519_PUBLIC_SIZE);
    assert_ok(certificate_issue(&c[0], &w->keeper.key));
    memcpy(c[1].subject_key, public_of(&w->patient.key), ED25519_PUBLIC_SIZE);
    assert_ok(certificate_issue(&c[1], &invite));
    memcpy(h->device_seed, seed, sizeof seed);
    memcpy(h->root_key, public_of(&root), sizeof h->root_key);
    span chain = encoded_chain(&w->patient);
    memcpy(h->device_chain, chain.p, chain.n);
    h->device_chain_size = chain.n;
    h->enrols = CERTIFICATE_PATIENT;
    h->opened = h->accepted = true;
    memcpy(h->relay, "https://relay.test", 18);
    h->relay_size = 18;
    memcpy(h->clinic_name, "Clinic", 6);
    h->clinic_name_size = 6;
    w->c->held = h;
    begin(w);
    assert_ok(finish(w, client_account_create(w->c, &w->fx, span_text(pin))));
}

static inline void join(person *p, span welcome) {
    join_params params = {.welcome = welcome, .key_package = p->key_package, .secrets = &p->secrets, .signer = &p->key};
    assert_ok(group_join(&loose_host, &params, &heap, &p->group));
}

static inline void forget_world(world *w) {
    for (size_t i = 0; i < PENDING_MAX; i++)
        if (w->pending[i].id != 0)
            forget(&w->pending[i]);
    group_close(w->keeper.group);
    group_close(w->insider.group);
    client_free(w->c);
    arena_free(&w->arena);
    host_set_now(-1);
}

static inline void make_world(world *w, const char *store, const char *pin) {
    *w = (world){.now = (int64_t)NOW * 1000};
    arena_reset(&heap);
    host_set_now((double)w->now);
    assert_ok(arena_init(&w->arena, 8u << 20));
    assert_ok(client_new(store, &w->c));
    make_staff(&w->keeper, &root, FOUNDER_RIGHTS);
    make_staff(&w->insider, &root, STAFF_RIGHTS);
    make_key_package(&w->keeper);
    make_key_package(&w->insider);
    make_account(w, pin);
}

static inline person *const *staff_of(world *w) {
    static person *list[2];
    list[0] = &w->keeper;
    list[1] = &w->insider;
    return list;
}

/* The patient's client makes the conversation with keeper and insider, all honest. */
static inline void converse(world *w) {
    json *body;
    span group, commit, welcome;
    answer(w, find(w, "PUT", "/v1/key-packages"), 200, "{\"count\":3}");
    answer(w, find(w, "GET", "/v1/roster"), 200, roster_json(w, staff_of(w), 2, NULL));
    answer(w, find(w, "POST", "/v1/key-packages/claim"), 200, claim_json(staff_of(w), 2));
    pending *p = find(w, "POST", "/commits");
    assert_non_null(p);
    assert_ok(json_open(span_of(p->body, p->n), &body));
    assert_ok(json_bytes(body, "commit", &heap, &commit));
    assert_ok(json_bytes(body, "welcome", &heap, &welcome));
    json_close(body);
    assert_ok(base64url_decode(&heap, span_of((const uint8_t *)p->path + 11, 43), &group));
    w->group = base64url_text(&heap, group);
    answer(w, p, 200, "{\"seq\":1,\"epoch\":1}");
    deliver(w, "commit", &w->patient, commit);
    join(&w->keeper, welcome);
    join(&w->insider, welcome);
    w->conversation = 1;
    conversation_view v;
    view(w, &v);
    assert_string_equal(v.state, "active");
    assert_int_equal(v.member_count, 3);
    assert_told_nothing(w);
}

static inline void start(world *w) {
    make_world(w, "", "");
    converse(w);
}

/* What a member writes, honestly wrapped. id: 0 for a new one. */
static inline span written(person *p, const char *text, uint8_t id) {
    content o = {.version = CONTENT_VERSION, .kind = CONTENT_TEXT, .text = span_text(text), .sent_ms = NOW * 1000};
    span encoded, message;
    if (id != 0)
        memset(o.id, id, sizeof o.id);
    else
        host_random(o.id, sizeof o.id);
    o.counter = ++p->counter;
    memcpy(o.previous, p->previous, sizeof o.previous);
    assert_ok(WIRE_ENCODE(&heap, wire_content, &o, &encoded));
    sha256(encoded, p->previous);
    assert_ok(group_protect(p->group, encoded, SPAN_NONE, &heap, &message));
    return message;
}

static inline bool shows(world *w, const char *text) {
    message_view *list;
    size_t count;
    bool found = false;
    begin(w);
    assert_ok(client_messages(w->c, &w->arena, w->conversation, 0, 200, &list, &count));
    for (size_t i = 0; i < count; i++)
        found = found || (list[i].kind == ENTRY_TEXT && span_equal(list[i].text, span_text(text)));
    assert_ok(finish(w, OK));
    return found;
}

static inline size_t notices_shown(world *w, const char *code) {
    message_view *list;
    size_t count, found = 0;
    begin(w);
    assert_ok(client_messages(w->c, &w->arena, w->conversation, 0, 200, &list, &count));
    for (size_t i = 0; i < count; i++)
        found += list[i].kind == ENTRY_NOTICE && strcmp(list[i].code, code) == 0;
    assert_ok(finish(w, OK));
    return found;
}

static inline err send_text(world *w, const char *text) {
    uint8_t id[MESSAGE_ID_SIZE];
    begin(w);
    return finish(w, client_message_send(w->c, &w->fx, w->conversation, span_text(text), id));
}

static inline span commit_by(person *p, const commit_params *params, bool merge) {
    commit_output out;
    staged_commit *staged;
    assert_ok(group_stage_commit(p->group, params, &heap, &out, &staged));
    if (merge)
        assert_ok(group_merge_commit(p->group, staged, &heap));
    else
        group_drop_commit(p->group, staged);
    return out.commit;
}

/* The conversation is paused: told, in it too; nothing goes out by it, nothing of it comes in; what was there stays. */
static inline void assert_paused(world *w) {
    conversation_view v;
    assert_told(w, "member_refused");
    assert_int_equal(notices_shown(w, "member_refused"), 1);
    view(w, &v);
    assert_string_equal(v.state, "broken");
    assert_int_equal(v.member_count, 3);
    assert_int_equal(v.epoch, 1);
    assert_err(send_text(w, "not for strangers"), ERR_STATE);
    assert_null(find(w, "POST", "/v1/groups/"));
    deliver(w, "message", &w->keeper, written(&w->keeper, "behind it", 0));
    assert_false(shows(w, "behind it"));
    assert_true(shows(w, "before it"));
}

/* A delivered text, and its receipt off the table. */
static inline void before(world *w) {
    deliver(w, "message", &w->keeper, written(&w->keeper, "before it", 0));
    assert_true(shows(w, "before it"));
    answer(w, find(w, "POST", "/messages"), 200, "{\"seq\":2}");
    assert_told_nothing(w);
}

#endif
