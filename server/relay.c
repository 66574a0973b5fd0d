#include "relay.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <sodium/randombytes.h>

#include "base/secret.h"
#include "base/text.h"
#include "audit.h"
#include "rate.h"
#include "session.h"
#include "verify.h"

/* The largest request's strings decoded, beside its chain: twice the body is ample. */
#define SCRATCH_SIZE (4 * 1024 * 1024)

typedef enum who_asks {
    WHO_ANYBODY, /* unsigned */
    WHO_CLINIC,  /* the root key in the body */
    WHO_ENROLS,  /* the last key of the chain in the body */
    WHO_DEVICE,
    WHO_DEVICE_LOCKED, /* also one that needs a session and has none */
    WHO_INVITE,        /* the invite whose id is in the path */
    WHO_DEVICE_OR_INVITE
} who_asks;

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

/* ---- outcomes */

bool problem_more(call *c, problem_kind kind, const char *detail, const char *extra, int64_t value) {
    c->problem = problem_name(kind);
    problem_write(c->rs, kind, detail, extra, value);
    return true;
}

bool problem(call *c, problem_kind kind, const char *detail) { return problem_more(c, kind, detail, NULL, 0); }

bool problem_text(call *c, problem_kind kind, const char *format, ...) {
    char detail[240];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(detail, sizeof detail, format, arguments);
    va_end(arguments);
    return problem(c, kind, detail);
}

bool json_faulty(call *c) {
    if (c->json.fault[0] == 0)
        return false;
    return problem(c, PROBLEM_MALFORMED, c->json.fault);
}

bool answer(call *c, int status) {
    *c->rs = (response){.status = status};
    if (c->out.failed) {
        relay_unavailable(c->rs);
        return true;
    }
    if (c->out.n > 0) {
        c->rs->type = "application/json";
        c->rs->body = c->out.p;
        c->rs->body_size = c->out.n;
        c->out = (text){0};
    }
    return true;
}

void relay_unavailable(response *rs) {
    problem_write(rs, PROBLEM_UNAVAILABLE, "the store can't take it now; ask again", NULL, 0);
}

void call_object(call *c, span name) {
    c->object_size = name.n < sizeof c->object ? name.n : sizeof c->object;
    memcpy(c->object, name.p, c->object_size);
}

void call_object_number(call *c, int64_t number) {
    for (int i = 0; i < 8; i++)
        c->object[i] = (uint8_t)((uint64_t)number >> (56 - 8 * i));
    c->object_size = 8;
}

/* ---- input */

bool path_id(call *c, uint8_t *out, size_t n) {
    if (base64url_read(out, n, c->id) == OK)
        return true;
    problem_text(c, PROBLEM_MALFORMED, "the id in the path must be base64url of %zu bytes", n);
    return false;
}

bool query_find(const call *c, const char *name, span *value, bool *twice) {
    size_t name_size = strlen(name);
    bool found = false;
    if (c->rq->query.n == 0)
        return false;
    const uint8_t *p = c->rq->query.p, *end = p + c->rq->query.n;
    while (p < end) {
        const uint8_t *stop = memchr(p, '&', (size_t)(end - p));
        if (stop == NULL)
            stop = end;
        if ((size_t)(stop - p) > name_size && memcmp(p, name, name_size) == 0 && p[name_size] == '=') {
            if (found)
                *twice = true;
            found = true;
            *value = span_of(p + name_size + 1, (size_t)(stop - p) - name_size - 1);
        }
        p = stop + 1;
    }
    return found;
}

