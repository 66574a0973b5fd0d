#include "relay.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <sodium/randombytes.h>

#include "base/secret.h"
#include "base/text.h"
#include "audit.h"
#include "nonce.h"
#include "rate.h"
#include "session.h"
#include "verify.h"
#include "who.h"

/* The largest request's strings decoded, beside its chain: twice the body is ample. */
#define SCRATCH_SIZE (4 * 1024 * 1024)

typedef struct route {
    http_method method;
    const char *path; /* {} stands for one segment; two at most */
    who_asks who;
    bool json;
    bool enrols;     /* also under the rate of enrolments */
    size_t body_max; /* 0: has no content */
    audit_call audit;
    bool (*run)(call *c);
} route;

static const route ROUTES[] = {
    {METHOD_GET, "/.well-known/sotto", WHO_ANYBODY, false, false, 0, AUDIT_NOTHING, call_well_known},
    {METHOD_POST, "/v1/clinics", WHO_CLINIC, true, true, BODY_MAX, AUDIT_CREATE_CLINIC, call_clinic_create},
    {METHOD_POST, "/v1/devices", WHO_ENROLS, true, true, BODY_MAX, AUDIT_ENROL, call_device_enrol},
    {METHOD_GET, "/v1/devices/{}", WHO_DEVICE, false, false, 0, AUDIT_READ_DEVICE, call_device_get},
    {METHOD_DELETE, "/v1/devices/{}", WHO_DEVICE, false, false, 0, AUDIT_REVOKE, call_device_revoke},
    {METHOD_PUT, "/v1/key-packages", WHO_DEVICE, true, false, BODY_MAX, AUDIT_PUBLISH_KEY_PACKAGES,
     call_key_packages_put},
    {METHOD_GET, "/v1/key-packages", WHO_DEVICE, false, false, 0, AUDIT_NOTHING, call_key_packages_get},
    {METHOD_POST, "/v1/key-packages/claim", WHO_DEVICE, true, false, BODY_MAX, AUDIT_CLAIM_KEY_PACKAGES,
     call_key_packages_claim},
    {METHOD_POST, "/v1/groups/{}/commits", WHO_DEVICE, true, false, BODY_MAX, AUDIT_COMMIT, call_commit},
    {METHOD_POST, "/v1/groups/{}/messages", WHO_DEVICE, false, false, MESSAGE_MAX, AUDIT_MESSAGE, call_message},
    {METHOD_DELETE, "/v1/groups/{}/messages/{}", WHO_DEVICE, false, false, 0, AUDIT_WITHDRAW_MESSAGE,
     call_message_withdraw},
    {METHOD_PUT, "/v1/blobs/{}", WHO_DEVICE, false, false, BLOB_PIECE_MAX, AUDIT_PUT_BLOB, call_blob_put},
    {METHOD_GET, "/v1/blobs/{}", WHO_DEVICE, false, false, 0, AUDIT_READ_BLOB, call_blob_get},
    {METHOD_DELETE, "/v1/blobs/{}", WHO_DEVICE, false, false, 0, AUDIT_DELETE_BLOB, call_blob_delete},
    {METHOD_GET, "/v1/blobs/{}/state", WHO_DEVICE, false, false, 0, AUDIT_NOTHING, call_blob_state},
    {METHOD_GET, "/v1/inbox", WHO_DEVICE, false, false, 0, AUDIT_INBOX, call_inbox},
    {METHOD_POST, "/v1/invitations", WHO_DEVICE, true, false, BODY_MAX, AUDIT_INVITE, call_invitation_create},
    {METHOD_GET, "/v1/invitations", WHO_DEVICE, false, false, 0, AUDIT_LIST_INVITATIONS, call_invitation_list},
    {METHOD_GET, "/v1/invitations/{}", WHO_INVITE, false, true, 0, AUDIT_READ_INVITATION, call_invitation_get},
    {METHOD_DELETE, "/v1/invitations/{}", WHO_DEVICE, false, false, 0, AUDIT_WITHDRAW, call_invitation_withdraw},
    {METHOD_PUT, "/v1/roster", WHO_DEVICE, true, false, BODY_MAX, AUDIT_PUBLISH_ROSTER, call_roster_put},
    {METHOD_GET, "/v1/roster", WHO_DEVICE_OR_INVITE, false, false, 0, AUDIT_READ_ROSTER, call_roster_get},
    /* Everybody looks at checkpoints all the time; if that were an entry, there would always be one to make. */
    {METHOD_GET, "/v1/audit/checkpoint", WHO_DEVICE, false, false, 0, AUDIT_NOTHING, call_audit_checkpoint},
    {METHOD_GET, "/v1/audit", WHO_DEVICE, false, false, 0, AUDIT_READ_AUDIT, call_audit_read},
    {METHOD_POST, "/v1/audit", WHO_DEVICE, true, false, BODY_MAX, AUDIT_CLIENT_EVENT, call_audit_add},
    {METHOD_PUT, "/v1/push", WHO_DEVICE, true, false, BODY_MAX, AUDIT_PUT_PUSH, call_push_put},
    {METHOD_DELETE, "/v1/push", WHO_DEVICE, false, false, 0, AUDIT_DELETE_PUSH, call_push_delete},
    {METHOD_GET, "/v1/retention", WHO_DEVICE, false, false, 0, AUDIT_NOTHING, call_retention_get},
    {METHOD_PUT, "/v1/retention", WHO_DEVICE, true, false, BODY_MAX, AUDIT_SET_RETENTION, call_retention_put},
    {METHOD_DELETE, "/v1/retention", WHO_DEVICE, false, false, 0, AUDIT_SET_RETENTION, call_retention_delete},
    {METHOD_GET, "/v1/policy", WHO_DEVICE_LOCKED, false, false, 0, AUDIT_NOTHING, call_policy_get},
    {METHOD_PUT, "/v1/policy", WHO_DEVICE, true, false, BODY_MAX, AUDIT_SET_POLICY, call_policy_put},
    {METHOD_GET, "/v1/verifiers", WHO_DEVICE_LOCKED, false, false, 0, AUDIT_NOTHING, call_verifier_list},
    {METHOD_POST, "/v1/verifiers", WHO_DEVICE_LOCKED, true, false, BODY_MAX, AUDIT_REGISTER_VERIFIER,
     call_verifier_register},
    {METHOD_DELETE, "/v1/verifiers/{}", WHO_DEVICE, false, false, 0, AUDIT_REMOVE_VERIFIER, call_verifier_remove},
    {METHOD_DELETE, "/v1/devices/{}/verifiers", WHO_DEVICE, false, false, 0, AUDIT_RESET_VERIFIERS,
     call_verifier_reset},
    {METHOD_POST, "/v1/session/challenge", WHO_DEVICE_LOCKED, false, false, 0, AUDIT_NOTHING, call_session_challenge},
    {METHOD_GET, "/v1/session", WHO_DEVICE_LOCKED, false, false, 0, AUDIT_NOTHING, call_session_get},
    {METHOD_POST, "/v1/session", WHO_DEVICE_LOCKED, true, false, BODY_MAX, AUDIT_BEGIN_SESSION, call_session_begin},
    {METHOD_PUT, "/v1/session", WHO_DEVICE, false, false, 0, AUDIT_NOTHING, call_session_prolong},
    {METHOD_DELETE, "/v1/session", WHO_DEVICE_LOCKED, false, false, 0, AUDIT_END_SESSION, call_session_end},
};

