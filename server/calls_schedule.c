/* calls_schedule.c: messages that are delivered at a time of their own. Until then they wait in `scheduled`; what has become of
 * one is told by `seq` of its row in `sent`, so that exactly one of delivering and withdrawing wins. */
#include "base/text.h"
#include "call.h"

/* Together the size of a large batch; then others have their turn. */
#define DELIVERED_A_TRANSACTION 64

static void schedule_forget(call *c, const uint8_t device[ID_SIZE], const uint8_t id[MESSAGE_ID_BYTES], int64_t seq) {
    DB_RUN_LATER(c->db,
                 "UPDATE clinic_use SET stored = stored - COALESCE((SELECT SUM(LENGTH(data)) FROM scheduled "
                 "WHERE clinic = $1 AND device = $2 AND message_id = $3), 0) WHERE clinic = $1",
                 db_id(c->clinic), db_id(device), db_id(id));
    DB_RUN_LATER(c->db, "DELETE FROM scheduled WHERE clinic = $1 AND device = $2 AND message_id = $3", db_id(c->clinic),
                 db_id(device), db_id(id));
    DB_RUN_LATER(c->db, "UPDATE sent SET seq = $4 WHERE clinic = $1 AND device = $2 AND message_id = $3",
                 db_id(c->clinic), db_id(device), db_id(id), db_i(seq));
}

void schedule_forget_all(call *c, const uint8_t device[ID_SIZE]) {
    DB_RUN_LATER(c->db,
                 "UPDATE sent SET seq = $3 WHERE clinic = $1 AND device = $2 AND message_id IN "
                 "(SELECT message_id FROM scheduled WHERE clinic = $1 AND device = $2)",
                 db_id(c->clinic), db_id(device), db_i(SENT_NEVER));
    DB_RUN_LATER(c->db,
                 "UPDATE clinic_use SET stored = stored - COALESCE((SELECT SUM(LENGTH(data)) FROM scheduled "
                 "WHERE clinic = $1 AND device = $2), 0) WHERE clinic = $1",
                 db_id(c->clinic), db_id(device));
    DB_RUN_LATER(c->db, "DELETE FROM scheduled WHERE clinic = $1 AND device = $2", db_id(c->clinic), db_id(device));
}

bool schedule_message(call *c, const message_input *in) {
    if (in->deliver_at <= c->now_ms || in->deliver_at > c->now_ms + SCHEDULE_AHEAD_MS)
        return problem(c, PROBLEM_MALFORMED, "query parameter \"deliver_at\" must lie ahead, by 366 days at most");
    db_rows r = DB_QUERY(c->db, "SELECT COUNT(*) FROM scheduled WHERE clinic = $1 AND device = $2", db_id(c->clinic),
                         db_id(c->device));
    bool fits = db_next(&r) && db_integer(&r, 0) < SCHEDULED_MAX;
    db_end(&r);
    if (!fits)
        return problem_more(c, PROBLEM_TOO_LARGE, "too many messages of this device wait for their time", "limit",
                            SCHEDULED_MAX);
    DB_RUN_LATER(c->db,
                 "INSERT INTO scheduled (clinic, device, message_id, deliver_at, group_id, data) "
                 "VALUES ($1, $2, $3, $4, $5, $6)",
                 db_id(c->clinic), db_id(c->device), db_id(in->id), db_i(in->deliver_at), db_b(SPAN(in->group_id)),
                 db_b(c->rq->body));
    use_count(c, USE_STORED, (int64_t)c->rq->body.n);
    return message_sent(c, in, SENT_WAITING);
}

/* ---- withdrawing */

bool call_message_withdraw(call *c) {
    uint8_t group_id[GROUP_BYTES], id[MESSAGE_ID_BYTES], sender[ID_SIZE];
    span text = SPAN_NONE;
    bool twice = false;
    if (!path_id(c, group_id, sizeof group_id))
        return true;
    c->id = c->second_id;
    if (!path_id(c, id, sizeof id))
        return true;
    memcpy(sender, c->device, ID_SIZE);
    if (query_find(c, "sender", &text, &twice) && (twice || base64url_read(sender, sizeof sender, text) != OK))
        return problem(c, PROBLEM_MALFORMED, "query parameter \"sender\" must be one device id");
    if (memcmp(sender, c->device, ID_SIZE) != 0 && (c->rights & RIGHT_ROSTER) == 0)
        return problem(c, PROBLEM_FORBIDDEN, "the caller's certificate lacks the right to withdraw what others sent");
    db_rows r = DB_QUERY(c->db,
                         "SELECT s.seq, w.group_id FROM sent s LEFT JOIN scheduled w ON w.clinic = s.clinic AND "
                         "w.device = s.device AND w.message_id = s.message_id "
                         "WHERE s.clinic = $1 AND s.device = $2 AND s.message_id = $3",
                         db_id(c->clinic), db_id(sender), db_id(id));
    bool found = db_next(&r);
    int64_t seq = found ? db_integer(&r, 0) : 0;
    if (found && seq == SENT_WAITING)
        found = span_equal(db_bytes(&r, 1), SPAN(group_id));
    db_end(&r);
    if (!found)
        return db_failed(c->db) || problem(c, PROBLEM_NOT_FOUND, "there is no such message of this sender");
    if (seq > 0)
        return problem_more(c, PROBLEM_DELIVERED, "members may have it", "seq", seq);
    if (seq == SENT_WAITING)
        schedule_forget(c, sender, id, SENT_NEVER);
    return answer(c, 204);
}

