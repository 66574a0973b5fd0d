/* retention.c: what a device never fetched is deleted after the clinic's period (PROTOCOL.md, "Retention"). The slow round goes over
 * the devices: their inboxes are ranges of a key, where an index of events by age would cost every message something. */
#include "call.h"

/* Devices looked at, and events taken out of inboxes, in one round: they bound how long other requests wait. */
#define DEVICES_A_ROUND 500
#define INVITATIONS_A_ROUND 500
#define TRANSACTIONS_A_ROUND 32
#define EVENTS_A_TRANSACTION 128

typedef struct late_device {
    uint8_t clinic[ID_SIZE], device[ID_SIZE];
    int64_t before; /* what came before this time is too old */
} late_device;

/* A clinic's period, out of the column with its own number of days. */
static int64_t period_ms(const relay *r, const db_rows *rows, int column) {
    int64_t days = db_is_null(rows, column) ? r->options.retention_days : db_integer(rows, column);
    return (days > RETENTION_DAYS_MIN ? days : RETENTION_DAYS_MIN) * 24 * 3600 * 1000;
}

/* The newest of the device's oldest events that are too old; 0: there is nothing to do. *more: there may be others behind. */
static int64_t newest_expired(call *c, int64_t before, bool *more) {
    int64_t newest = 0, seen = 0, others = 0;
    db_rows r = DB_QUERY(c->db,
                         "SELECT d.seq, e.at, e.kind FROM deliveries d JOIN events e ON e.clinic = d.clinic AND "
                         "e.seq = d.seq WHERE d.clinic = $1 AND d.device = $2 ORDER BY d.seq LIMIT $3",
                         db_id(c->clinic), db_id(c->device), db_i(EVENTS_A_TRANSACTION));
    while (db_next(&r)) {
        if (db_integer(&r, 1) >= before)
            break;
        newest = db_integer(&r, 0);
        others += db_integer(&r, 2) != EVENT_GAP;
        seen++;
    }
    db_end(&r);
    *more = seen == EVENTS_A_TRANSACTION;
    return others > 0 ? newest : 0;
}

/* Takes the device's oldest events out of its inbox; the last of them stays as the gap that tells of them all. The body of an event
 * for which others wait too is theirs no longer: it is as old for them. */
static err expire(call *c, int64_t before, bool *more) {
    TRY(db_begin(c->db));
    db_lock(c->db, SPAN(c->clinic));
    int64_t newest = newest_expired(c, before, more);
    if (newest != 0) {
        (void)inbox_acknowledge(c, c->device, newest - 1);
        DB_RUN_LATER(c->db,
                     "UPDATE clinic_use SET stored = stored - COALESCE((SELECT SUM(LENGTH(data)) FROM events "
                     "WHERE clinic = $1 AND seq = $2), 0) WHERE clinic = $1",
                     db_id(c->clinic), db_i(newest));
        DB_RUN(c->db,
               "UPDATE events SET kind = $3, group_id = NULL, sender = NULL, ref = NULL, number = 0, data = NULL "
               "WHERE clinic = $1 AND seq = $2",
               db_id(c->clinic), db_i(newest), db_i(EVENT_GAP));
    }
    *more = *more && newest != 0;
    return db_commit(c->db);
}

/* The next devices, of which those come into `late` whose oldest event is too old. Returns how many there are of these. */
static size_t find_late(relay *r, int64_t now_ms, late_device late[DEVICES_A_ROUND]) {
    uint8_t last[2 * ID_SIZE] = {0};
    size_t n = 0, seen = 0;
    db_rows rows = DB_QUERY(
        r->db,
        "SELECT v.clinic, v.device, p.days, (SELECT e.at FROM deliveries d JOIN events e ON e.clinic = d.clinic AND "
        "e.seq = d.seq WHERE d.clinic = v.clinic AND d.device = v.device AND e.kind <> $3 ORDER BY d.seq LIMIT 1) "
        "FROM devices v LEFT JOIN retention p ON p.clinic = v.clinic WHERE (v.clinic, v.device) > ($1, $2) "
        "ORDER BY v.clinic, v.device LIMIT $4",
        db_id(r->tidy_inbox), db_id(r->tidy_inbox + ID_SIZE), db_i(EVENT_GAP), db_i(DEVICES_A_ROUND));
    while (db_next(&rows)) {
        memcpy(last, db_bytes(&rows, 0).p, ID_SIZE);
        memcpy(last + ID_SIZE, db_bytes(&rows, 1).p, ID_SIZE);
        seen++;
        int64_t before = now_ms - period_ms(r, &rows, 2);
        if (db_is_null(&rows, 3) || db_integer(&rows, 3) >= before)
            continue;
        late[n] = (late_device){.before = before};
        memcpy(late[n].clinic, last, ID_SIZE);
        memcpy(late[n++].device, last + ID_SIZE, ID_SIZE);
    }
    if (seen < DEVICES_A_ROUND)
        memset(last, 0, sizeof last); /* the end: begin again */
    memcpy(r->tidy_inbox, last, sizeof last);
    return db_failed(r->db) ? 0 : n;
}

