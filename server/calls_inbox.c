/* calls_inbox.c: events, their way into inboxes and out of them. */
#include <stdlib.h>

#include "session.h"

/* ---- in */

int64_t event_next(call *c) {
    c->state->seq_changed = true;
    return ++c->state->seq;
}

bool wakes_add(relay_wakes_list *list, const uint8_t device[ID_SIZE]) {
    if (list->n == list->room) {
        size_t room = list->room ? list->room * 2 : 256;
        wake *p = realloc(list->p, room * sizeof *p);
        if (p == NULL)
            return false;
        list->p = p;
        list->room = room;
    }
    wake *w = &list->p[list->n++];
    *w = (wake){.push = WAKE_ONLY};
    memcpy(w->device, device, ID_SIZE);
    return true;
}

void wake_device(call *c, const uint8_t device[ID_SIZE]) { c->over_wakes |= !wakes_add(&c->relay->wakes, device); }

/* Wakes each device that an INSERT … RETURNING device gave something to. */
static int64_t wake_all(call *c, db_rows r) {
    int64_t n = 0;
    for (; db_next(&r); n++)
        wake_device(c, db_bytes(&r, 0).p);
    return n;
}

int64_t deliver_to(call *c, int64_t seq, const uint8_t device[ID_SIZE]) {
    return wake_all(c, DB_QUERY(c->db,
                                "INSERT INTO deliveries (clinic, device, seq) SELECT clinic, device, $3 FROM devices "
                                "WHERE clinic = $1 AND device = $2 AND revoked = 0 RETURNING device",
                                db_id(c->clinic), db_id(device), db_i(seq)));
}

int64_t deliver_to_members(call *c, int64_t seq, span group_id) {
    return wake_all(c, DB_QUERY(c->db,
                                "INSERT INTO deliveries (clinic, device, seq) SELECT clinic, device, $3 FROM members "
                                "WHERE clinic = $1 AND group_id = $2 AND active = 1 RETURNING device",
                                db_id(c->clinic), db_b(group_id), db_i(seq)));
}

int64_t deliver_to_roster_keepers(call *c, int64_t seq, const uint8_t except[ID_SIZE]) {
    return wake_all(c, DB_QUERY(c->db,
                                "INSERT INTO deliveries (clinic, device, seq) SELECT clinic, device, $2 FROM devices "
                                "WHERE clinic = $1 AND kind IN (1, 2) AND (rights & $3) <> 0 AND revoked = 0 "
                                "AND device <> $4 RETURNING device",
                                db_id(c->clinic), db_i(seq), db_i(RIGHT_ROSTER), db_id(except)));
}

int64_t deliver_to_all(call *c, int64_t seq) {
    return wake_all(c, DB_QUERY(c->db,
                                "INSERT INTO deliveries (clinic, device, seq) SELECT clinic, device, $2 FROM devices "
                                "WHERE clinic = $1 AND revoked = 0 RETURNING device",
                                db_id(c->clinic), db_i(seq)));
}

static db_value optional(span s) { return s.p == NULL ? db_null() : db_b(s); }

void event_store(call *c, int64_t seq, int64_t waiting, const event *e) {
    if (waiting == 0)
        return;
    use_count(c, USE_STORED, (int64_t)e->data.n + waiting * DELIVERY_BYTES);
    DB_RUN_LATER(c->db,
                 "INSERT INTO events (clinic, seq, waiting, kind, at, group_id, sender, ref, number, data) "
                 "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
                 db_id(c->clinic), db_i(seq), db_i(waiting), db_i(e->kind), db_i(c->now_ms), optional(e->group_id),
                 optional(e->sender), optional(e->ref), db_i(e->number), optional(e->data));
}

/* ---- out */