bool query_integer(call *c, const char *name, int64_t missing, int64_t min, int64_t max, int64_t *v) {
    span s = SPAN_NONE;
    bool twice = false;
    *v = missing;
    if (!query_find(c, name, &s, &twice)) {
        if (missing >= min)
            return true;
        problem_text(c, PROBLEM_MALFORMED, "query parameter \"%s\" is missing", name);
        return false;
    }
    bool good = !twice && s.n > 0 && s.n <= 16 && (s.n == 1 || s.p[0] != '0');
    int64_t value = 0;
    for (size_t i = 0; i < s.n && good; i++) {
        good = s.p[i] >= '0' && s.p[i] <= '9';
        value = value * 10 + (s.p[i] - '0');
    }
    if (!good || value < min || value > max) {
        problem_text(c, PROBLEM_MALFORMED, "query parameter \"%s\" must be one integer from %lld to %lld", name,
                     (long long)min, (long long)max);
        return false;
    }
    *v = value;
    return true;
}

bool chain_read(call *c, span bytes, certificate_chain *chain) {
    *chain = (certificate_chain){0};
    err e = WIRE_DECODE(bytes, c->arena, wire_certificate_chain, chain);
    if (e == OK && chain->n > 0)
        return true;
    problem_text(c, PROBLEM_MALFORMED, "member \"chain\" is no certificate chain: %s",
                 e == OK ? "it is empty" : err_text(e));
    return false;
}

bool chain_verify(call *c, const certificate_chain *chain) {
    err e = certificate_chain_check(chain, c->root_key, (uint64_t)now_s(c));
    if (e == OK)
        return true;
    problem(c, PROBLEM_BAD_CERTIFICATE, err_text(e));
    return false;
}

/* ---- who asks */

static db_rows ask_clinic_of(call *c, const uint8_t name[ID_SIZE]) {
    return DB_QUERY(c->db, "SELECT clinic FROM directory WHERE name = $1", db_id(name));
}

static bool take_clinic_of(call *c, db_rows r) {
    bool found = db_next(&r);
    if (found)
        memcpy(c->clinic, db_bytes(&r, 0).p, ID_SIZE);
    db_end(&r);
    return found;
}

static void use_device(call *c, const known_device *known) {
    memcpy(c->key, known->key, sizeof c->key);
    c->rights = known->rights;
    c->revoked = known->revoked;
    c->not_after = known->not_after;
}

/* What the directory holds of the call's device, if it still holds in the call's clinic, which must be open. */
static const known_device *known_now(call *c) {
    const known_device *known = directory_device(c->relay->directory, c->device);
    bool now =
        known != NULL && known->generation == c->state->generation && memcmp(known->clinic, c->clinic, ID_SIZE) == 0;
    return now ? known : NULL;
}

static db_rows ask_device(call *c) {
    return DB_QUERY(c->db,
                    "SELECT public_key, rights, revoked, not_after FROM devices WHERE clinic = $1 AND device = $2",
                    db_id(c->clinic), db_id(c->device));
}

static const known_device *take_device(call *c, db_rows r) {
    known_device *known = NULL;
    if (db_next(&r)) {
        known = directory_add_device(c->relay->directory, c->device);
        memcpy(known->clinic, c->clinic, ID_SIZE);
        memcpy(known->key, db_bytes(&r, 0).p, sizeof known->key);
        known->generation = c->state->generation;
        known->rights = (uint32_t)db_integer(&r, 1);
        known->revoked = db_integer(&r, 2) != 0;
        known->not_after = db_integer(&r, 3);
    }
    db_end(&r);
    return known;
}

static bool find_device(call *c) {
    const known_device *known = known_now(c);
    if (known == NULL)
        known = take_device(c, ask_device(c));
    if (known != NULL)
        use_device(c, known);
    return known != NULL;
}

/* The clinic in which a device, or an invite, is: as the directory says, or the database. */
static bool find_clinic_of_device(call *c, bool *remembered) {
    const known_device *known = directory_device(c->relay->directory, c->device);
    *remembered = known != NULL;
    if (known == NULL)
        return take_clinic_of(c, ask_clinic_of(c, c->device));
    memcpy(c->clinic, known->clinic, ID_SIZE);
    return true;
}

static bool find_invite(call *c) {
    db_rows r = DB_QUERY(c->db, "SELECT public_key FROM invitations WHERE clinic = $1 AND invitation = $2",
                         db_id(c->clinic), db_id(c->device));
    bool found = db_next(&r);
    if (found)
        memcpy(c->key, db_bytes(&r, 0).p, sizeof c->key);
    db_end(&r);
    return found;
}