static void expire_inboxes(relay *r, int64_t now_ms) {
    late_device *late = arena_take(&r->scratch, DEVICES_A_ROUND, sizeof *late);
    if (late == NULL)
        return;
    uint8_t start[2 * ID_SIZE];
    memcpy(start, r->tidy_inbox, sizeof start);
    size_t n = find_late(r, now_ms, late);
    int left = TRANSACTIONS_A_ROUND;
    for (size_t i = 0; i < n; i++) {
        call c = {.relay = r, .db = r->db, .arena = &r->scratch, .now_ms = now_ms};
        memcpy(c.clinic, late[i].clinic, ID_SIZE);
        memcpy(c.device, late[i].device, ID_SIZE);
        bool more = true;
        while (more && left > 0) {
            if (expire(&c, late[i].before, &more) != OK)
                return;
            left--;
        }
        if (left == 0 && (more || i + 1 < n)) { /* the next round looks at the same devices again */
            memcpy(r->tidy_inbox, start, sizeof start);
            return;
        }
    }
}

/* An invitation that has been over for so long answers as before, but what it said, and what a birth date was made into, go. */
static void empty_invitations(relay *r, int64_t now_ms) {
    uint8_t(*keys)[2 * ID_SIZE] = arena_take(&r->scratch, INVITATIONS_A_ROUND, sizeof *keys);
    uint8_t last[2 * ID_SIZE] = {0};
    size_t n = 0, seen = 0;
    if (keys == NULL)
        return;
    db_rows rows = DB_QUERY(r->db,
                            "SELECT i.clinic, i.invitation, p.days, i.expires, LENGTH(i.sealed) FROM invitations i "
                            "LEFT JOIN retention p ON p.clinic = i.clinic WHERE (i.clinic, i.invitation) > ($1, $2) "
                            "ORDER BY i.clinic, i.invitation LIMIT $3",
                            db_id(r->tidy_invitation), db_id(r->tidy_invitation + ID_SIZE), db_i(INVITATIONS_A_ROUND));
    for (; db_next(&rows); seen++) {
        memcpy(last, db_bytes(&rows, 0).p, ID_SIZE);
        memcpy(last + ID_SIZE, db_bytes(&rows, 1).p, ID_SIZE);
        if (db_integer(&rows, 4) > 0 && db_integer(&rows, 3) < (now_ms - period_ms(r, &rows, 2)) / 1000)
            memcpy(keys[n++], last, sizeof last);
    }
    if (db_failed(r->db))
        return;
    if (seen < INVITATIONS_A_ROUND)
        memset(last, 0, sizeof last);
    memcpy(r->tidy_invitation, last, sizeof last);
    if (n == 0 || db_begin(r->db) != OK)
        return;
    for (size_t i = 0; i < n; i++)
        /* A check that was asked for stays asked for, and nothing is right: a clock that was ahead opens no invitation. */
        DB_RUN(r->db,
               "UPDATE invitations SET sealed = $3, check_value = CASE WHEN check_value IS NULL THEN NULL ELSE $3 END "
               "WHERE clinic = $1 AND invitation = $2",
               db_id(keys[i]), db_id(keys[i] + ID_SIZE), db_b(SPAN_NONE));
    (void)!db_commit(r->db);
}

void retention_tidy(relay *r, int64_t now_ms) {
    expire_inboxes(r, now_ms);
    arena_reset(&r->scratch);
    r->db->error = OK;
    empty_invitations(r, now_ms);
}