bool inbox_acknowledge(call *c, const uint8_t device[ID_SIZE], int64_t after) {
    db_value clinic = db_id(c->clinic), id = db_id(device), last = db_i(after);
    /* Nobody else counts them down meanwhile: the clinic is locked. */
    db_rows r = DB_QUERY(c->db,
                         "SELECT COUNT(*), COUNT(CASE WHEN e.waiting <= 1 THEN 1 END), "
                         "COALESCE(SUM(CASE WHEN e.waiting <= 1 THEN LENGTH(e.data) END), 0) FROM deliveries d "
                         "LEFT JOIN events e ON e.clinic = d.clinic AND e.seq = d.seq "
                         "WHERE d.clinic = $1 AND d.device = $2 AND d.seq <= $3",
                         clinic, id, last);
    bool found = db_next(&r);
    int64_t taken = found ? db_integer(&r, 0) : 0, ended = found ? db_integer(&r, 1) : 0,
            bytes = found ? db_integer(&r, 2) + taken * DELIVERY_BYTES : 0;
    db_end(&r);
    if (taken == 0)
        return false;
    if (ended > 0)
        DB_RUN_LATER(c->db,
                     "DELETE FROM events WHERE clinic = $1 AND waiting <= 1 AND seq IN "
                     "(SELECT seq FROM deliveries WHERE clinic = $1 AND device = $2 AND seq <= $3)",
                     clinic, id, last);
    if (ended < taken)
        DB_RUN_LATER(c->db,
                     "UPDATE events SET waiting = waiting - 1 WHERE clinic = $1 AND seq IN "
                     "(SELECT seq FROM deliveries WHERE clinic = $1 AND device = $2 AND seq <= $3)",
                     clinic, id, last);
    DB_RUN_LATER(c->db, "DELETE FROM deliveries WHERE clinic = $1 AND device = $2 AND seq <= $3", clinic, id, last);
    if (c->state != NULL)
        use_count(c, USE_STORED, -bytes);
    else if (bytes > 0) /* not within a batch */
        DB_RUN_LATER(c->db, "UPDATE clinic_use SET stored = stored - $2 WHERE clinic = $1", clinic, db_i(bytes));
    return true;
}

static void put_sender(text *t, const db_rows *r) {
    text_member_base64url(t, "group", db_bytes(r, 3));
    text_member_base64url(t, "sender", db_bytes(r, 4));
}

static const char *const INVITATION_EVENTS[] = {"used", "wrong-check", "locked"};

static void put_event(text *t, const db_rows *r) {
    text_put(t, "{");
    text_member_integer(t, "seq", db_integer(r, 0));
    text_member(t, "kind");
    switch ((event_kind)db_integer(r, 1)) {
    case EVENT_MESSAGE:
        text_put(t, "\"message\"");
        put_sender(t, r);
        text_member_base64url(t, "id", db_bytes(r, 5));
        text_member_base64url(t, "data", db_bytes(r, 7));
        break;
    case EVENT_COMMIT:
    case EVENT_WELCOME:
        text_put(t, db_integer(r, 1) == EVENT_COMMIT ? "\"commit\"" : "\"welcome\"");
        put_sender(t, r);
        text_member_integer(t, "epoch", db_integer(r, 6));
        text_member_base64url(t, "data", db_bytes(r, 7));
        break;
    case EVENT_DEVICE:
        text_put(t, "\"device\"");
        text_member_base64url(t, "device", db_bytes(r, 5));
        text_member_base64url(t, "chain", db_bytes(r, 7));
        break;
    case EVENT_INVITATION: { /* number: attempts left; the state is in data's one byte */
        size_t state = db_bytes(r, 7).n == 1 ? db_bytes(r, 7).p[0] : 0;
        text_put(t, "\"invitation\"");
        text_member_base64url(t, "invitation", db_bytes(r, 5));
        text_member_string(t, "state", INVITATION_EVENTS[state < 3 ? state : 0]);
        text_member_integer(t, "attempts_left", db_integer(r, 6));
        if (!db_is_null(r, 4))
            text_member_base64url(t, "device", db_bytes(r, 4));
        break;
    }
    case EVENT_ROSTER:
        text_put(t, "\"roster\"");
        text_member_integer(t, "number", db_integer(r, 6));
        break;
    case EVENT_UNDELIVERED: /* data: the name of the problem, which is plain */
        text_put(t, "\"undelivered\"");
        text_member_base64url(t, "group", db_bytes(r, 3));
        text_member_base64url(t, "id", db_bytes(r, 5));
        text_member(t, "reason");
        text_string(t, db_bytes(r, 7));
        break;
    case EVENT_GAP: text_put(t, "\"gap\""); break;
    }
    text_member_integer(t, "at", db_integer(r, 2));
    text_put(t, "}");
}

