/* sync.c: what is asked of the relay, when, and what its answers mean for the connection. */
#include "client/builder.h"
#include "client/relay_json.h"
#include "client/state.h"

#define RETRY_FIRST_MS 1000
#define RETRY_LONGEST_MS 30000
#define ASK_AGAIN_MS 30000         /* for a roster that was not there yet */
#define CLOCK_MIN_MS 1767225600000 /* 2026 */
#define CLOCK_MAX_MS 4922899200000 /* 2126 */
#define SHUT_OUT_TOLD 2            /* answers in a row that say that we are revoked, before the user is told */
#define SHUT_OUT_MS 3600000        /* then it is asked again now and then, for the relay's word alone proves nothing */
#define INBOX_WAIT_S 25
#define INBOX_QUICK_MS 1000 /* a wait that ends sooner without news was none */

/* ---- problems (RFC 9457) */

err problem_name(arena *a, span body, span *name) {
    static const char prefix[] = "urn:sotto:problem:";
    json *root = NULL;
    span type;
    *name = SPAN_NONE;
    err e = json_open(body, &root);
    if (e == OK && json_text(root, "type", &type) == OK && type.n > sizeof prefix - 1 &&
        memcmp(type.p, prefix, sizeof prefix - 1) == 0)
        e = arena_copy(a, span_of(type.p + sizeof prefix - 1, type.n - (sizeof prefix - 1)), name);
    json_close(root);
    return e == ERR_MALFORMED ? OK : e;
}

bool problem_is(span name, const char *expected) { return span_equal(name, span_text(expected)); }

/* ---- requests */

bool sync_in_flight(const client *c, request_kind kind, int64_t job_or_conversation) {
    for (size_t i = 0; i < INFLIGHT_MAX; i++)
        if (c->inflight[i].kind == kind && (!job_or_conversation || c->inflight[i].job == job_or_conversation ||
                                            c->inflight[i].conversation == job_or_conversation))
            return true;
    return false;
}

static err emit(client *c, const request_signer *signer, inflight what, const char *method, const char *path,
                const char *type, span body, bool waits) {
    for (size_t i = 0; i < INFLIGHT_MAX; i++)
        if (c->inflight[i].kind == REQUEST_NONE) {
            what.id = ++c->next_request;
            c->inflight[i] = what;
            err e = request_emit(c->fx, signer, what.id, method, path, type, body, waits);
            if (e != OK)
                c->inflight[i] = (inflight){0};
            return e;
        }
    return ERR_LIMIT;
}

err sync_request_as(client *c, const request_signer *signer, inflight what, const char *method, const char *path,
                    const char *type, span body) {
    return emit(c, signer, what, method, path, type, body, false);
}

err sync_request(client *c, inflight what, const char *method, const char *path, const char *type, span body,
                 bool waits) {
    request_signer signer = {.key = &c->device_key,
                             .origin = span_of(c->relay, c->relay_size),
                             .now_ms = client_now(c) + c->clock_offset_ms};
    if (what.kind == REQUEST_JOB && !c->enrolled) {
        /* The clinic is made with the root's signature; all else of an account that is not enrolled yet is the device's own. */
        if (strcmp(path, "/v1/clinics") == 0) {
            signer.key = &c->root;
            memcpy(signer.key_id, c->clinic_id, ID_SIZE);
        } else {
            memcpy(signer.key_id, c->device_id, ID_SIZE);
        }
    } else {
        memcpy(signer.key_id, c->device_id, ID_SIZE);
    }
    return emit(c, &signer, what, method, path, type, body, waits);
}

err sync_request_unsigned(client *c, inflight what, const char *method, const char *path) {
    return emit(c, NULL, what, method, path, NULL, SPAN_NONE, false);
}

static err ask_inbox(client *c) {
    builder path;
    builder_init(&path, c->fx->arena, 80);
    builder_text(&path, "/v1/inbox?after=");
    builder_int(&path, c->cursor);
    builder_text(&path, "&wait=");
    c->inbox_waits = c->online; /* the first one answers at once: so "online" is known soon */
    c->inbox_asked_ms = client_now(c);
    builder_int(&path, c->inbox_waits ? INBOX_WAIT_S : 0);
    const char *text = builder_string(&path);
    return text ? sync_request(c, (inflight){.kind = REQUEST_INBOX}, "GET", text, NULL, SPAN_NONE, true) : ERR_ARENA;
}

static err ask_roster(client *c) {
    return sync_request(c, (inflight){.kind = REQUEST_ROSTER}, "GET", "/v1/roster", NULL, SPAN_NONE, false);
}

void sync_timer_at(client *c, int64_t at) {
    int64_t wait = at - client_now(c);
    if (wait < 0)
        wait = 0;
    if (c->fx->timer_ms < 0 || wait < c->fx->timer_ms)
        c->fx->timer_ms = wait;
}

