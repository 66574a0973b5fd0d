/* calls_message.c: messages: one by itself, or those of a batch together. */
#include "audit.h"

#include "base/text.h"
#include "crypto/sha256.h"
#include "mls/types.h"

/* The same message again gets the number it has by now. */
static bool message_answer(call *c, const message_input *in, int64_t seq) {
    text_put(&c->out, "{");
    if (seq > 0)
        text_member_integer(&c->out, "seq", seq);
    else
        text_put(&c->out, "\"seq\":null");
    if (in->deliver_at != 0)
        text_member_integer(&c->out, "deliver_at", in->deliver_at);
    text_put(&c->out, "}");
    return answer(c, 200);
}

static bool message_read(call *c, message_input *in, private_message *m) {
    span id_text = SPAN_NONE, time_text = SPAN_NONE;
    bool twice = false;
    if (!path_id(c, in->group_id, GROUP_BYTES))
        return false;
    if (!query_find(c, "id", &id_text, &twice) || twice || base64url_read(in->id, sizeof in->id, id_text) != OK) {
        (void)problem_text(c, PROBLEM_MALFORMED, "query parameter \"id\" must be one base64url of %d bytes",
                           MESSAGE_ID_BYTES);
        return false;
    }
    if (query_find(c, "deliver_at", &time_text, &twice) &&
        !query_integer(c, "deliver_at", 0, 1, SEQUENCE_MAX, &in->deliver_at))
        return false;
    if (c->rq->body.n == 0) {
        (void)problem(c, PROBLEM_MALFORMED, "the body is missing; an MLSMessage is expected");
        return false;
    }
    if (!may_message(c) || !mls_read(c, c->rq->body, in->group_id, "the body", m))
        return false;
    if (m->content_type == CONTENT_APPLICATION || (m->content_type == CONTENT_PROPOSAL && in->deliver_at == 0))
        return true;
    (void)problem(c, PROBLEM_MALFORMED,
                  in->deliver_at != 0
                      ? "what is delivered later must be an application message"
                      : "the body must be an application message or a proposal; commits have a call of their own");
    return false;
}

/* Of the content, whose own digest the signature covers, the group, and the time where there is one. */
static void message_digest(const call *c, message_input *in) {
    uint8_t content[GROUP_BYTES + 32 + 8];
    memcpy(content, in->group_id, GROUP_BYTES);
    memcpy(content + GROUP_BYTES, c->head.digest, sizeof c->head.digest);
    for (int i = 0; i < 8; i++)
        content[GROUP_BYTES + 32 + i] = (uint8_t)((uint64_t)in->deliver_at >> (8 * i));
    sha256(span_of(content, in->deliver_at != 0 ? sizeof content : GROUP_BYTES + 32), in->digest);
}

int64_t message_deliver(call *c, const message_input *in, span data) {
    int64_t seq = event_next(c);
    size_t woken = c->relay->wakes.n;
    event_store(c, seq, deliver_to_members(c, seq, SPAN(in->group_id)),
                &(event){.kind = EVENT_MESSAGE,
                         .group_id = SPAN(in->group_id),
                         .sender = SPAN(c->device),
                         .ref = SPAN(in->id),
                         .data = data});
    push_wanted(c, woken, seq);
    return seq;
}

bool message_sent(call *c, const message_input *in, int64_t seq) {
    /* The id is remembered from the delivery on. */
    DB_RUN_LATER(c->db,
                 "INSERT INTO sent (clinic, device, message_id, digest, seq, at) VALUES ($1, $2, $3, $4, $5, $6)",
                 db_id(c->clinic), db_id(c->device), db_id(in->id), db_b(SPAN(in->digest)), db_i(seq),
                 db_i(in->deliver_at != 0 ? in->deliver_at : c->now_ms));
    return message_answer(c, in, seq);
}

/* May the caller send what is of this epoch to the group? False: the problem is written. */
static bool message_fits(call *c, group_facts g, uint64_t epoch) {
    if (!g.exists)
        (void)problem(c, PROBLEM_NOT_FOUND, "there is no such group");
    else if (!g.member)
        (void)problem(c, PROBLEM_FORBIDDEN, "the caller is not a member of the group");
    else if (epoch > (uint64_t)g.epoch)
        (void)problem_more(c, PROBLEM_WRONG_EPOCH, "the message is of an epoch that the group has not reached", "epoch",
                           g.epoch);
    else
        return true;
    return false;
}