/* A database whose answers come whole is not asked for more than a page holds: a device may have let gigabytes come together. */
static db_rows inbox_query(db *d, const inbox_wait *wait) {
    if (db_pipelined(d))
        return DB_QUERY(
            d,
            "SELECT seq, kind, at, group_id, sender, ref, number, data FROM (SELECT d.seq, e.kind, e.at, e.group_id, "
            "e.sender, e.ref, e.number, e.data, SUM(COALESCE(LENGTH(e.data), 0)) OVER (ORDER BY d.seq ROWS UNBOUNDED "
            "PRECEDING) AS bytes FROM deliveries d JOIN events e ON e.clinic = d.clinic AND e.seq = d.seq "
            "WHERE d.clinic = $1 AND d.device = $2 AND d.seq > $3 ORDER BY d.seq LIMIT $4) AS page "
            "WHERE bytes - COALESCE(LENGTH(data), 0) <= $5 ORDER BY seq",
            db_id(wait->clinic), db_id(wait->device), db_i(wait->after), db_i(wait->limit), db_i(INBOX_BYTES_MAX));
    return DB_QUERY(d,
                    "SELECT e.seq, e.kind, e.at, e.group_id, e.sender, e.ref, e.number, e.data FROM deliveries d "
                    "JOIN events e ON e.clinic = d.clinic AND e.seq = d.seq "
                    "WHERE d.clinic = $1 AND d.device = $2 AND d.seq > $3 ORDER BY d.seq LIMIT $4",
                    db_id(wait->clinic), db_id(wait->device), db_i(wait->after), db_i(wait->limit));
}

/* Appends the events after `after`; separated by commas, or each as a frame of an event stream. Returns the last one's
 * sequence number, or `after` when there are none. */
static int64_t inbox_read(db_rows r, const inbox_wait *wait, bool frames, text *t) {
    int64_t last = wait->after;
    size_t start = t->n;
    while (db_next(&r)) {
        /* 4/3 for base64url; a first event of any size goes alone. */
        if (t->n > start && t->n - start + db_bytes(&r, 7).n * 4 / 3 > INBOX_BYTES_MAX)
            break;
        last = db_integer(&r, 0);
        if (frames) {
            text_put(t, "id: ");
            text_integer(t, last);
            text_put(t, "\ndata: ");
        } else if (t->n > start) {
            text_put(t, ",");
        }
        put_event(t, &r);
        if (frames)
            text_put(t, "\n\n");
    }
    db_end(&r);
    return last;
}

/* {"events":[…],"next":N,"now":…}; returns whether there are events. */
static bool inbox_page(db_rows r, const inbox_wait *wait, int64_t now_ms, text *t) {
    text_put(t, "{\"events\":[");
    int64_t last = inbox_read(r, wait, false, t);
    text_put(t, "],\"next\":");
    text_integer(t, last);
    text_member_integer(t, "now", now_ms);
    text_put(t, "}");
    return last != wait->after;
}

