#include "session.h"

bool session_read(db *d, span clinic, span device, int64_t now_ms, session_state *s) {
    *s = (session_state){.policy = {.staff_idle_s = STAFF_IDLE_S,
                                    .staff_overall_s = STAFF_OVERALL_S,
                                    .patient_idle_s = PATIENT_IDLE_S,
                                    .patient_overall_s = PATIENT_OVERALL_S}};
    db_rows r = DB_QUERY(d,
                         "SELECT d.kind, p.staff, p.patients, p.staff_idle_s, p.staff_overall_s, p.patient_idle_s, "
                         "p.patient_overall_s, s.method, s.began, s.seen FROM devices d "
                         "LEFT JOIN policies p ON p.clinic = d.clinic "
                         "LEFT JOIN sessions s ON s.clinic = d.clinic AND s.device = d.device "
                         "WHERE d.clinic = $1 AND d.device = $2",
                         db_b(clinic), db_b(device));
    if (!db_next(&r))
        return false;
    s->kind = db_integer(&r, 0);
    if (!db_is_null(&r, 1))
        s->policy = (session_policy){.staff = db_integer(&r, 1),
                                     .patients = db_integer(&r, 2),
                                     .staff_idle_s = db_integer(&r, 3),
                                     .staff_overall_s = db_integer(&r, 4),
                                     .patient_idle_s = db_integer(&r, 5),
                                     .patient_overall_s = db_integer(&r, 6)};
    bool patient = s->kind == CERTIFICATE_PATIENT;
    s->needed = (s->kind == CERTIFICATE_STAFF && s->policy.staff != STAFF_OFF) ||
                (patient && s->policy.patients != PATIENTS_OFF);
    if (!db_is_null(&r, 7)) {
        s->method = db_integer(&r, 7);
        s->began = db_integer(&r, 8);
        s->seen = db_integer(&r, 9);
        s->idle_ends = s->seen + (patient ? s->policy.patient_idle_s : s->policy.staff_idle_s) * 1000;
        s->ends = s->began + (patient ? s->policy.patient_overall_s : s->policy.staff_overall_s) * 1000;
        /* One that was begun or prolonged while a clock was ahead would outlast what the policy says. */
        s->live = now_ms < s->idle_ends && now_ms < s->ends && s->seen <= now_ms + CLOCK_SKEW_S * 1000 &&
                  session_method_open(s, s->method);
    }
    db_end(&r);
    return true;
}

bool session_method_open(const session_state *s, int64_t method) {
    switch (method) {
    case SESSION_WEBAUTHN: return s->kind == CERTIFICATE_STAFF;
    case SESSION_TOTP: return s->kind == CERTIFICATE_STAFF && s->policy.staff != STAFF_WEBAUTHN;
    case SESSION_LOCAL: return s->kind == CERTIFICATE_PATIENT;
    default: return false;
    }
}

const char *session_method_word(int64_t method) {
    return method == SESSION_WEBAUTHN ? "webauthn" : method == SESSION_TOTP ? "totp" : "local";
}

void session_problem(response *rs, db *d, span clinic, span device, const session_state *s) {
    const char *words[2];
    size_t n = 0;
    if (s->kind == CERTIFICATE_PATIENT) {
        words[n++] = session_method_word(SESSION_LOCAL);
    } else {
        db_rows r = DB_QUERY(d,
                             "SELECT DISTINCT method FROM verifiers WHERE clinic = $1 AND device = $2 "
                             "ORDER BY method",
                             db_b(clinic), db_b(device));
        while (db_next(&r))
            if (n < 2 && session_method_open(s, db_integer(&r, 0)))
                words[n++] = session_method_word(db_integer(&r, 0));
    }
    if (!db_failed(d))
        problem_write_words(rs, PROBLEM_STEP_UP, "this device needs a live session of its user", "methods", words, n);
}

bool session_allows(call *c) {
    session_state s;
    if (!session_read(c->db, SPAN(c->clinic), SPAN(c->device), c->now_ms, &s))
        return false;
    if (!s.needed || s.live)
        return true;
    c->problem = problem_name(PROBLEM_STEP_UP);
    session_problem(c->rs, c->db, SPAN(c->clinic), SPAN(c->device), &s);
    return false;
}

bool session_answer(call *c, int status, const session_state *s) {
    text_put(&c->out, "{");
    text_member_string(&c->out, "method", session_method_word(s->method));
    text_member_integer(&c->out, "began", s->began);
    text_member_integer(&c->out, "idle_ends", s->idle_ends);
    text_member_integer(&c->out, "ends", s->ends);
    text_member_integer(&c->out, "now", c->now_ms);
    text_put(&c->out, "}");
    return answer(c, status);
}

void registration_open_until(call *c, const uint8_t device[ID_SIZE], int64_t until_ms) {
    DB_RUN(c->db,
           "INSERT INTO verifier_openings (clinic, device, until) VALUES ($1, $2, $3) "
           "ON CONFLICT (clinic, device) DO UPDATE SET until = excluded.until",
           db_id(c->clinic), db_id(device), db_i(until_ms));
}

void verification_forget(call *c, const uint8_t device[ID_SIZE]) {
    db_value clinic = db_id(c->clinic), id = db_id(device);
    DB_RUN(c->db, "DELETE FROM verifiers WHERE clinic = $1 AND device = $2", clinic, id);
    DB_RUN(c->db, "DELETE FROM verifier_openings WHERE clinic = $1 AND device = $2", clinic, id);
    DB_RUN(c->db, "DELETE FROM challenges WHERE clinic = $1 AND device = $2", clinic, id);
    DB_RUN(c->db, "DELETE FROM sessions WHERE clinic = $1 AND device = $2", clinic, id);
}