/* ---- at its time */

/* Why the sender may not send now, as the name of the problem that the call would have; NULL: he may. */
static const char *sender_fault(call *c, const uint8_t group_id[GROUP_BYTES]) {
    const char *fault = "forbidden";
    db_rows r =
        DB_QUERY(c->db, "SELECT rights, not_after FROM devices WHERE clinic = $1 AND device = $2 AND revoked = 0",
                 db_id(c->clinic), db_id(c->device));
    if (db_next(&r)) {
        fault = db_integer(&r, 1) < now_s(c)               ? "bad-certificate"
                : (db_integer(&r, 0) & RIGHT_MESSAGE) != 0 ? NULL
                                                           : "forbidden";
        db_end(&r);
    }
    return fault != NULL || find_group(c, group_id).member ? fault : "forbidden";
}

/* The first that is due of the call's clinic; false: none is. */
static bool due_message(call *c, message_input *in, span *data) {
    db_rows r = DB_QUERY(c->db,
                         "SELECT device, message_id, group_id, data FROM scheduled WHERE clinic = $1 AND "
                         "deliver_at <= $2 ORDER BY deliver_at, device, message_id LIMIT 1",
                         db_id(c->clinic), db_i(c->now_ms));
    bool found = db_next(&r);
    if (found) {
        memcpy(c->device, db_bytes(&r, 0).p, ID_SIZE);
        memcpy(in->id, db_bytes(&r, 1).p, sizeof in->id);
        memcpy(in->group_id, db_bytes(&r, 2).p, sizeof in->group_id);
        found = arena_copy(c->arena, db_bytes(&r, 3), data) == OK;
    }
    db_end(&r);
    return found;
}

static void deliver_due(call *c, const message_input *in, span data) {
    const char *fault = sender_fault(c, in->group_id);
    int64_t seq = SENT_NEVER;
    if (fault == NULL) {
        seq = message_deliver(c, in, data);
    } else {
        int64_t own = event_next(c);
        event_store(c, own, deliver_to(c, own, c->device),
                    &(event){.kind = EVENT_UNDELIVERED,
                             .group_id = SPAN(in->group_id),
                             .ref = SPAN(in->id),
                             .data = span_text(fault)});
    }
    schedule_forget(c, c->device, in->id, seq);
}

bool relay_deliver_due(relay *r, int64_t now_ms) {
    call c = {.relay = r, .db = r->db, .arena = &r->scratch, .now_ms = now_ms};
    r->wakes.n = 0;
    r->db->error = OK;
    db_rows rows = DB_QUERY(r->db, "SELECT clinic FROM scheduled WHERE deliver_at <= $1 ORDER BY deliver_at LIMIT 1",
                            db_i(now_ms));
    bool any = db_next(&rows);
    if (any)
        memcpy(c.clinic, db_bytes(&rows, 0).p, ID_SIZE);
    db_end(&rows);
    if (!any || !relay_batch_begin(r, now_ms))
        return false;
    /* What is due is asked again once the clinic is ours: another relay may have delivered it, a device withdrawn it. */
    bool more = batch_open(&c);
    for (int i = 0; i < DELIVERED_A_TRANSACTION && more; i++) {
        message_input in = {0};
        span data = SPAN_NONE;
        arena_reset(&r->scratch);
        more = due_message(&c, &in, &data);
        if (more)
            deliver_due(&c, &in, data);
    }
    arena_reset(&r->scratch);
    if (c.over_wakes) { /* others would wait to the end of their time: rather again in a second */
        db_rollback(r->db);
        r->wakes.n = 0;
        return false;
    }
    return relay_batch_end(r);
}
