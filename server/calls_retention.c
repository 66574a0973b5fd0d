/* calls_retention.c: a clinic's own period, after which what no device fetched is deleted (PROTOCOL.md, "Retention"). */
#include "base/text.h"
#include "call.h"

static bool retention_answer(call *c, int64_t own) {
    text *t = &c->out;
    text_put(t, "{");
    text_member_integer(t, "days", own != 0 ? own : c->relay->options.retention_days);
    text_member(t, "own");
    text_put(t, own != 0 ? "true" : "false");
    text_member(t, "bounds");
    text_put(t, "[");
    text_integer(t, RETENTION_DAYS_MIN);
    text_put(t, ",");
    text_integer(t, RETENTION_DAYS_MAX);
    text_put(t, "]}");
    return answer(c, 200);
}

static bool may_set(call *c) {
    if ((c->rights & RIGHT_ROSTER) != 0)
        return true;
    (void)problem(c, PROBLEM_FORBIDDEN, "the caller's certificate lacks the right to set the clinic's period");
    return false;
}

bool call_retention_get(call *c) {
    db_rows r = DB_QUERY(c->db, "SELECT days FROM retention WHERE clinic = $1", db_id(c->clinic));
    int64_t own = db_next(&r) ? db_integer(&r, 0) : 0;
    db_end(&r);
    return retention_answer(c, own);
}

bool call_retention_put(call *c) {
    int64_t days = json_integer(&c->json, "days", RETENTION_DAYS_MIN, RETENTION_DAYS_MAX);
    if (json_faulty(c) || !may_set(c))
        return true;
    call_object_number(c, days);
    DB_RUN(
        c->db,
        "INSERT INTO retention (clinic, days) VALUES ($1, $2) ON CONFLICT (clinic) DO UPDATE SET days = excluded.days",
        db_id(c->clinic), db_i(days));
    return retention_answer(c, days);
}

bool call_retention_delete(call *c) {
    if (!may_set(c))
        return true;
    DB_RUN(c->db, "DELETE FROM retention WHERE clinic = $1", db_id(c->clinic));
    return answer(c, 204);
}
