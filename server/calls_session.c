/* calls_session.c: beginning, prolonging and ending a session. */
#include "verifier.h"

#include "base/secret.h"

static bool begin(call *c, int64_t method, const uint8_t verifier_id[ID_SIZE]) {
    session_state s;
    DB_RUN(c->db,
           "INSERT INTO sessions (clinic, device, method, verifier, began, seen) VALUES ($1, $2, $3, $4, $5, $5) "
           "ON CONFLICT (clinic, device) DO UPDATE SET method = excluded.method, verifier = excluded.verifier, "
           "began = excluded.began, seen = excluded.seen",
           db_id(c->clinic), db_id(c->device), db_i(method), db_id(verifier_id), db_i(c->now_ms));
    if (!session_read(c->db, SPAN(c->clinic), SPAN(c->device), c->now_ms, &s))
        return true;
    return session_answer(c, 201, &s);
}

/* The verifier has been used: the first one ends the time in which another could be registered without a session. */
static void proven(call *c, const verifier *v, int64_t counter) {
    DB_RUN(c->db,
           "UPDATE verifiers SET proven = 1, counter = $4, attempts = 0, locked_until = 0 "
           "WHERE clinic = $1 AND device = $2 AND verifier = $3",
           db_id(c->clinic), db_id(c->device), db_id(v->id), db_i(counter));
    DB_RUN(c->db, "DELETE FROM verifier_openings WHERE clinic = $1 AND device = $2", db_id(c->clinic),
           db_id(c->device));
}

static bool begin_webauthn(call *c) {
    uint8_t challenge[WEBAUTHN_CHALLENGE_SIZE];
    verifier v;
    span credential = json_bytes(&c->json, "credential", WEBAUTHN_ID_MAX);
    span client_data = json_bytes(&c->json, "client_data", WEBAUTHN_CLIENT_DATA_MAX);
    span data = json_bytes(&c->json, "authenticator_data", WEBAUTHN_AUTHENTICATOR_DATA_MAX);
    span signature = json_bytes(&c->json, "signature", WEBAUTHN_SIGNATURE_MAX);
    if (json_faulty(c))
        return true;
    if (!challenge_take(c, challenge))
        return problem(c, PROBLEM_BAD_ASSERTION, "there is no challenge, or it is too old");
    if (!verifier_find(c, credential, &v))
        return problem(c, PROBLEM_BAD_ASSERTION, "the device has registered no such credential");
    call_object(c, SPAN(v.id));
    const char *fault =
        webauthn_asserted(c->relay->origin, challenge, client_data, data, signature, c->arena, &v.credential);
    if (fault != NULL)
        return problem(c, PROBLEM_BAD_ASSERTION, fault);
    proven(c, &v, v.credential.counter);
    return begin(c, SESSION_WEBAUTHN, v.id);
}

/* Five wrong codes in a row lock for 15 minutes, each further one for twice as long, up to 16 hours. */
static bool wrong_code(call *c, const verifier *v) {
    int64_t attempts = v->attempts + 1, over = attempts - TOTP_ATTEMPTS, lock = TOTP_LOCK_MS;
    lock = over < 0 ? 0 : lock << (over < TOTP_LOCK_DOUBLINGS ? over : TOTP_LOCK_DOUBLINGS);
    DB_RUN(c->db,
           "UPDATE verifiers SET attempts = $4, locked_until = $5 WHERE clinic = $1 AND device = $2 AND verifier = $3",
           db_id(c->clinic), db_id(c->device), db_id(v->id), db_i(attempts), db_i(c->now_ms + lock));
    c->keep_changes = true; /* the attempt counts */
    if (lock > 0)
        return problem_more(c, PROBLEM_TOO_MANY, "too many wrong codes", "retry_after_s", lock / 1000);
    return problem_more(c, PROBLEM_WRONG_CHECK, "the code is not one of now, or was used", "attempts_left", -over);
}

static bool begin_totp(call *c, const session_state *s) {
    verifier v;
    span code = json_text(&c->json, "code", TOTP_DIGITS);
    if (json_faulty(c))
        return true;
    bool good = code.n == TOTP_DIGITS;
    for (size_t i = 0; i < code.n; i++)
        good = good && code.p[i] >= '0' && code.p[i] <= '9';
    if (!good)
        return problem(c, PROBLEM_MALFORMED, "member \"code\" must be 6 digits");
    if (!session_method_open(s, SESSION_TOTP))
        return problem(c, PROBLEM_FORBIDDEN, "the clinic's policy takes no codes");
    if (!verifier_find(c, SPAN_NONE, &v))
        return problem(c, PROBLEM_NOT_FOUND, "the device has registered no secret for codes");
    call_object(c, SPAN(v.id));
    bool done;
    if (c->now_ms < v.locked_until) {
        done = problem_more(c, PROBLEM_TOO_MANY, "too many wrong codes", "retry_after_s",
                            (v.locked_until - c->now_ms + 999) / 1000);
    } else {
        int64_t step = totp_find(v.secret, now_s(c), v.last_step, (const char *)code.p);
        if (step == 0) {
            done = wrong_code(c, &v);
        } else {
            proven(c, &v, step);
            done = begin(c, SESSION_TOTP, v.id);
        }
    }
    wipe(&v, sizeof v);
    return done;
}

bool call_session_begin(call *c) {
    session_state s;
    span method = json_text(&c->json, "method", 16);
    if (json_faulty(c))
        return true;
    bool webauthn = span_equal(method, span_text("webauthn")), totp = span_equal(method, span_text("totp"));
    if (!webauthn && !totp && !span_equal(method, span_text("local")))
        return problem(c, PROBLEM_MALFORMED, "member \"method\" must be webauthn, totp or local");
    if (!session_read(c->db, SPAN(c->clinic), SPAN(c->device), c->now_ms, &s))
        return true;
    if (s.kind != (webauthn || totp ? CERTIFICATE_STAFF : CERTIFICATE_PATIENT))
        return problem(c, PROBLEM_FORBIDDEN, "sessions of this kind of device don't begin so");
    return webauthn ? begin_webauthn(c) : totp ? begin_totp(c, &s) : begin(c, SESSION_LOCAL, c->device);
}

bool call_session_get(call *c) {
    session_state s;
    if (!session_read(c->db, SPAN(c->clinic), SPAN(c->device), c->now_ms, &s))
        return true;
    return s.live ? session_answer(c, 200, &s) : problem(c, PROBLEM_NOT_FOUND, "there is no live session");
}

bool call_session_prolong(call *c) {
    session_state s;
    if (!session_read(c->db, SPAN(c->clinic), SPAN(c->device), c->now_ms, &s))
        return true;
    if (!s.live)
        return problem(c, PROBLEM_NOT_FOUND, "there is no live session");
    /* A page that says so at each key costs one write a tenth of the time. */
    if (c->now_ms - s.seen >= (s.idle_ends - s.seen) / 10) {
        s.idle_ends += c->now_ms - s.seen;
        DB_RUN(c->db, "UPDATE sessions SET seen = $3 WHERE clinic = $1 AND device = $2", db_id(c->clinic),
               db_id(c->device), db_i(c->now_ms));
    }
    return session_answer(c, 200, &s);
}

bool call_session_end(call *c) {
    DB_RUN(c->db, "DELETE FROM sessions WHERE clinic = $1 AND device = $2", db_id(c->clinic), db_id(c->device));
    wake_device(c, c->device); /* ends its waits */
    return answer(c, 204);
}
