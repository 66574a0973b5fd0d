/* calls_invitation.c: invitations, their attempts and states. The relay holds an invite's public key, never its secret. */
#include "call.h"

static bool id_answer(call *c, int status, const uint8_t id[ID_SIZE]) {
    text_put(&c->out, "{");
    text_member_base64url(&c->out, "invitation", span_of(id, ID_SIZE));
    text_put(&c->out, "}");
    return answer(c, status);
}

/* An invitation that is known: the same again is fine. */
static bool invitation_exists(call *c, const uint8_t id[ID_SIZE], span chain, span sealed, span check, bool *same) {
    db_rows r =
        DB_QUERY(c->db, "SELECT chain, sealed, check_value FROM invitations WHERE clinic = $1 AND invitation = $2",
                 db_id(c->clinic), db_id(id));
    bool found = db_next(&r);
    if (found)
        *same = span_equal(db_bytes(&r, 0), chain) && span_equal(db_bytes(&r, 1), sealed) &&
                db_is_null(&r, 2) == (check.p == NULL) && span_equal(db_bytes(&r, 2), check);
    db_end(&r);
    return found;
}

bool call_invitation_create(call *c) {
    uint8_t check_bytes[32], id[ID_SIZE];
    certificate_chain chain;
    span chain_bytes = json_bytes(&c->json, "chain", CHAIN_BYTES_MAX);
    span sealed = json_bytes(&c->json, "sealed", SEALED_MAX), check = SPAN_NONE;
    if (json_has(&c->json, "check")) {
        json_fixed(&c->json, "check", check_bytes, sizeof check_bytes);
        check = SPAN(check_bytes);
    }
    if (json_faulty(c) || !chain_read(c, chain_bytes, &chain) || !chain_verify(c, &chain))
        return true;
    const certificate *invite = certificate_chain_holder(&chain);
    if (invite->kind != CERTIFICATE_INVITE)
        return problem(c, PROBLEM_BAD_CERTIFICATE, "the chain does not end in an invite");
    if (memcmp(invite->issuer_key, c->key, sizeof c->key) != 0)
        return problem(c, PROBLEM_FORBIDDEN, "the invite was not issued by the caller");
    uint32_t right = invite->enrols == CERTIFICATE_PATIENT ? RIGHT_INVITE_PATIENT : RIGHT_INVITE_STAFF;
    if ((c->rights & right) == 0)
        return problem(c, PROBLEM_FORBIDDEN, "the caller's certificate lacks the right to invite these");
    if (invite->not_after > SEQUENCE_MAX)
        return problem(c, PROBLEM_BAD_CERTIFICATE, "not_after is beyond 2^53");
    invite_id_of(invite->subject_key, id);
    call_object(c, SPAN(id));
    bool same = false;
    if (invitation_exists(c, id, chain_bytes, sealed, check, &same))
        return same ? id_answer(c, 200, id)
                    : problem(c, PROBLEM_ID_REUSED, "this invite was registered with other content");
    if (!use_fits(c, USE_INVITATIONS, 1))
        return true;
    use_count(c, USE_INVITATIONS, 1);
    if (DB_RUN(c->db, "INSERT INTO directory (name, clinic) VALUES ($1, $2) ON CONFLICT DO NOTHING", db_id(id),
               db_id(c->clinic)) != 1)
        return db_failed(c->db) || problem(c, PROBLEM_ID_REUSED, "this invite key is registered in another clinic");
    db_rows r =
        DB_QUERY(c->db, "SELECT COALESCE(MAX(number), 0) + 1 FROM invitations WHERE clinic = $1 AND issuer = $2",
                 db_id(c->clinic), db_id(c->device));
    int64_t number = db_next(&r) ? db_integer(&r, 0) : 0;
    db_end(&r);
    DB_RUN_LATER(
        c->db,
        "INSERT INTO invitations (clinic, invitation, public_key, issuer, state, attempts_left, enrols, expires, "
        "created, number, chain, "
        "sealed, check_value) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        db_id(c->clinic), db_id(id), db_b(SPAN(invite->subject_key)), db_id(c->device), db_i(INVITATION_OPEN),
        db_i(CHECK_ATTEMPTS), db_i(invite->enrols), db_i((int64_t)invite->not_after), db_i(c->now_ms), db_i(number),
        db_b(chain_bytes), db_b(sealed), check.p == NULL ? db_null() : db_b(check));
    return id_answer(c, 201, id);
}