err sync_pump(client *c) {
    int64_t now = client_now(c), next;
    if (c->retry_at_ms > now + (c->stopped ? SHUT_OUT_MS : RETRY_LONGEST_MS)) /* the clock was set back */
        c->retry_at_ms = now;
    if (c->retry_at_ms > now) {
        sync_timer_at(c, c->retry_at_ms);
        return OK;
    }
    if (c->stopped) /* the roster: its answer is the clinic's own word, or at least shows that the relay knows us */
        return sync_in_flight(c, REQUEST_ROSTER, 0) ? OK : ask_roster(c);
    TRY(membership_pursue(c));
    TRY(jobs_emit(c, &next));
    if (next >= 0)
        sync_timer_at(c, next);
    if (!c->enrolled)
        return OK;
    if (c->roster_wanted && !c->founder && !sync_in_flight(c, REQUEST_ROSTER, 0)) {
        if (c->roster_retry_ms <= now || c->roster_retry_ms > now + ASK_AGAIN_MS) {
            c->roster_retry_ms = now + ASK_AGAIN_MS;
            TRY(ask_roster(c));
        } else {
            sync_timer_at(c, c->roster_retry_ms);
        }
    }
    if (c->online) /* else there are nearer things to ask first */
        TRY(audit_pump(c));
    if (sync_in_flight(c, REQUEST_INBOX, 0))
        return OK;
    if (c->inbox_retry_ms > now && c->inbox_retry_ms <= now + RETRY_LONGEST_MS) {
        sync_timer_at(c, c->inbox_retry_ms);
        return OK;
    }
    return ask_inbox(c);
}

/* ---- answers */

static void set_online(client *c, bool online) {
    if (c->online != online)
        client_event(c, EVENT_CONNECTION, 0, SPAN_NONE, online ? "online" : "offline", NULL, -1);
    c->online = online;
}

static void unreachable(client *c, int64_t retry_after_s) {
    int64_t wait = c->failures > 5 ? RETRY_LONGEST_MS : (int64_t)RETRY_FIRST_MS << c->failures;
    if (retry_after_s > 0 && retry_after_s * 1000 > wait)
        wait = retry_after_s * 1000;
    c->failures++;
    c->retry_at_ms = client_now(c) + (wait < RETRY_LONGEST_MS ? wait : RETRY_LONGEST_MS);
    if (retry_after_s < 0)
        set_online(c, false);
}

/* Phones' clocks are often wrong: what counts is the relay's, and only for the signature's `created`. */
static err correct_clock(client *c, span body) {
    json *root = NULL;
    int64_t now;
    err e = json_open(body, &root);
    /* A time before this was written, or a century after, is no clock's: certificates would count as young or old by it. */
    if (e == OK && json_int(root, "now", &now) == OK && now > CLOCK_MIN_MS && now < CLOCK_MAX_MS)
        c->clock_offset_ms = now - client_now(c);
    json_close(root);
    return is_ours(e) ? e : OK;
}

/* An answer that brings nothing and takes no time must not be asked for again at once: a relay that is broken, or means us
 * harm, would keep us busy for ever. */
static err inbox_answered(client *c, int status, span body) {
    int64_t before = c->cursor, now = client_now(c);
    if (status == 200) {
        TRY(inbox_reply(c, body));
    } else if (status == 400 && c->cursor) {
        /* The relay says that our cursor is beyond its newest event: it was restored from a copy, or an earlier answer lied.
         * From the start, then: it keeps what was not acknowledged, and what was applied is known as a replay. */
        c->cursor = 0;
        TRY(setting_put_int(c, "cursor", 0));
        TRY(client_notice(c, 0, NOTICE_ANSWER_MALFORMED));
    }
    bool slow = c->inbox_waits && now - c->inbox_asked_ms >= INBOX_QUICK_MS;
    if (status == 200 && (c->cursor > before || slow || !c->inbox_waits)) {
        c->inbox_idle = 0;
        c->inbox_retry_ms = 0;
    } else {
        int64_t wait = c->inbox_idle > 4 ? RETRY_LONGEST_MS : (int64_t)RETRY_FIRST_MS << c->inbox_idle;
        c->inbox_idle++;
        c->inbox_retry_ms = now + wait;
    }
    return OK;
}

static err account_reply(client *c, const inflight *request, int status, int64_t retry_after_s, span body) {
    switch (request->kind) {
    case REQUEST_JOB: return job_reply(c, request, status, retry_after_s, body);
    case REQUEST_INBOX: return inbox_answered(c, status, body);
    case REQUEST_ROSTER: return directory_roster_reply(c, status, body);
    case REQUEST_CLAIM: return membership_claim_reply(c, request->conversation, status, body);
    case REQUEST_INVITATION: return enrol_invitation_reply(c, status, body);
    case REQUEST_ENROL: return enrol_device_reply(c, status, body);
    case REQUEST_DESCRIPTION:
    case REQUEST_CHECKPOINT: return audit_reply(c, request, status, body);
    case REQUEST_ENTRIES: return audit_walk_reply(c, request, status, body);
    case REQUEST_NONE: break;
    }
    return OK;
}