/* Each finds the key for keyid, or writes a problem and returns false. */
static bool who_clinic(call *c) {
    json_fixed(&c->json, "root_key", c->root_key, sizeof c->root_key);
    if (json_faulty(c))
        return false;
    clinic_id_of(c->root_key, c->clinic);
    memcpy(c->key, c->root_key, sizeof c->key);
    if (memcmp(c->clinic, c->head.keyid, ID_SIZE) == 0)
        return true;
    problem(c, PROBLEM_BAD_SIGNATURE, "keyid is not the name of member \"root_key\"");
    return false;
}

static bool who_enrols(call *c) {
    c->chain_bytes = json_bytes(&c->json, "chain", CHAIN_BYTES_MAX);
    if (json_faulty(c) || !chain_read(c, c->chain_bytes, &c->chain))
        return false;
    const certificate *holder = certificate_chain_holder(&c->chain);
    memcpy(c->clinic, c->chain.p[0].clinic_id, ID_SIZE);
    memcpy(c->key, holder->subject_key, sizeof c->key);
    device_id_of(c->key, c->device);
    if (memcmp(c->device, c->head.keyid, ID_SIZE) != 0) {
        problem(c, PROBLEM_BAD_SIGNATURE, "keyid is not the name of the device at the end of member \"chain\"");
        return false;
    }
    if (!batch_open(c)) {
        if (!db_failed(c->db))
            problem(c, PROBLEM_BAD_CERTIFICATE, "the chain's clinic is not known here");
        return false;
    }
    /* Before a nonce is stored for it, so that only those whom the clinic certified can make the relay write. */
    return chain_verify(c, &c->chain);
}

static bool who_device(call *c, bool or_invite) {
    bool remembered;
    memcpy(c->device, c->head.keyid, ID_SIZE);
    if (find_clinic_of_device(c, &remembered) && batch_open(c)) {
        if (find_device(c))
            return true;
        if (or_invite && find_invite(c)) {
            c->is_invite = true;
            return true;
        }
    }
    if (remembered && !db_failed(c->db)) { /* of a database that was set back: ask it */
        directory_forget_device(c->relay->directory, c->device);
        return who_device(c, or_invite);
    }
    if (!db_failed(c->db))
        problem(c, PROBLEM_UNKNOWN_DEVICE, "keyid names no device that is enrolled here");
    return false;
}

static bool who_invite(call *c) {
    uint8_t id[ID_SIZE];
    if (!path_id(c, id, sizeof id))
        return false;
    memcpy(c->device, c->head.keyid, ID_SIZE);
    c->is_invite = true;
    if (memcmp(id, c->device, ID_SIZE) != 0) {
        problem(c, PROBLEM_FORBIDDEN, "an invitation is read with its own key: keyid must be the id in the path");
        return false;
    }
    if (take_clinic_of(c, ask_clinic_of(c, c->device)) && batch_open(c) && find_invite(c))
        return true;
    if (!db_failed(c->db))
        problem(c, PROBLEM_NOT_FOUND, "there is no such invitation");
    return false;
}

static bool is_slowed(call *c, rate_kind kind, const uint8_t id[16], uint32_t per_minute, const char *detail) {
    bool address = kind == RATE_OF_ADDRESS || kind == RATE_OF_ENROLMENT;
    uint32_t wait = rate_take(address ? c->relay->address_rates : c->relay->rates, kind, id, per_minute, c->now_ms);
    if (wait == 0)
        return false;
    problem_more(c, PROBLEM_TOO_MANY, detail, "retry_after_s", wait);
    return true;
}

