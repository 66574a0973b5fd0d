/* jobs.c: requests that must reach the relay however often either side is killed. A job is written in the transaction
 * of the command that wants it, with its whole body, and deleted in the transaction that takes the relay's answer; the
 * relay knows a repeated one by its client message id, so it counts once. Jobs of a lane go one after another: so
 * messages keep their order. */
#include "client/relay_json.h"
#include "client/state.h"

#define JOBS_AT_ONCE 6
#define BACKOFF_FIRST_MS 1000
#define BACKOFF_LONGEST_MS 60000

err job_add(client *c, int64_t lane, job_kind kind, span reference, const char *method, const char *path,
            const char *type, span body) {
    query q;
    query_init(&q, c->store,
               "INSERT INTO job (lane, kind, reference, method, path, type, body) VALUES (?, ?, ?, ?, ?, ?, ?)");
    query_bind_int(&q, lane);
    query_bind_int(&q, kind);
    query_bind_blob(&q, reference);
    query_bind_text(&q, span_text(method));
    query_bind_text(&q, span_text(path));
    if (type)
        query_bind_text(&q, span_text(type));
    else
        query_bind_null(&q);
    query_bind_blob(&q, body);
    return query_end(&q);
}

err job_has(client *c, job_kind kind, span reference, bool *has) {
    query q;
    *has = false;
    query_init(&q, c->store, "SELECT 1 FROM job WHERE kind = ? AND reference IS ?");
    query_bind_int(&q, kind);
    query_bind_blob(&q, reference);
    *has = query_row(&q);
    return query_end(&q);
}

err job_delete_lane(client *c, int64_t lane, job_kind kind) {
    query q;
    query_init(&q, c->store, "DELETE FROM job WHERE lane = ? AND kind = ?");
    query_bind_int(&q, lane);
    query_bind_int(&q, kind);
    return query_end(&q);
}

/* ---- sending */

typedef struct due_job {
    int64_t id, lane;
    char *method, *path, *type;
    span body;
} due_job;

static char *text_copy(arena *a, span text) {
    char *copy = arena_take(a, text.n + 1, 1);
    if (copy && text.n)
        memcpy(copy, text.p, text.n);
    return copy;
}

static size_t free_requests(const client *c) {
    size_t jobs = 0;
    for (size_t i = 0; i < INFLIGHT_MAX; i++)
        jobs += c->inflight[i].kind == REQUEST_JOB;
    return jobs >= JOBS_AT_ONCE ? 0 : JOBS_AT_ONCE - jobs;
}

static bool lane_busy(const client *c, int64_t lane) {
    for (size_t i = 0; i < INFLIGHT_MAX; i++)
        if (c->inflight[i].kind == REQUEST_JOB && c->inflight[i].lane == lane)
            return true;
    return false;
}

/* The first job of each lane that is not out yet. */
static err collect_due(client *c, due_job *due, size_t max, size_t *count, int64_t *next_ms) {
    query q;
    err e = OK;
    int64_t now = client_now(c);
    *count = 0;
    *next_ms = -1;
    query_init(&q, c->store,
               "SELECT id, lane, method, path, type, body, not_before_ms FROM job WHERE id IN (SELECT min(id) FROM job "
               "GROUP BY lane) ORDER BY id");
    while (e == OK && *count < max && query_row(&q)) {
        due_job *j = &due[*count];
        int64_t lane = query_int(&q, 1), not_before = query_int(&q, 6);
        if (lane_busy(c, lane) || (!c->enrolled && lane != LANE_ACCOUNT))
            continue;
        if (not_before > now + BACKOFF_LONGEST_MS) /* the clock was set back meanwhile */
            not_before = now;
        if (not_before > now) {
            if (*next_ms < 0 || not_before < *next_ms)
                *next_ms = not_before;
            continue;
        }
        span type = query_text(&q, 4);
        *j = (due_job){.id = query_int(&q, 0), .lane = lane};
        j->method = text_copy(c->fx->arena, query_text(&q, 2));
        j->path = text_copy(c->fx->arena, query_text(&q, 3));
        j->type = type.n ? text_copy(c->fx->arena, type) : NULL;
        e = !j->method || !j->path || (type.n && !j->type) ? ERR_ARENA
                                                           : arena_copy(c->fx->arena, query_blob(&q, 5), &j->body);
        if (query_is_null(&q, 5))
            j->body = SPAN_NONE;
        (*count)++;
    }
    TRY(query_end(&q));
    return e;
}

err jobs_emit(client *c, int64_t *next_ms) {
    due_job due[JOBS_AT_ONCE];
    size_t count;
    TRY(collect_due(c, due, free_requests(c), &count, next_ms));
    for (size_t i = 0; i < count; i++)
        TRY(sync_request(c, (inflight){.kind = REQUEST_JOB, .job = due[i].id, .lane = due[i].lane}, due[i].method,
                         due[i].path, due[i].type, due[i].body, false));
    return OK;
}