bool call_inbox(call *c) {
    inbox_wait wait = {0};
    if (!query_integer(c, "after", -1, 0, SEQUENCE_MAX, &wait.after) ||
        !query_integer(c, "wait", 0, 0, WAIT_MAX_S, &wait.seconds) ||
        !query_integer(c, "limit", INBOX_LIMIT_DEFAULT, 1, INBOX_LIMIT_MAX, &wait.limit))
        return true;
    /* A cursor from the future would acknowledge what has not happened yet. */
    if (wait.after > c->state->seq)
        return problem(c, PROBLEM_MALFORMED, "query parameter \"after\" is beyond the clinic's newest sequence number");
    memcpy(wait.clinic, c->clinic, ID_SIZE);
    memcpy(wait.device, c->device, ID_SIZE);
    call_object_number(c, wait.after);
    c->promises_nothing = true; /* a device that was answered comes with a cursor that takes the same and more */
    /* What lies behind the cursor does not change by acknowledging what lies before it, so it can be asked for at the same time. */
    db_rows page = {.db = c->db};
    if (!c->rq->event_stream)
        page = inbox_query(c->db, &wait);
    bool took = inbox_acknowledge(c, c->device, wait.after);
    if (c->rq->event_stream) {
        *c->rs = (response){.status = 200, .type = "text/event-stream", .then = THEN_STREAM, .wait = wait};
        return true;
    }
    bool gave = inbox_page(page, &wait, c->now_ms, &c->out);
    c->not_audited = !took && !gave; /* looking for news and finding none is not an access */
    if (gave || wait.seconds == 0)
        return answer(c, 200);
    *c->rs = (response){.status = 200, .then = THEN_WAIT, .wait = wait};
    return true;
}

/* ---- afterwards, for those who wait */

/* Both are asked for at the same time. */
typedef struct look {
    db_rows device, page;
} look;

static look look_for(db *d, const inbox_wait *wait) {
    return (look){.device = DB_QUERY(d,
                                     "SELECT d.revoked, p.clinic FROM devices d LEFT JOIN policies p ON "
                                     "p.clinic = d.clinic WHERE d.clinic = $1 AND d.device = $2",
                                     db_id(wait->clinic), db_id(wait->device)),
                  .page = inbox_query(d, wait)};
}

/* True when the device may not be told any more; the problem is written. A session can end while somebody waits. */
static bool is_barred(db *d, look *l, const inbox_wait *wait, int64_t now_ms, response *rs) {
    session_state s;
    bool found = db_next(&l->device), revoked = found && db_integer(&l->device, 0) != 0,
         policy = found && !db_is_null(&l->device, 1);
    db_end(&l->device);
    if (!revoked && !policy)
        return false;
    db_end(&l->page);
    if (revoked) {
        problem_write(rs, PROBLEM_REVOKED, "this device may not ask for anything any more", NULL, 0);
        return true;
    }
    if (!session_read(d, SPAN(wait->clinic), SPAN(wait->device), now_ms, &s) || !s.needed || s.live) {
        l->page = inbox_query(d, wait);
        return false;
    }
    session_problem(rs, d, SPAN(wait->clinic), SPAN(wait->device), &s);
    return true;
}

bool relay_inbox_answer(relay *r, const inbox_wait *wait, bool last, int64_t now_ms, response *rs) {
    text t = {0};
    *rs = (response){.status = 200, .type = "application/json"};
    r->db->error = OK;
    look l = look_for(r->db, wait);
    if (is_barred(r->db, &l, wait, now_ms, rs)) {
        if (db_failed(r->db))
            relay_unavailable(rs);
        return true;
    }
    bool any = inbox_page(l.page, wait, now_ms, &t);
    if (db_failed(r->db) || t.failed) {
        text_free(&t);
        relay_unavailable(rs);
        return true;
    }
    if (!any && !last) {
        text_free(&t);
        return false;
    }
    rs->body = t.p;
    rs->body_size = t.n;
    return true;
}

bool relay_inbox_stream(relay *r, inbox_wait *wait, int64_t now_ms, text *out) {
    response rs = {0};
    r->db->error = OK;
    look l = look_for(r->db, wait);
    bool barred = is_barred(r->db, &l, wait, now_ms, &rs);
    response_free(&rs);
    if (barred)
        return false;
    wait->after = inbox_read(l.page, wait, true, out);
    return !db_failed(r->db) && !out->failed;
}