/* Those who are known by now: the asking device or invite, the invite that an enrolment stands on, and the clinic. */
static bool is_anyone_slowed(call *c) {
    const relay_options *options = &c->relay->options;
    uint8_t invite[ID_SIZE];
    bool by_invite = c->is_invite || (c->way->who == WHO_ENROLS && c->chain.n > 1);
    if (is_slowed(c, RATE_OF_DEVICE, c->head.keyid, options->rate_device, "too many requests of this device"))
        return true;
    if (by_invite && !c->is_invite)
        invite_id_of(c->chain.p[c->chain.n - 2].subject_key, invite);
    if (by_invite && is_slowed(c, RATE_OF_INVITE, c->is_invite ? c->head.keyid : invite, options->rate_invite,
                               "too many requests for this invitation"))
        return true;
    return is_slowed(c, RATE_OF_CLINIC, c->clinic, options->rate_clinic, "too many requests of this clinic");
}

/* The signature's form and its time. False: a problem is written. */
static bool head_in_form(call *c) {
    const char *fault = NULL;
    if (signature_head_read(c->rq, &c->head, &fault) != OK) {
        problem(c, PROBLEM_UNSIGNED, fault);
        return false;
    }
    int64_t skew = (int64_t)c->head.created - now_s(c);
    if (skew <= CLOCK_SKEW_S && skew >= -CLOCK_SKEW_S)
        return true;
    problem_more(c, PROBLEM_CLOCK_SKEW, "created is not within 300 s of the relay's clock", "now", c->now_ms);
    return false;
}

/* Who says that he asks; c->key is then what the signature must verify under. */
static bool find_asker(call *c) {
    c->not_after = INT64_MAX;
    switch (c->way->who) {
    case WHO_CLINIC: return who_clinic(c);
    case WHO_ENROLS: return who_enrols(c);
    case WHO_DEVICE:
    case WHO_DEVICE_LOCKED: return who_device(c, false);
    case WHO_DEVICE_OR_INVITE: return who_device(c, true);
    case WHO_INVITE: return who_invite(c);
    case WHO_ANYBODY: break;
    }
    return true;
}

static bool is_in_force(call *c) {
    if (c->revoked)
        problem(c, PROBLEM_REVOKED, "this device may not ask for anything any more");
    else if (c->not_after < now_s(c))
        problem(c, PROBLEM_BAD_CERTIFICATE, "the device's certificate has expired");
    else
        return true;
    return false;
}

/* May he ask, whose signature was looked at? */
static bool is_admitted(call *c, const verification *v) {
    if (!v->good) {
        problem(c, PROBLEM_BAD_SIGNATURE, v->fault);
        return false;
    }
    /* From here on a refusal is in the audit log; the rate bounds how much a device can write to it. */
    if (is_anyone_slowed(c))
        return false;
    c->authenticated = true;
    if (!is_in_force(c))
        return false;
    if (c->way->who == WHO_CLINIC && !c->relay->options.clinics_open && !batch_open(c)) {
        if (!db_failed(c->db))
            problem(c, PROBLEM_FORBIDDEN, "this relay is closed to new clinics");
        return false;
    }
    return true;
}

/* True when the request is by whom it says it is, now. Else a problem is written, or the database failed. */
static bool identify(call *c) {
    if (!find_asker(c))
        return false;
    verification v = {.rq = c->rq, .head = &c->head, .key = c->key};
    verify_all(c->relay->verifiers, &v, 1);
    return is_admitted(c, &v);
}

/* Stores the nonces of calls that were identified; those that were there before stay NONCE_ASKED. */
static void ask_nonces(relay *r, call *const *calls, size_t n) {
    static db_many NONCES = {.head = "INSERT INTO nonces (clinic, minute, keyid, nonce) VALUES ",
                             .tail = " ON CONFLICT DO NOTHING RETURNING keyid, nonce",
                             .columns = 4};
    db_value values[BATCH_MAX][4];
    for (size_t i = 0; i < n; i++) {
        const call *c = calls[i];
        const db_value row[] = {db_id(c->clinic), db_i((int64_t)(c->head.created / 60)), db_id(c->head.keyid),
                                db_b(SPAN(c->head.nonce))};
        memcpy(values[i], row, sizeof row);
        calls[i]->nonce = NONCE_ASKED;
    }
    db_many_rows rows = db_many_query(r->db, &NONCES, values[0], n);
    size_t at = 0;
    for (db_rows *row; (row = db_many_next(&rows)) != NULL;) {
        /* They come in the order in which they were given, so the next is the first that is looked at. */
        for (size_t tries = 0; tries < n; tries++, at = at + 1 < n ? at + 1 : 0) {
            call *c = calls[at];
            if (c->nonce == NONCE_ASKED && span_equal(db_bytes(row, 1), SPAN(c->head.nonce)) &&
                span_equal(db_bytes(row, 0), SPAN(c->head.keyid))) {
                c->nonce = NONCE_NEW;
                break;
            }
        }
    }
}

