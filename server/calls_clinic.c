/* calls_clinic.c: the relay itself, clinics and their rosters. */
#include "call.h"
#include "push_key.h"

bool call_well_known(call *c) {
    text *t = &c->out;
    text_put(t, "{\"version\":1,\"limits\":{");
    text_member_integer(t, "body", BODY_MAX);
    text_member_integer(t, "message", MESSAGE_MAX);
    text_member_integer(t, "wait_s", WAIT_MAX_S);
    text_member_integer(t, "key_packages", KEY_PACKAGES_MAX);
    text_member_integer(t, "members", MEMBERS_MAX);
    text_member_integer(t, "scheduled", SCHEDULED_MAX);
    text_member_integer(t, "blob", BLOB_MAX);
    text_member_integer(t, "retention_days", c->relay->options.retention_days);
    text_put(t, "},\"features\":[\"sse\",\"schedule\",\"blobs\",\"audit\",\"retention\",\"step-up\"");
    text_put(t, c->relay->options.push_key != NULL ? ",\"push\"],\"clinics\":" : "],\"clinics\":");
    text_put(t, c->relay->options.clinics_open ? "\"open\"" : "\"closed\"");
    text_member_base64url(t, "audit_key", signature_key_public(&c->relay->audit_key));
    if (c->relay->options.push_key != NULL)
        text_member_base64url(t, "push_key", span_of(c->relay->options.push_key, PUSH_PUBLIC_SIZE));
    text_member_integer(t, "now", c->now_ms);
    text_put(t, "}");
    return answer(c, 200);
}

bool call_clinic_create(call *c) {
    bool made =
        DB_RUN(c->db,
               "INSERT INTO clinics (clinic, root_key, seq, created) VALUES ($1, $2, 0, $3) ON CONFLICT DO NOTHING",
               db_id(c->clinic), db_b(SPAN(c->root_key)), db_i(c->now_ms)) == 1;
    text_put(&c->out, "{");
    text_member_base64url(&c->out, "clinic", SPAN(c->clinic));
    text_put(&c->out, "}");
    return answer(c, made ? 201 : 200);
}

/* The root signs the roster, so that no relay and no staff device can make one up. */
static bool root_signed(call *c, span roster) {
    static const char LABEL[] = "Sotto roster 1";
    if (roster.n < ED25519_SIGNATURE_SIZE)
        return false;
    size_t body = roster.n - ED25519_SIGNATURE_SIZE, label = sizeof LABEL - 1;
    uint8_t *content = arena_take(c->arena, label + body, 1);
    if (content == NULL)
        return false;
    memcpy(content, LABEL, label);
    memcpy(content + label, roster.p, body);
    return signature_verify(SPAN(c->root_key), span_of(content, label + body),
                            span_of(roster.p + body, ED25519_SIGNATURE_SIZE)) == OK;
}

bool call_roster_put(call *c) {
    int64_t number = json_integer(&c->json, "number", 1, SEQUENCE_MAX);
    span roster = json_bytes(&c->json, "roster", ROSTER_MAX);
    if (json_faulty(c))
        return true;
    call_object_number(c, number);
    if ((c->rights & RIGHT_ROSTER) == 0)
        return problem(c, PROBLEM_FORBIDDEN, "the caller's certificate lacks the right to publish a roster");
    if (!root_signed(c, roster))
        return problem(c, PROBLEM_BAD_CERTIFICATE, "member \"roster\" is not signed by the clinic's root key");
    db_rows r = DB_QUERY(c->db, "SELECT roster_number, roster FROM clinics WHERE clinic = $1 AND roster_number >= $2",
                         db_id(c->clinic), db_i(number));
    if (db_next(&r)) {
        int64_t stands = db_integer(&r, 0);
        bool same = stands == number && span_equal(db_bytes(&r, 1), roster);
        db_end(&r);
        if (!same)
            return problem_more(c, PROBLEM_OLD_ROSTER, "a roster with this number or a higher one stands", "number",
                                stands);
    } else {
        DB_RUN_LATER(c->db, "UPDATE clinics SET roster_number = $2, roster = $3 WHERE clinic = $1", db_id(c->clinic),
                     db_i(number), db_b(roster));
        int64_t seq = event_next(c);
        event_store(c, seq, deliver_to_all(c, seq), &(event){.kind = EVENT_ROSTER, .number = number});
    }
    text_put(&c->out, "{");
    text_member_integer(&c->out, "number", number);
    text_put(&c->out, "}");
    return answer(c, 200);
}

bool call_roster_get(call *c) {
    db_rows r =
        DB_QUERY(c->db, "SELECT roster_number, roster FROM clinics WHERE clinic = $1 AND roster_number IS NOT NULL",
                 db_id(c->clinic));
    if (!db_next(&r))
        return problem(c, PROBLEM_NOT_FOUND, "the clinic has published no roster");
    text_put(&c->out, "{");
    text_member_integer(&c->out, "number", db_integer(&r, 0));
    text_member_base64url(&c->out, "roster", db_bytes(&r, 1));
    text_put(&c->out, "}");
    db_end(&r);
    return answer(c, 200);
}
