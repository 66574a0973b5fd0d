/* calls_audit.c: reading the audit log and its checkpoints, and adding what only a client can know of. */
#include "audit.h"

#include "crypto/sha256.h"

bool call_audit_checkpoint(call *c) {
    int64_t number = 0;
    if (!query_integer(c, "number", 0, 0, SEQUENCE_MAX, &number))
        return true;
    audit_sign_when_due(c->relay, c->state);
    if (number == 0)
        number = c->state->audit.signed_number;
    db_rows r = DB_QUERY(c->db, "SELECT hash, at, signature FROM audit_checkpoints WHERE clinic = $1 AND number = $2",
                         db_id(c->clinic), db_i(number));
    if (!db_next(&r))
        return problem(c, PROBLEM_NOT_FOUND, "there is no checkpoint with this number");
    text_put(&c->out, "{");
    text_member_base64url(&c->out, "clinic", SPAN(c->clinic));
    text_member_integer(&c->out, "number", number);
    text_member_base64url(&c->out, "hash", db_bytes(&r, 0));
    text_member_integer(&c->out, "at", db_integer(&r, 1));
    text_member_base64url(&c->out, "signature", db_bytes(&r, 2));
    text_put(&c->out, "}");
    db_end(&r);
    return answer(c, 200);
}

bool call_audit_read(call *c) {
    int64_t after = 0, limit = 0, next = 0;
    if (!query_integer(c, "after", 0, 0, SEQUENCE_MAX, &after) ||
        !query_integer(c, "limit", INBOX_LIMIT_DEFAULT, 1, INBOX_LIMIT_MAX, &limit))
        return true;
    call_object_number(c, after);
    if ((c->rights & RIGHT_AUDIT) == 0)
        return problem(c, PROBLEM_FORBIDDEN, "the caller's certificate lacks the right to read the audit log");
    next = after;
    text_put(&c->out, "{\"entries\":[");
    db_rows r = DB_QUERY(c->db,
                         "SELECT number, entry FROM audit_entries WHERE clinic = $1 AND number > $2 "
                         "ORDER BY number LIMIT $3",
                         db_id(c->clinic), db_i(after), db_i(limit));
    while (db_next(&r)) {
        if (next != after && c->out.n + db_bytes(&r, 1).n * 4 / 3 > INBOX_BYTES_MAX)
            break;
        text_put(&c->out, next == after ? "\"" : ",\"");
        text_base64url(&c->out, db_bytes(&r, 1));
        text_put(&c->out, "\"");
        next = db_integer(&r, 0);
    }
    db_end(&r);
    text_put(&c->out, "],\"next\":");
    text_integer(&c->out, next);
    text_put(&c->out, "}");
    return answer(c, 200);
}

static bool added_answer(call *c, int status, int64_t number) {
    text_put(&c->out, "{");
    text_member_integer(&c->out, "number", number);
    text_put(&c->out, "}");
    return answer(c, status);
}

bool call_audit_add(call *c) {
    uint8_t id[ID_SIZE], digest[32];
    json_fixed(&c->json, "id", id, sizeof id);
    span sealed = json_bytes(&c->json, "sealed", AUDIT_SEALED_MAX);
    if (json_faulty(c))
        return true;
    call_object(c, SPAN(id));
    sha256(sealed, digest);
    db_rows r = DB_QUERY(c->db, "SELECT digest, number FROM audit_events WHERE clinic = $1 AND device = $2 AND id = $3",
                         db_id(c->clinic), db_id(c->device), db_id(id));
    if (db_next(&r)) {
        bool same = span_equal(db_bytes(&r, 0), SPAN(digest));
        int64_t number = db_integer(&r, 1);
        db_end(&r);
        c->not_audited = same; /* the first time's entry stands for it */
        return same ? added_answer(c, 200, number)
                    : problem(c, PROBLEM_ID_REUSED, "this id was used for another event");
    }
    int64_t number = c->state->audit.number + 1; /* of the entry that will be made of this request */
    DB_RUN_LATER(c->db, "INSERT INTO audit_events (clinic, device, id, digest, number) VALUES ($1, $2, $3, $4, $5)",
                 db_id(c->clinic), db_id(c->device), db_id(id), db_b(SPAN(digest)), db_i(number));
    c->sealed = sealed;
    return added_answer(c, 201, number);
}