bool call_message(call *c) {
    message_input in = {0};
    private_message m;
    if (!message_read(c, &in, &m))
        return true;
    message_digest(c, &in);
    db_rows r = DB_QUERY(c->db, "SELECT digest, seq FROM sent WHERE clinic = $1 AND device = $2 AND message_id = $3",
                         db_id(c->clinic), db_id(c->device), db_id(in.id));
    if (db_next(&r)) {
        bool same = span_equal(db_bytes(&r, 0), SPAN(in.digest));
        int64_t seq = db_integer(&r, 1);
        db_end(&r);
        c->not_audited = same; /* the first time's entry stands for it */
        return same ? message_answer(c, &in, seq)
                    : problem(c, PROBLEM_ID_REUSED, "this client message id was used for another message");
    }
    if (!message_fits(c, find_group(c, in.group_id), m.epoch))
        return true;
    if (!use_fits(c, USE_STORED, (int64_t)c->rq->body.n))
        return true;
    if (in.deliver_at != 0)
        return schedule_message(c, &in);
    return message_sent(c, &in, message_deliver(c, &in, c->rq->body));
}

/* ---- together. A batch's messages cost a few statements of many rows instead of several each. What is decided by stands in the
 * directory; a message of which something is not as usual is left to be run by itself, where its answer is found. */

typedef struct message {
    call *call;
    message_input in;
    uint64_t epoch;
    int64_t seq;
    size_t woken; /* where its wake-ups begin, one for each member */
    span members;
    db_rows asked; /* for its group */
} message;

static const known_group *known_now(const message *m) {
    const call *c = m->call;
    const known_group *g = directory_group(c->relay->directory, m->in.group_id);
    bool now = g != NULL && g->generation == c->state->generation && memcmp(g->clinic, c->clinic, ID_SIZE) == 0;
    return now ? g : NULL;
}

static db_rows ask_group(const message *m) {
    return DB_QUERY(m->call->db,
                    "SELECT g.epoch, m.device FROM mls_groups g LEFT JOIN members m ON m.clinic = g.clinic AND "
                    "m.group_id = g.group_id AND m.active = 1 WHERE g.clinic = $1 AND g.group_id = $2 LIMIT $3",
                    db_id(m->call->clinic), db_b(SPAN(m->in.group_id)), db_i(GROUP_REMEMBERED_MAX + 1));
}

/* Remembers the group, unless there is none or it is too large. */
static void take_group(message *m) {
    const call *c = m->call;
    directory *d = c->relay->directory;
    known_group *g = NULL;
    size_t n = 0;
    for (; db_next(&m->asked) && n <= GROUP_REMEMBERED_MAX; n++) {
        if (g == NULL) {
            g = directory_add_group(d, m->in.group_id);
            memcpy(g->clinic, c->clinic, ID_SIZE);
            g->epoch = db_integer(&m->asked, 0);
            g->generation = c->state->generation;
        }
        if (n < GROUP_REMEMBERED_MAX && !db_is_null(&m->asked, 1))
            memcpy(g->members[g->count++], db_bytes(&m->asked, 1).p, ID_SIZE);
    }
    db_end(&m->asked);
    if (n > GROUP_REMEMBERED_MAX || db_failed(c->db))
        directory_forget_group(d, m->in.group_id);
}

/* Reads one, and asks for its group if need be. False: it is refused, or to be run by itself. */
static bool message_begin(call *c, message *out) {
    private_message m;
    *out = (message){.call = c};
    if (!message_read(c, &out->in, &m)) {
        c->done = true;
        return false;
    }
    if (out->in.deliver_at != 0)
        return false;
    out->epoch = m.epoch;
    if (known_now(out) == NULL)
        out->asked = ask_group(out);
    if (!db_pipelined(c->db))
        take_group(out);
    return true;
}

/* Of the clinic's quota, where event_store counts it for one by itself. */
static int64_t message_takes(const message *m) {
    return (int64_t)(m->call->rq->body.n + m->members.n / ID_SIZE * DELIVERY_BYTES);
}

/* Answers one as if its id were new. False: it is to be run by itself, or there is no memory. */
static bool message_prepare(message *m) {
    call *c = m->call;
    if (db_pipelined(c->db))
        take_group(m);
    const known_group *g = known_now(m);
    if (g == NULL)
        return false;
    bool member = false;
    for (size_t i = 0; i < g->count && !member; i++)
        member = memcmp(g->members[i], c->device, ID_SIZE) == 0;
    /* Whether its id was used comes before what the group says. */
    if (!member || m->epoch > (uint64_t)g->epoch || !use_has_room(c, USE_STORED, (int64_t)c->rq->body.n) ||
        arena_copy(c->arena, span_of(g->members, g->count * ID_SIZE), &m->members) != OK)
        return false;
    m->woken = c->relay->wakes.n;
    for (size_t i = 0; i < g->count; i++)
        wake_device(c, g->members[i]);
    message_digest(c, &m->in);
    m->seq = event_next(c);
    push_wanted(c, m->woken, m->seq);
    (void)message_answer(c, &m->in, m->seq);
    if (!c->over_wakes && c->rs->status == 200) {
        use_count(c, USE_STORED, message_takes(m));
        return true;
    }
    relay_unavailable(c->rs);
    c->done = true;
    return false;
}