/* ---- answers */

static err job_delete(client *c, int64_t id) {
    query q;
    query_init(&q, c->store, "DELETE FROM job WHERE id = ?");
    query_bind_int(&q, id);
    return query_end(&q);
}

static err job_later(client *c, int64_t id, int64_t wait_ms) {
    query q;
    query_init(&q, c->store, "UPDATE job SET attempts = attempts + 1, not_before_ms = ? WHERE id = ?");
    query_bind_int(&q, client_now(c) + wait_ms);
    query_bind_int(&q, id);
    return query_end(&q);
}

static int64_t backoff(int64_t attempts) {
    int64_t wait = attempts > 6 ? BACKOFF_LONGEST_MS : (int64_t)BACKOFF_FIRST_MS << attempts;
    return wait < BACKOFF_LONGEST_MS ? wait : BACKOFF_LONGEST_MS;
}

static err device_enrolled(client *c, span body) {
    json *root = NULL;
    int64_t seq = 0;
    err e = json_open(body, &root);
    bool first = e == OK && json_int(root, "seq", &seq) == OK && !c->cursor;
    json_close(root);
    if (is_ours(e))
        return e;
    if (first) {
        c->cursor = seq;
        TRY(setting_put_int(c, "cursor", seq));
    }
    c->enrolled = true;
    return setting_put_int(c, "enrolled", 1);
}

static const char *refusal_reason(span problem, int status) {
    if (problem_is(problem, "forbidden"))
        return "This device is not in this conversation any more.";
    if (problem_is(problem, "too-large") || status == 413)
        return "This message is too long for the server.";
    return "The server did not take this message.";
}

static err job_done(client *c, job_kind kind, int64_t lane, span reference, span body) {
    switch (kind) {
    case JOB_DEVICE: return device_enrolled(c, body);
    case JOB_INVITATION: return invitation_registered(c, reference, true);
    case JOB_MESSAGE: return message_taken(c, reference);
    case JOB_COMMIT: /* merged on its echo, in the relay's order */
    case JOB_CLINIC:
    case JOB_KEY_PACKAGES:
    case JOB_ROSTER:
    case JOB_WITHDRAW: break;
    }
    (void)lane;
    return OK;
}

static err job_refused(client *c, job_kind kind, int64_t lane, span reference, int status, span body) {
    span problem;
    TRY(problem_name(&c->scratch, body, &problem));
    switch (kind) {
    case JOB_COMMIT: return membership_commit_refused(c, lane, status);
    case JOB_MESSAGE: return message_refused(c, lane, reference, refusal_reason(problem, status));
    case JOB_INVITATION: return invitation_registered(c, reference, false);
    case JOB_CLINIC:
    case JOB_DEVICE: return client_notice(c, 0, NOTICE_REFUSED);
    case JOB_KEY_PACKAGES:
    case JOB_ROSTER:
    case JOB_WITHDRAW: break;
    }
    return OK;
}

err job_reply(client *c, const inflight *request, int status, int64_t retry_after_s, span body) {
    query q;
    span reference = SPAN_NONE;
    job_kind kind = 0;
    int64_t attempts = 0;
    err e = ERR_NOT_FOUND;
    query_init(&q, c->store, "SELECT kind, reference, attempts FROM job WHERE id = ?");
    query_bind_int(&q, request->job);
    if (query_row(&q)) {
        kind = (job_kind)query_int(&q, 0);
        e = query_is_null(&q, 1) ? OK : arena_copy(&c->scratch, query_blob(&q, 1), &reference);
        attempts = query_int(&q, 2);
    }
    TRY(query_end(&q));
    if (e == ERR_NOT_FOUND) /* dropped while it was out */
        return OK;
    TRY(e);
    if (status == 0)
        return OK; /* nothing was wrong with it: it goes again when the relay can be reached */
    if (status == 429 || status >= 500)
        return job_later(c, request->job, retry_after_s > 0 ? retry_after_s * 1000 : backoff(attempts));
    if (status == 401) /* wrong clock or a repeated nonce: sync.c put the clock right */
        return job_later(c, request->job, attempts ? backoff(attempts) : 0);
    if (kind == JOB_COMMIT && status == 409) {
        conversation_state state;
        TRY(conversation_get_state(c, request->lane, &state));
        if (state ==
            CONVERSATION_CREATING) /* nobody else knows the name: an answer that cannot be, and if it was taken all the same, its echo comes */
            return job_later(c, request->job, backoff(attempts));
    }
    TRY(job_delete(c, request->job));
    if (status >= 200 && status < 300)
        return job_done(c, kind, request->lane, reference, body);
    return job_refused(c, kind, request->lane, reference, status, body);
}