/* The relay says that we are revoked. It may be mistaken, or lie: what is out stays to be sent, and it is asked again. */
static err shut_out(client *c) {
    bool told = c->stopped, stop = c->shut_out + 1 >= SHUT_OUT_TOLD;
    if (stop && !told)
        TRY(client_notice(c, 0, NOTICE_REVOKED));
    c->shut_out++;
    c->stopped = stop;
    c->retry_at_ms = client_now(c) + (stop ? SHUT_OUT_MS : RETRY_FIRST_MS);
    if (stop && !told)
        client_event(c, EVENT_ACCOUNT, 0, SPAN_NONE, "revoked", notice_text(NOTICE_REVOKED), -1);
    return OK;
}

static err forget_revoked(client *c) {
    query q;
    query_init(&q, c->store, "DELETE FROM notice WHERE code = ?");
    query_bind_text(&q, span_text(notice_name(NOTICE_REVOKED)));
    return query_end(&q);
}

/* It serves us. If it had said otherwise, that was false, unless the clinic itself says so (check_own_revocation): the user is
 * no longer told. */
static err let_in(client *c) {
    bool revoked = false;
    set_online(c, true);
    if (c->stopped)
        TRY(directory_is_revoked(c, SPAN(c->device_id), &revoked));
    if (revoked)
        return OK;
    if (c->stopped) {
        TRY(forget_revoked(c));
        client_event(c, EVENT_ACCOUNT, 0, SPAN_NONE, "enrolled", NULL, -1);
    }
    c->stopped = false;
    c->failures = c->shut_out = 0;
    c->retry_at_ms = 0;
    return OK;
}

/* A roster came, and the clinic itself may have revoked us by it. */
static err check_own_revocation(client *c) {
    bool revoked;
    TRY(directory_is_revoked(c, SPAN(c->device_id), &revoked));
    if (!revoked)
        return OK;
    c->shut_out = SHUT_OUT_TOLD;
    return shut_out(c);
}

static err answered(client *c, const inflight *request, int status, int64_t retry_after_s, span body) {
    span problem = SPAN_NONE;
    if (status >= 400)
        TRY(problem_name(&c->scratch, body, &problem));
    if (problem_is(problem, "clock-skew"))
        TRY(correct_clock(c, body));
    if (request->kind == REQUEST_INVITATION || request->kind == REQUEST_ENROL)
        return account_reply(c, request, status, retry_after_s, body);
    if (!c->open)
        return OK;
    if (status == 0 || status == 429 || status >= 500) {
        unreachable(c, status ? (retry_after_s > 0 ? retry_after_s : 0) : -1);
    } else if (status == 401 && !problem_is(problem, "unknown-device")) {
        if (++c->failures > 1) /* put right once at once; then with a wait */
            unreachable(c, 0);
    } else if (problem_is(problem, "revoked") || (problem_is(problem, "unknown-device") && c->enrolled)) {
        TRY(shut_out(c));
        return account_reply(c, request, 0, -1, SPAN_NONE); /* as good as no answer */
    } else {
        TRY(let_in(c));
    }
    TRY(account_reply(c, request, status, retry_after_s, body));
    return request->kind == REQUEST_ROSTER && status == 200 ? check_own_revocation(c) : OK;
}

err client_http_reply(client *c, effects *fx, uint64_t id, int status, int64_t retry_after_s, span body) {
    inflight request = {0};
    (void)fx;
    for (size_t i = 0; i < INFLIGHT_MAX; i++)
        if (id && c->inflight[i].id == id) {
            request = c->inflight[i];
            c->inflight[i] = (inflight){0};
        }
    if (request.kind == REQUEST_NONE) /* of an account that was locked meanwhile */
        return OK;
    if (request.kind == REQUEST_INVITATION || request.kind == REQUEST_ENROL) {
        err e = answered(c, &request, status, retry_after_s, body);
        /* Nobody asks again by himself here: an answer that could not be taken in is as good as none. */
        return is_ours(e) ? account_reply(c, &request, 0, -1, SPAN_NONE) : e;
    }
    return answered(c, &request, status, retry_after_s, body);
}

void sync_unheard(client *c) {
    for (size_t i = 0; i < INFLIGHT_MAX; i++) {
        inflight request = c->inflight[i];
        c->inflight[i] = (inflight){0};
        if (c->held && (request.kind == REQUEST_INVITATION || request.kind == REQUEST_ENROL))
            enrol_failed(c, NOTICE_OFFLINE);
    }
}

err client_tick(client *c, effects *fx) {
    (void)c;
    (void)fx;
    return OK; /* client_finish pumps after every command */
}

err client_network(client *c, effects *fx, bool online) {
    (void)fx;
    if (!c->open)
        return OK;
    if (online) {
        c->retry_at_ms = c->inbox_retry_ms = 0;
        c->failures = c->inbox_idle = 0;
    } else {
        set_online(c, false);
    }
    return OK;
}