/* ---- one request */

static bool path_matches(const char *pattern, span path, span ids[2]) {
    size_t n = 0;
    ids[0] = ids[1] = SPAN_NONE;
    if (path.n == 0)
        return false;
    const uint8_t *p = path.p, *end = path.p + path.n;
    for (; *pattern; pattern++) {
        if (*pattern == '{') {
            const uint8_t *start = p;
            while (p < end && *p != '/')
                p++;
            ids[n++] = span_of(start, (size_t)(p - start));
            pattern++; /* the } */
        } else if (p < end && *p == (uint8_t)*pattern) {
            p++;
        } else {
            return false;
        }
    }
    return p == end;
}

static const route *find_route(const request *rq, span ids[2]) {
    for (size_t i = 0; i < sizeof ROUTES / sizeof *ROUTES; i++)
        if (ROUTES[i].method == rq->method && path_matches(ROUTES[i].path, rq->path, ids))
            return &ROUTES[i];
    return NULL;
}

const char *relay_call_of(const request *rq) {
    span ids[2];
    const route *way = find_route(rq, ids);
    return way != NULL ? way->path : NULL;
}

/* Of any case, with or without parameters (RFC 9110 §8.3.1). */
static bool media_type_is(span given, const char *wanted) {
    size_t n = strlen(wanted);
    for (size_t i = 0; i < n; i++) {
        uint8_t c = i < given.n ? given.p[i] : 0;
        if ((c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c) != (uint8_t)wanted[i])
            return false;
    }
    return given.n == n || given.p[n] == ';' || given.p[n] == ' ';
}