bool call_invitation_get(call *c) {
    db_rows r = DB_QUERY(c->db,
                         "SELECT state, attempts_left, expires, sealed, check_value FROM invitations WHERE clinic = $1 "
                         "AND invitation = $2",
                         db_id(c->clinic), db_id(c->device));
    if (!db_next(&r))
        return problem(c, PROBLEM_NOT_FOUND, "there is no such invitation");
    int64_t state = db_integer(&r, 0), left = db_integer(&r, 1), expires = db_integer(&r, 2);
    text_put(&c->out, "{");
    text_member_base64url(&c->out, "sealed", db_bytes(&r, 3));
    text_member_string(&c->out, "state", "open");
    text_member_integer(&c->out, "attempts_left", left);
    text_member(&c->out, "checked");
    text_put(&c->out, db_is_null(&r, 4) ? "false}" : "true}");
    db_end(&r);
    switch (state) {
    case INVITATION_USED: return problem(c, PROBLEM_INVITATION_USED, "it has enrolled a device");
    case INVITATION_LOCKED: return problem(c, PROBLEM_INVITATION_LOCKED, "there were five wrong checks");
    case INVITATION_WITHDRAWN: return problem(c, PROBLEM_INVITATION_GONE, "it was withdrawn");
    default: break;
    }
    if (expires < now_s(c))
        return problem(c, PROBLEM_INVITATION_GONE, "it has expired");
    return answer(c, 200);
}

static const char *state_name(int64_t state, bool expired) {
    switch (state) {
    case INVITATION_USED: return "used";
    case INVITATION_LOCKED: return "locked";
    case INVITATION_WITHDRAWN: return "withdrawn";
    default: return expired ? "expired" : "open";
    }
}

static const char *kind_name(int64_t kind) {
    return kind == CERTIFICATE_PATIENT ? "patient" : kind == CERTIFICATE_AGENT ? "agent" : "staff";
}

bool call_invitation_list(call *c) {
    db_rows r = DB_QUERY(
        c->db,
        "SELECT invitation, state, attempts_left, expires, enrols FROM invitations WHERE clinic = $1 AND issuer = $2 "
        "ORDER BY number DESC LIMIT $3",
        db_id(c->clinic), db_id(c->device), db_i(INVITATIONS_LISTED_MAX));
    text_put(&c->out, "{\"invitations\":[");
    for (bool first = true; db_next(&r); first = false) {
        text_put(&c->out, first ? "{" : ",{");
        text_member_base64url(&c->out, "invitation", db_bytes(&r, 0));
        text_member_string(&c->out, "state", state_name(db_integer(&r, 1), db_integer(&r, 3) < now_s(c)));
        text_member_integer(&c->out, "attempts_left", db_integer(&r, 2));
        text_member_integer(&c->out, "expires_s", db_integer(&r, 3));
        text_member_string(&c->out, "enrols", kind_name(db_integer(&r, 4)));
        text_put(&c->out, "}");
    }
    text_put(&c->out, "]}");
    return answer(c, 200);
}

bool call_invitation_withdraw(call *c) {
    uint8_t id[ID_SIZE];
    if (!path_id(c, id, sizeof id))
        return true;
    db_rows r = DB_QUERY(c->db, "SELECT issuer, state FROM invitations WHERE clinic = $1 AND invitation = $2",
                         db_id(c->clinic), db_id(id));
    if (!db_next(&r))
        return problem(c, PROBLEM_NOT_FOUND, "there is no such invitation");
    bool own = span_equal(db_bytes(&r, 0), SPAN(c->device));
    int64_t state = db_integer(&r, 1);
    db_end(&r);
    if (!own && (c->rights & RIGHT_ROSTER) == 0)
        return problem(c, PROBLEM_FORBIDDEN, "another device issued this invitation");
    if (state == INVITATION_USED)
        return problem(c, PROBLEM_INVITATION_USED, "it has enrolled a device; revoke that instead");
    DB_RUN_LATER(c->db, "UPDATE invitations SET state = $3 WHERE clinic = $1 AND invitation = $2", db_id(c->clinic),
                 db_id(id), db_i(INVITATION_WITHDRAWN));
    return answer(c, 204);
}