static bool same_id(const message *m, const uint8_t device[ID_SIZE], const uint8_t id[MESSAGE_ID_BYTES]) {
    return memcmp(m->in.id, id, MESSAGE_ID_BYTES) == 0 && memcmp(m->call->device, device, ID_SIZE) == 0;
}

/* Remembers their ids. Those that were used before leave the list: they are run by themselves, and their numbers are left out. */
static size_t keep_new(relay *r, message *list, size_t n) {
    static db_many SENT = {.head = "INSERT INTO sent (clinic, device, message_id, digest, seq, at) VALUES ",
                           .tail = " ON CONFLICT DO NOTHING RETURNING device, message_id",
                           .columns = 6};
    db_value values[BATCH_MAX][6];
    bool is_new[BATCH_MAX] = {false};
    for (size_t i = 0; i < n; i++) {
        const message *m = &list[i];
        const db_value row[] = {db_id(m->call->clinic),   db_id(m->call->device), db_id(m->in.id),
                                db_b(SPAN(m->in.digest)), db_i(m->seq),           db_i(m->call->now_ms)};
        memcpy(values[i], row, sizeof row);
    }
    db_many_rows rows = db_many_query(r->db, &SENT, values[0], n);
    size_t at = 0, kept = 0;
    for (db_rows *row; (row = db_many_next(&rows)) != NULL;) {
        const uint8_t *device = db_bytes(row, 0).p, *id = db_bytes(row, 1).p;
        /* They come in the order in which they were given, so the next is the first that is looked at. */
        for (size_t tries = 0; tries < n && (is_new[at] || !same_id(&list[at], device, id)); tries++)
            at = at + 1 < n ? at + 1 : 0;
        is_new[at] = is_new[at] || same_id(&list[at], device, id);
    }
    for (size_t i = 0; i < n; i++) {
        if (is_new[i]) {
            list[kept++] = list[i];
        } else {
            use_count(list[i].call, USE_STORED, -message_takes(&list[i]));
            /* Nobody is to be rung for a number that is left out: it would look as if it were read. */
            for (size_t k = 0; k < list[i].members.n / ID_SIZE; k++)
                r->wakes.p[list[i].woken + k].push = WAKE_ONLY;
            response_free(list[i].call->rs);
            *list[i].call->rs = (response){0};
        }
    }
    return kept;
}

static void store_events(relay *r, const message *list, size_t n) {
    static db_many EVENTS = {
        .head = "INSERT INTO events (clinic, seq, waiting, kind, at, group_id, sender, ref, number, data) VALUES ",
        .tail = "",
        .columns = 10};
    db_value values[BATCH_MAX][10];
    for (size_t i = 0; i < n; i++) {
        const message *m = &list[i];
        const call *c = m->call;
        const db_value row[] = {db_id(c->clinic),    db_i(m->seq),    db_i((int64_t)(m->members.n / ID_SIZE)),
                                db_i(EVENT_MESSAGE), db_i(c->now_ms), db_b(SPAN(m->in.group_id)),
                                db_id(c->device),    db_id(m->in.id), db_i(0),
                                db_b(c->rq->body)};
        memcpy(values[i], row, sizeof row);
    }
    db_many_run_later(r->db, &EVENTS, values[0], n);
}

static void store_deliveries(relay *r, const message *list, size_t n) {
    static db_many DELIVERIES = {
        .head = "INSERT INTO deliveries (clinic, device, seq) VALUES ", .tail = "", .columns = 3};
    db_value values[DB_MANY_MAX][3];
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        for (size_t at = 0; at < list[i].members.n; at += ID_SIZE) {
            const db_value row[] = {db_id(list[i].call->clinic), db_id(list[i].members.p + at), db_i(list[i].seq)};
            memcpy(values[k++], row, sizeof row);
            if (k == DB_MANY_MAX) {
                db_many_run_later(r->db, &DELIVERIES, values[0], k);
                k = 0;
            }
        }
    }
    db_many_run_later(r->db, &DELIVERIES, values[0], k);
}

void messages_take(relay *r, call *const *calls, size_t n) {
    call *stored[BATCH_MAX];
    size_t begun = 0, kept = 0;
    message *list = arena_take(&r->scratch, n, sizeof *list);
    if (list == NULL)
        return;
    for (size_t i = 0; i < n; i++)
        begun += message_begin(calls[i], &list[begun]) ? 1 : 0;
    for (size_t i = 0; i < begun; i++)
        if (message_prepare(&list[i]))
            list[kept++] = list[i];
    kept = keep_new(r, list, kept);
    store_events(r, list, kept);
    store_deliveries(r, list, kept);
    for (size_t i = 0; i < kept; i++) {
        stored[i] = list[i].call;
        stored[i]->done = stored[i]->audited = true;
    }
    audit_note_all(stored, kept, AUDIT_MESSAGE);
}