static const char *content_type_of(const route *way) {
    return way->json ? "application/json" : way->run == call_blob_put ? "application/octet-stream" : "message/mls";
}

/* What can be said of a request before anything is looked up. */
static bool is_in_form(call *c, const route *way) {
    const relay_options *options = &c->relay->options;
    const request *rq = c->rq;
    if (who_is_slowed(c, RATE_OF_ADDRESS, rq->address, options->rate_address, "too many requests from this address"))
        return false;
    if (options->authority != NULL && !span_equal(rq->authority, span_text(options->authority))) {
        problem(c, PROBLEM_MALFORMED, "Host is not this relay's name");
        return false;
    }
    if (way == NULL) {
        problem(c, PROBLEM_NOT_FOUND, "there is no such call");
        return false;
    }
    if (way->enrols && who_is_slowed(c, RATE_OF_ENROLMENT, rq->address, options->rate_enrol,
                                     "too many enrolments and invitation reads from this address"))
        return false;
    if (rq->body.n > 0 && way->body_max == 0) {
        problem(c, PROBLEM_MALFORMED, "this call has no content");
        return false;
    }
    if (rq->body.n > way->body_max) {
        problem_more(c, PROBLEM_TOO_LARGE, "the content is larger than this call takes", "limit",
                     (int64_t)way->body_max);
        return false;
    }
    if (way->body_max > 0 && rq->body.n > 0 && !media_type_is(rq->content_type, content_type_of(way))) {
        (void)problem_text(c, PROBLEM_MALFORMED, "Content-Type must be %s", content_type_of(way));
        return false;
    }
    return true;
}

static void run_call(call *c) {
    const route *way = c->way;
    size_t wakes = c->relay->wakes.n;
    bool early_json = c->who == WHO_CLINIC || c->who == WHO_ENROLS;
    if (early_json)
        json_open(&c->json, c->rq->body, c->arena);
    if (c->who != WHO_ANYBODY && !who_authenticate(c)) {
        if (db_failed(c->db))
            relay_unavailable(c->rs);
        return;
    }
    if (way->json && !early_json)
        json_open(&c->json, c->rq->body, c->arena);
    if (json_faulty(c))
        return;
    batch_clinic before = c->state != NULL ? *c->state : (batch_clinic){0};
    db_savepoint(c->db);
    (void)way->run(c);
    bool done = c->rs->status != 0 && (c->rs->status < 400 || c->keep_changes);
    if (!db_failed(c->db) && !c->over_wakes && done) {
        db_release(c->db);
        if (!db_failed(c->db))
            return;
    }
    c->relay->wakes.n = wakes;
    if (c->state != NULL)
        *c->state = before;
    if (db_failed(c->db) || c->over_wakes)
        relay_unavailable(c->rs);
    db_rollback_to(c->db);
}

