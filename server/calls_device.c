/* calls_device.c: enrolling and revoking devices. */
#include "session.h"

#include "base/secret.h"

/* ---- the invitation that an enrolment stands on */

typedef struct invitation_row {
    uint8_t id[ID_SIZE], issuer[ID_SIZE];
    int64_t state, attempts_left;
    span chain, check_value; /* check_value.p NULL: there is none */
} invitation_row;

static bool find_invitation(call *c, const uint8_t key[ED25519_PUBLIC_SIZE], invitation_row *row) {
    *row = (invitation_row){0};
    invite_id_of(key, row->id);
    db_rows r = DB_QUERY(c->db,
                         "SELECT issuer, state, attempts_left, chain, check_value FROM invitations "
                         "WHERE clinic = $1 AND invitation = $2",
                         db_id(c->clinic), db_id(row->id));
    bool found = db_next(&r);
    if (found) {
        memcpy(row->issuer, db_bytes(&r, 0).p, ID_SIZE);
        row->state = db_integer(&r, 1);
        row->attempts_left = db_integer(&r, 2);
        bool copied = arena_copy(c->arena, db_bytes(&r, 3), &row->chain) == OK;
        if (!db_is_null(&r, 4))
            copied = arena_copy(c->arena, db_bytes(&r, 4), &row->check_value) == OK && copied;
        found = copied;
    }
    db_end(&r);
    return found;
}

/* Tells the issuer. `what` is an index of INVITATION_EVENTS. */
static void tell_issuer(call *c, const invitation_row *row, uint8_t what, int64_t attempts_left, span device) {
    int64_t seq = event_next(c);
    event_store(c, seq, deliver_to(c, seq, row->issuer),
                &(event){.kind = EVENT_INVITATION,
                         .ref = SPAN(row->id),
                         .sender = device,
                         .number = attempts_left,
                         .data = span_of(&what, 1)});
}

static bool check_failed(call *c, const invitation_row *row) {
    int64_t left = row->attempts_left - 1;
    bool locked = left <= 0;
    DB_RUN_LATER(c->db, "UPDATE invitations SET attempts_left = $3, state = $4 WHERE clinic = $1 AND invitation = $2",
                 db_id(c->clinic), db_id(row->id), db_i(left), db_i(locked ? INVITATION_LOCKED : INVITATION_OPEN));
    tell_issuer(c, row, locked ? 2 : 1, left, SPAN_NONE);
    c->keep_changes = true; /* the attempt counts, whatever becomes of the enrolment */
    if (locked)
        return problem(c, PROBLEM_INVITATION_LOCKED, "that was the last attempt");
    return problem_more(c, PROBLEM_WRONG_CHECK, "member \"check\" is not the one registered", "attempts_left", left);
}

/* Uses the invitation up; true when enrolment may go on. */
static bool use_invitation(call *c) {
    invitation_row row;
    const certificate *invite = &c->chain.p[c->chain.n - 2];
    if (!find_invitation(c, invite->subject_key, &row)) {
        (void)problem(c, PROBLEM_NOT_FOUND, "the invitation of this chain was not registered here");
        return false;
    }
    if (row.state == INVITATION_USED)
        (void)problem(c, PROBLEM_INVITATION_USED, "it has enrolled a device");
    else if (row.state == INVITATION_LOCKED)
        (void)problem(c, PROBLEM_INVITATION_LOCKED, "there were five wrong checks");
    else if (row.state == INVITATION_WITHDRAWN)
        (void)problem(c, PROBLEM_INVITATION_GONE, "it was withdrawn");
    else if ((uint64_t)now_s(c) > invite->not_after)
        (void)problem(c, PROBLEM_INVITATION_GONE, "it has expired");
    else if (row.check_value.p != NULL) {
        uint8_t check[32];
        json_fixed(&c->json, "check", check, sizeof check);
        if (json_faulty(c))
            return false;
        if (!secret_equal(SPAN(check), row.check_value)) {
            (void)check_failed(c, &row);
            return false;
        }
    }
    if (c->rs->status != 0)
        return false;
    /* What was registered must be what is presented, not another certificate for the same key. */
    certificate_chain before = {.p = c->chain.p, .n = c->chain.n - 1};
    span encoded = SPAN_NONE;
    if (WIRE_ENCODE(c->arena, wire_certificate_chain, &before, &encoded) != OK || !span_equal(encoded, row.chain)) {
        (void)problem(c, PROBLEM_BAD_CERTIFICATE, "the invitation was registered with another chain");
        return false;
    }
    DB_RUN_LATER(c->db, "UPDATE invitations SET state = $3 WHERE clinic = $1 AND invitation = $2", db_id(c->clinic),
                 db_id(row.id), db_i(INVITATION_USED));
    tell_issuer(c, &row, 0, row.attempts_left, SPAN(c->device));
    return true;
}

/* ---- enrolment */

static bool enrolled_answer(call *c, int status, int64_t seq) {
    text_put(&c->out, "{");
    text_member_base64url(&c->out, "device", SPAN(c->device));
    text_member_base64url(&c->out, "clinic", SPAN(c->clinic));
    text_member_integer(&c->out, "seq", seq);
    text_put(&c->out, "}");
    return answer(c, status);
}

/* A device that is known: the same chain again, or a new one straight from the root (renewed, other rights). */
static bool enrol_again(call *c, bool same, bool revoked, int64_t enrolled) {
    const certificate *holder = certificate_chain_holder(&c->chain);
    if (revoked)
        return problem(c, PROBLEM_REVOKED, "this device was revoked and can't be enrolled again");
    if (!same && c->chain.n != 1)
        return problem(c, PROBLEM_FORBIDDEN, "this device is enrolled by another chain");
    if (!same) {
        directory_forget_device(c->relay->directory, c->device);
        clinic_changed(c);
        DB_RUN_LATER(
            c->db,
            "UPDATE devices SET chain = $3, kind = $4, rights = $5, not_after = $6 WHERE clinic = $1 AND device = $2",
            db_id(c->clinic), db_id(c->device), db_b(c->chain_bytes), db_i(holder->kind), db_i(holder->rights),
            db_i((int64_t)holder->not_after));
    }
    return enrolled_answer(c, 200, enrolled);
}

