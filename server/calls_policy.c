/* calls_policy.c: a clinic's rules for sessions. Until it sets some, nobody needs one. */
#include "session.h"

static const char *const STAFF_WORDS[] = {"off", "webauthn", "webauthn-or-totp"};
static const char *const PATIENT_WORDS[] = {"off", "local"};

static void put_bounds(text *t, const char *name, int64_t min, int64_t max) {
    text_member(t, name);
    text_put(t, "[");
    text_integer(t, min);
    text_put(t, ",");
    text_integer(t, max);
    text_put(t, "]");
}

static bool policy_answer(call *c, const session_policy *p) {
    text *t = &c->out;
    text_put(t, "{");
    text_member_string(t, "staff", STAFF_WORDS[p->staff]);
    text_member_integer(t, "staff_idle_s", p->staff_idle_s);
    text_member_integer(t, "staff_overall_s", p->staff_overall_s);
    text_member_string(t, "patients", PATIENT_WORDS[p->patients]);
    text_member_integer(t, "patient_idle_s", p->patient_idle_s);
    text_member_integer(t, "patient_overall_s", p->patient_overall_s);
    text_member(t, "bounds");
    text_put(t, "{");
    put_bounds(t, "idle_s", IDLE_MIN_S, IDLE_MAX_S);
    put_bounds(t, "overall_s", OVERALL_MIN_S, OVERALL_MAX_S);
    text_put(t, "}}");
    return answer(c, 200);
}

bool call_policy_get(call *c) {
    session_state s;
    return !session_read(c->db, SPAN(c->clinic), SPAN(c->device), c->now_ms, &s) || policy_answer(c, &s.policy);
}

/* The index of a word, or -1 and a problem. */
static int64_t word_of(call *c, const char *name, const char *const *words, int64_t n) {
    span given = json_text(&c->json, name, 32);
    if (json_faulty(c))
        return -1;
    for (int64_t i = 0; i < n; i++)
        if (span_equal(given, span_text(words[i])))
            return i;
    problem_text(c, PROBLEM_MALFORMED, "member \"%s\" is none of its words", name);
    return -1;
}

bool call_policy_put(call *c) {
    session_policy p = {0};
    session_state s;
    p.staff_idle_s = json_integer(&c->json, "staff_idle_s", IDLE_MIN_S, IDLE_MAX_S);
    p.staff_overall_s = json_integer(&c->json, "staff_overall_s", OVERALL_MIN_S, OVERALL_MAX_S);
    p.patient_idle_s = json_integer(&c->json, "patient_idle_s", IDLE_MIN_S, IDLE_MAX_S);
    p.patient_overall_s = json_integer(&c->json, "patient_overall_s", OVERALL_MIN_S, OVERALL_MAX_S);
    if ((p.staff = word_of(c, "staff", STAFF_WORDS, 3)) < 0 ||
        (p.patients = word_of(c, "patients", PATIENT_WORDS, 2)) < 0)
        return true;
    if ((c->rights & RIGHT_ROSTER) == 0)
        return problem(c, PROBLEM_FORBIDDEN, "the caller's certificate lacks the right to set the clinic's policy");
    if (p.staff == STAFF_WEBAUTHN && c->relay->origin[0] == 0)
        return problem(c, PROBLEM_FORBIDDEN, "this relay was not told the origin of the clinic's console");
    if (!session_read(c->db, SPAN(c->clinic), SPAN(c->device), c->now_ms, &s))
        return true;
    /* Who demands sessions has one that will do: a clinic can't lock itself out by a word. An agent needs none, and can undo it. */
    s.policy = p;
    if (p.staff != STAFF_OFF && s.kind == CERTIFICATE_STAFF && !(s.live && session_method_open(&s, s.method))) {
        session_problem(c->rs, c->db, SPAN(c->clinic), SPAN(c->device), &s);
        c->problem = problem_name(PROBLEM_STEP_UP);
        return true;
    }
    DB_RUN(c->db,
           "INSERT INTO policies (clinic, staff, patients, staff_idle_s, staff_overall_s, patient_idle_s, "
           "patient_overall_s) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (clinic) DO UPDATE SET "
           "staff = excluded.staff, patients = excluded.patients, staff_idle_s = excluded.staff_idle_s, "
           "staff_overall_s = excluded.staff_overall_s, patient_idle_s = excluded.patient_idle_s, "
           "patient_overall_s = excluded.patient_overall_s",
           db_id(c->clinic), db_i(p.staff), db_i(p.patients), db_i(p.staff_idle_s), db_i(p.staff_overall_s),
           db_i(p.patient_idle_s), db_i(p.patient_overall_s));
    c->state->has_policy = true;
    return policy_answer(c, &p);
}