/* A 503 changed nothing and is asked again: it is no access. */
static void write_audit(call *c) {
    if (!c->authenticated || c->audited || c->way->audit == AUDIT_NOTHING || (c->not_audited && c->rs->status < 400) ||
        c->rs->status == 0 || c->rs->status == 503 || db_failed(c->db))
        return;
    if (c->who == WHO_CLINIC && c->state == NULL && !batch_open(c)) /* a refused one may be of a clinic that is known */
        return;
    audit_note(c, c->way->audit);
}

static void begin_call(relay *r, const request *rq, response *rs, call *c) {
    span ids[2];
    *c = (call){.relay = r, .db = r->db, .arena = &r->scratch, .rq = rq, .rs = rs, .now_ms = r->now_ms};
    *rs = (response){0};
    c->way = find_route(rq, ids);
    c->who = c->way != NULL ? c->way->who : WHO_ANYBODY;
    c->id = ids[0];
    c->second_id = ids[1];
    c->done = !is_in_form(c, c->way) || (c->who != WHO_ANYBODY && !who_head_in_form(c));
}

/* ---- a batch */

/* Where a clinic has rules for sessions each message is looked at by itself (who_authenticate). */
static void take_messages(relay *r, call *calls, size_t n) {
    call *list[BATCH_MAX];
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        if (!calls[i].done && calls[i].way->run == call_message && calls[i].nonce == NONCE_NEW &&
            !calls[i].state->has_policy)
            list[count++] = &calls[i];
    if (count > 0)
        messages_take(r, list, count);
}

void relay_handle_all(relay *r, const request *const *requests, response *const *responses, size_t n) {
    call *calls = r->calls;
    arena_reset(&r->scratch);
    if (r->clinics_count + 2 * n > CLINICS_A_BATCH_MAX)
        batch_write(r);
    for (size_t i = 0; i < n; i++)
        begin_call(r, requests[i], responses[i], &calls[i]);
    who_identify_all(r, calls, n);
    take_messages(r, calls, n);
    for (size_t i = 0; i < n; i++) {
        call *c = &calls[i];
        arena_reset(&r->scratch);
        if (!c->done && db_failed(r->db)) /* an earlier request of the batch lost the transaction */
            relay_unavailable(c->rs);
        else if (!c->done)
            run_call(c);
        write_audit(c);
        (*(c->promises_nothing ? &r->unpromising : &r->promises))++;
        json_close(&c->json);
        text_free(&c->out);
        if (c->rs->status == 0)
            relay_unavailable(c->rs);
    }
}

void relay_handle(relay *r, const request *rq, response *rs) { relay_handle_all(r, &rq, &rs, 1); }

/* ---- batches */

err relay_open(db *d, const relay_options *options, relay **out) {
    relay *r = calloc(1, sizeof *r);
    *out = NULL;
    if (r == NULL)
        return ERR_NO_MEMORY;
    uint64_t seed;
    randombytes_buf(&seed, sizeof seed);
    r->db = d;
    r->options = *options;
    r->calls = calloc(BATCH_MAX, sizeof *r->calls);
    if (r->calls == NULL) {
        relay_close(r);
        return ERR_NO_MEMORY;
    }
    if (options->origin != NULL)
        (void)snprintf(r->origin, sizeof r->origin, "%s", options->origin);
    else if (options->authority != NULL)
        (void)snprintf(r->origin, sizeof r->origin, "https://%s", options->authority);
    err e = arena_init(&r->scratch, SCRATCH_SIZE);
    if (e == OK)
        e = rate_open(RATE_SLOTS, seed, &r->rates);
    if (e == OK)
        e = rate_open(RATE_SLOTS, seed, &r->address_rates);
    if (e == OK)
        e = directory_open(seed, &r->directory);
    if (e == OK)
        e = nonces_open(&r->nonces);
    if (e == OK) {
        long processors = sysconf(_SC_NPROCESSORS_ONLN);
        e = verifiers_open(processors > 1 ? (size_t)processors - 1 : 0, &r->verifiers);
    }
    if (e == OK)
        e = audit_key_open(d, &r->audit_key);
    if (e != OK) {
        relay_close(r);
        return e;
    }
    *out = r;
    return OK;
}