/* The same, and for the first time. A call whose nonce was asked for with those of its batch was identified then; another of the
 * batch may have changed what its device may do. */
static bool authenticate(call *c) {
    if (c->nonce != NONCE_NOT_ASKED) {
        if ((!c->is_invite && !find_device(c)) || !is_in_force(c))
            return false;
    } else {
        if (!identify(c))
            return false;
        ask_nonces(c->relay, &c, 1);
    }
    if (c->nonce == NONCE_NEW) {
        bool is_device = (c->way->who == WHO_DEVICE || c->way->who == WHO_DEVICE_OR_INVITE) && !c->is_invite;
        return !is_device || !c->state->has_policy || session_allows(c);
    }
    if (!db_failed(c->db))
        problem(c, PROBLEM_REPLAYED, "this nonce was used before; sign again with a new one");
    return false;
}

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
    if (is_slowed(c, RATE_OF_ADDRESS, rq->address, options->rate_address, "too many requests from this address"))
        return false;
    if (options->authority != NULL && !span_equal(rq->authority, span_text(options->authority))) {
        problem(c, PROBLEM_MALFORMED, "Host is not this relay's name");
        return false;
    }
    if (way == NULL) {
        problem(c, PROBLEM_NOT_FOUND, "there is no such call");
        return false;
    }
    if (way->enrols && is_slowed(c, RATE_OF_ENROLMENT, rq->address, options->rate_enrol,
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
    bool early_json = way->who == WHO_CLINIC || way->who == WHO_ENROLS;
    if (early_json)
        json_open(&c->json, c->rq->body, c->arena);
    if (way->who != WHO_ANYBODY && !authenticate(c)) {
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
    if (c->way->who == WHO_CLINIC && c->rs->status < 400 && !batch_open(c))
        return;
    audit_note(c, c->way->audit);
}

static void begin_call(relay *r, const request *rq, response *rs, call *c) {
    span ids[2];
    *c = (call){.relay = r, .db = r->db, .arena = &r->scratch, .rq = rq, .rs = rs, .now_ms = r->now_ms};
    *rs = (response){0};
    c->way = find_route(rq, ids);
    c->id = ids[0];
    c->second_id = ids[1];
    c->done = !is_in_form(c, c->way) || (c->way->who != WHO_ANYBODY && !head_in_form(c));
}

/* ---- a batch's requests together: as far as they are of devices, whose clinics are found before anything is locked. */

static bool by_device(const call *c) {
    return !c->done && (c->way->who == WHO_DEVICE || c->way->who == WHO_DEVICE_OR_INVITE);
}

/* Puts what is asked for several calls into the directory: one after the other, or all of it under way at once. */
static void ask_for_all(call *const *calls, size_t n, db_rows (*ask)(call *), void (*take)(call *, db_rows)) {
    db_rows rows[BATCH_MAX];
    for (size_t i = 0; i < n; i++) {
        rows[i] = ask(calls[i]);
        if (!db_pipelined(calls[i]->db))
            take(calls[i], rows[i]);
    }
    for (size_t i = 0; i < n && db_pipelined(calls[i]->db); i++)
        take(calls[i], rows[i]);
}

static db_rows ask_own_clinic(call *c) { return ask_clinic_of(c, c->device); }

static void remember_clinic(call *c, db_rows r) {
    if (take_clinic_of(c, r))
        memcpy(directory_add_device(c->relay->directory, c->device)->clinic, c->clinic, ID_SIZE);
}

static void remember_device(call *c, db_rows r) { (void)take_device(c, r); }

static void open_clinics(relay *r, call *calls, size_t n) {
    call *unknown[BATCH_MAX] = {NULL};
    uint8_t clinics[BATCH_MAX][ID_SIZE];
    size_t asked = 0, count = 0;
    for (size_t i = 0; i < n; i++) {
        call *c = &calls[i];
        if (!by_device(c))
            continue;
        memcpy(c->device, c->head.keyid, ID_SIZE);
        if (directory_device(r->directory, c->device) == NULL)
            unknown[asked++] = c;
    }
    ask_for_all(unknown, asked, ask_own_clinic, remember_clinic);
    for (size_t i = 0; i < n; i++) {
        const known_device *known = by_device(&calls[i]) ? directory_device(r->directory, calls[i].device) : NULL;
        if (known != NULL)
            memcpy(clinics[count++], known->clinic, ID_SIZE);
    }
    batch_open_all(r, clinics, count);
}

static void know_devices(relay *r, call *calls, size_t n) {
    call *unknown[BATCH_MAX] = {NULL};
    size_t asked = 0;
    for (size_t i = 0; i < n; i++) {
        call *c = &calls[i];
        const known_device *known = by_device(c) ? directory_device(r->directory, c->device) : NULL;
        if (known == NULL)
            continue;
        memcpy(c->clinic, known->clinic, ID_SIZE);
        if (batch_open(c) && known_now(c) == NULL)
            unknown[asked++] = c;
    }
    ask_for_all(unknown, asked, ask_device, remember_device);
}

/* Those that are identified have their nonces asked for; the others are done. */
static void identify_all(relay *r, call *calls, size_t n) {
    call *list[BATCH_MAX];
    verification signatures[BATCH_MAX];
    size_t found = 0, admitted = 0;
    for (size_t i = 0; i < n && !db_failed(r->db); i++) {
        call *c = &calls[i];
        if (by_device(c) && find_asker(c)) {
            signatures[found] = (verification){.rq = c->rq, .head = &c->head, .key = c->key};
            list[found++] = c;
        } else if (by_device(c) && !db_failed(r->db)) {
            c->done = true;
        }
    }
    verify_all(r->verifiers, signatures, found);
    for (size_t i = 0; i < found; i++) {
        if (is_admitted(list[i], &signatures[i]))
            list[admitted++] = list[i];
        else
            list[i]->done = true;
    }
    ask_nonces(r, list, admitted);
}

/* Where a clinic has rules for sessions each message is looked at by itself (authenticate). */
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
    open_clinics(r, calls, n);
    know_devices(r, calls, n);
    identify_all(r, calls, n);
    take_messages(r, calls, n);
    for (size_t i = 0; i < n; i++) {
        call *c = &calls[i];
        arena_reset(&r->scratch);
        if (!c->done && db_failed(r->db)) /* an earlier request of the batch lost the transaction */
            relay_unavailable(c->rs);
        else if (!c->done)
            run_call(c);
        write_audit(c);
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
    return db_begin(r->db) == OK;
}

static int by_device_and_push(const void *a, const void *b) {
    const wake *one = a, *other = b;
    int order = memcmp(one->device, other->device, ID_SIZE);
    return order != 0 ? order : (int)other->push - (int)one->push;
}

/* Each device once for each that is to be done for it: one who reads all may have been given something by each request. */
static void wakes_unique(relay_wakes_list *list) {
    size_t kept = 0;
    if (list->n > 1)
        qsort(list->p, list->n, sizeof *list->p, by_device_and_push);
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
    tell_others(r);
    if (db_commit(r->db) == OK)
        return true;
    r->wakes.n = 0;
    directory_forget_all(r->directory);
    return false;
}

const wake *relay_wakes(const relay *r, size_t *count) {
    *count = r->wakes.n;
    return r->wakes.p;
}