bool call_device_enrol(call *c) {
    const certificate *holder = certificate_chain_holder(&c->chain);
    if (holder->kind == CERTIFICATE_INVITE)
        return problem(c, PROBLEM_BAD_CERTIFICATE, "the chain ends in an invite, not in a device");
    if (holder->not_after > SEQUENCE_MAX)
        return problem(c, PROBLEM_BAD_CERTIFICATE, "not_after is beyond 2^53");
    db_rows r = DB_QUERY(c->db, "SELECT revoked, enrolled, chain FROM devices WHERE clinic = $1 AND device = $2",
                         db_id(c->clinic), db_id(c->device));
    if (db_next(&r)) {
        bool revoked = db_integer(&r, 0) != 0, same = span_equal(db_bytes(&r, 2), c->chain_bytes);
        int64_t enrolled = db_integer(&r, 1);
        db_end(&r);
        return enrol_again(c, same, revoked, enrolled);
    }
    if (c->chain.n > 1 && !use_invitation(c))
        return true;
    if (!use_fits(c, USE_DEVICES, 1))
        return true;
    use_count(c, USE_DEVICES, 1);
    if (DB_RUN(c->db, "INSERT INTO directory (name, clinic) VALUES ($1, $2) ON CONFLICT DO NOTHING", db_id(c->device),
               db_id(c->clinic)) != 1)
        return db_failed(c->db) || problem(c, PROBLEM_FORBIDDEN, "this key is enrolled in another clinic");
    int64_t seq = event_next(c);
    event_store(c, seq, deliver_to_roster_keepers(c, seq, c->device),
                &(event){.kind = EVENT_DEVICE, .ref = SPAN(c->device), .data = c->chain_bytes});
    DB_RUN_LATER(c->db,
                 "INSERT INTO devices (clinic, device, public_key, chain, kind, rights, not_after, enrolled, revoked) "
                 "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0)",
                 db_id(c->clinic), db_id(c->device), db_b(SPAN(c->key)), db_b(c->chain_bytes), db_i(holder->kind),
                 db_i(holder->rights), db_i((int64_t)holder->not_after), db_i(seq));
    if (holder->kind == CERTIFICATE_STAFF)
        registration_open_until(c, c->device, c->now_ms + REGISTER_AFTER_ENROLMENT_MS);
    return enrolled_answer(c, 201, seq);
}

bool call_device_get(call *c) {
    uint8_t id[ID_SIZE];
    if (!path_id(c, id, sizeof id))
        return true;
    db_rows r = DB_QUERY(c->db, "SELECT chain, revoked FROM devices WHERE clinic = $1 AND device = $2",
                         db_id(c->clinic), db_id(id));
    if (!db_next(&r))
        return problem(c, PROBLEM_NOT_FOUND, "the clinic has no such device");
    text_put(&c->out, "{");
    text_member_base64url(&c->out, "device", SPAN(id));
    text_member_base64url(&c->out, "chain", db_bytes(&r, 0));
    text_member(&c->out, "revoked");
    text_put(&c->out, db_integer(&r, 1) != 0 ? "true}" : "false}");
    db_end(&r);
    return answer(c, 200);
}

bool call_device_revoke(call *c) {
    uint8_t id[ID_SIZE];
    if (!path_id(c, id, sizeof id))
        return true;
    if (memcmp(id, c->device, ID_SIZE) != 0 && (c->rights & RIGHT_ROSTER) == 0)
        return problem(c, PROBLEM_FORBIDDEN, "the caller's certificate lacks the right to revoke other devices");
    db_rows r =
        DB_QUERY(c->db, "SELECT revoked FROM devices WHERE clinic = $1 AND device = $2", db_id(c->clinic), db_id(id));
    if (!db_next(&r))
        return problem(c, PROBLEM_NOT_FOUND, "the clinic has no such device");
    bool already = db_integer(&r, 0) != 0;
    db_end(&r);
    if (already)
        return answer(c, 204);
    db_value clinic = db_id(c->clinic), device = db_id(id);
    directory_forget_device(c->relay->directory, id);
    c->state->generation = directory_forget_clinic(c->relay->directory, c->clinic); /* the groups it is a member of */
    clinic_changed(c);
    DB_RUN_LATER(c->db, "UPDATE devices SET revoked = $3 WHERE clinic = $1 AND device = $2", clinic, device,
                 db_i(c->now_ms));
    DB_RUN_LATER(c->db, "UPDATE members SET active = 0 WHERE clinic = $1 AND device = $2", clinic, device);
    DB_RUN_LATER(c->db, "DELETE FROM key_packages WHERE clinic = $1 AND device = $2", clinic, device);
    DB_RUN_LATER(c->db, "DELETE FROM last_resorts WHERE clinic = $1 AND device = $2", clinic, device);
    DB_RUN_LATER(c->db, "UPDATE invitations SET state = $3 WHERE clinic = $1 AND issuer = $2 AND state = $4", clinic,
                 device, db_i(INVITATION_WITHDRAWN), db_i(INVITATION_OPEN));
    schedule_forget_all(c, id);
    push_forget(c, id);
    verification_forget(c, id);
    (void)inbox_acknowledge(c, id, SEQUENCE_MAX);
    wake_device(c, id); /* ends its waits */
    return answer(c, 204);
}