void relay_close(relay *r) {
    if (r == NULL)
        return;
    if (r->scratch.base != NULL)
        arena_free(&r->scratch);
    rate_close(r->rates);
    rate_close(r->address_rates);
    directory_close(r->directory);
    nonces_close(r->nonces);
    verifiers_close(r->verifiers);
    wipe(&r->audit_key, sizeof r->audit_key);
    free(r->wakes.p);
    free(r->push_words[0].p);
    free(r->push_words[1].p);
    free(r->calls);
    free(r);
}

bool relay_batch_begin(relay *r, int64_t now_ms) {
    r->now_ms = now_ms;
    r->wakes.n = 0;
    r->clinics_count = 0;
    r->unpromising = r->promises = 0;
    nonces_begin(r);
    return db_begin(r->db) == OK;
}

static int by_device_and_push(const void *a, const void *b) {
    const wake *one = a, *other = b;
    int order = memcmp(one->device, other->device, ID_SIZE);
    return order != 0 ? order : (int)other->push - (int)one->push;
}

/* The newest to ring for first: who has read that has read all. */
static int by_device_push_and_newest(const void *a, const void *b) {
    const wake *one = a, *other = b;
    int order = by_device_and_push(a, b);
    return order != 0 ? order : (one->seq < other->seq) - (one->seq > other->seq);
}

/* Each device once for each that is to be done for it: one who reads all may have been given something by each request. */
static void wakes_unique(relay_wakes_list *list) {
    size_t kept = 0;
    if (list->n > 1)
        qsort(list->p, list->n, sizeof *list->p, by_device_push_and_newest);
    for (size_t i = 0; i < list->n; i++)
        if (kept == 0 || by_device_and_push(&list->p[i], &list->p[kept - 1]) != 0)
            list->p[kept++] = list->p[i];
    list->n = kept;
}

/* Relays that share the database are told when it is stored. Which clinic it is they need not know: a wake-up only makes them
 * look. */
static void tell_others(relay *r) {
    uint8_t told[NOTIFY_MAX];
    size_t n = 0;
    wakes_unique(&r->wakes);
    if (relay_descriptor(r) < 0)
        return;
    for (size_t i = 0; i < r->wakes.n; i++) {
        memcpy(told + n, r->wakes.p[i].device, ID_SIZE);
        n += ID_SIZE;
        if (n + ID_SIZE > sizeof told || i + 1 == r->wakes.n) {
            db_notify(r->db, span_of(told, n));
            n = 0;
        }
    }
}

int relay_descriptor(relay *r) { return db_descriptor(r->db); }

bool relay_hear(relay *r) {
    uint8_t told[NOTIFY_MAX];
    size_t n = 0;
    bool missed = false, any_missed = false;
    r->wakes.n = r->push_words[0].n = r->push_words[1].n = 0;
    while (db_heard(r->db, told, &n, &missed)) {
        any_missed |= missed;
        if (n % ID_SIZE == 1) { /* no wake-up */
            push_word_heard(r, span_of(told, n));
            continue;
        }
        for (size_t i = 0; i + ID_SIZE <= n; i += ID_SIZE)
            any_missed |= !wakes_add(&r->wakes, told + i);
    }
    return any_missed || missed;
}

bool relay_batch_end(relay *r) {
    batch_write(r);
    nonces_write(r);
    tell_others(r);
    /* Who writes without calls has promised something. */
    bool unflushed = r->promises == 0 && r->unpromising > 0;
    if ((unflushed ? db_commit_unflushed(r->db) : db_commit(r->db)) == OK) {
        r->batches_unflushed += unflushed;
        nonces_end(r, true);
        return true;
    }
    r->wakes.n = 0;
    nonces_end(r, false);
    directory_forget_all(r->directory);
    return false;
}

uint64_t relay_batches_unflushed(const relay *r) { return r->batches_unflushed; }

const wake *relay_wakes(const relay *r, size_t *count) {
    *count = r->wakes.n;
    return r->wakes.p;
}
