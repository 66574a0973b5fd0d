/* calls_verifier.c: registering and removing verifiers, and the challenges that they answer. */
#include "verifier.h"

#include <sodium/randombytes.h>

#include "base/secret.h"

/* ---- challenges: one of a device at a time */

bool call_session_challenge(call *c) {
    uint8_t challenge[WEBAUTHN_CHALLENGE_SIZE];
    char party[WEBAUTHN_ORIGIN_MAX];
    session_state s;
    if (!session_read(c->db, SPAN(c->clinic), SPAN(c->device), c->now_ms, &s))
        return true;
    if (s.kind != CERTIFICATE_STAFF)
        return problem(c, PROBLEM_FORBIDDEN, "only staff answer challenges");
    randombytes_buf(challenge, sizeof challenge);
    DB_RUN(c->db,
           "INSERT INTO challenges (clinic, device, challenge, expires) VALUES ($1, $2, $3, $4) "
           "ON CONFLICT (clinic, device) DO UPDATE SET challenge = excluded.challenge, expires = excluded.expires",
           db_id(c->clinic), db_id(c->device), db_b(SPAN(challenge)), db_i(c->now_ms + CHALLENGE_MS));
    text_put(&c->out, "{");
    text_member_base64url(&c->out, "challenge", SPAN(challenge));
    text_member_integer(&c->out, "expires", c->now_ms + CHALLENGE_MS);
    if (c->relay->origin[0] != 0) {
        webauthn_party_of(c->relay->origin, party);
        text_member_string(&c->out, "origin", c->relay->origin);
        text_member_string(&c->out, "rp_id", party);
    }
    text_put(&c->out, "}");
    return answer(c, 200);
}

bool challenge_take(call *c, uint8_t challenge[WEBAUTHN_CHALLENGE_SIZE]) {
    db_rows r = DB_QUERY(c->db, "SELECT challenge, expires FROM challenges WHERE clinic = $1 AND device = $2",
                         db_id(c->clinic), db_id(c->device));
    bool good = db_next(&r);
    if (good) {
        memcpy(challenge, db_bytes(&r, 0).p, WEBAUTHN_CHALLENGE_SIZE);
        good = c->now_ms < db_integer(&r, 1);
    }
    db_end(&r);
    DB_RUN(c->db, "DELETE FROM challenges WHERE clinic = $1 AND device = $2", db_id(c->clinic), db_id(c->device));
    c->keep_changes = true;
    return good;
}

/* ---- verifiers */

bool verifier_find(call *c, span credential, verifier *v) {
    bool codes = credential.p == NULL, copied = true;
    *v = (verifier){.method = codes ? SESSION_TOTP : SESSION_WEBAUTHN};
    db_rows r = DB_QUERY(c->db,
                         "SELECT verifier, proven, algorithm, secret, counter, attempts, locked_until FROM verifiers "
                         "WHERE clinic = $1 AND device = $2 AND method = $3 AND credential = $4",
                         db_id(c->clinic), db_id(c->device), db_i(v->method), db_b(codes ? span_text("") : credential));
    bool found = db_next(&r);
    if (found) {
        span key = db_bytes(&r, 3);
        memcpy(v->id, db_bytes(&r, 0).p, ID_SIZE);
        v->proven = db_integer(&r, 1) != 0;
        v->credential =
            (webauthn_credential){.algorithm = db_integer(&r, 2), .id = credential, .counter = db_integer(&r, 4)};
        v->last_step = db_integer(&r, 4);
        v->attempts = db_integer(&r, 5);
        v->locked_until = db_integer(&r, 6);
        uint8_t *to = codes ? v->secret : v->credential.key;
        copied = key.n <= (codes ? sizeof v->secret : sizeof v->credential.key);
        if (copied)
            memcpy(to, key.p, key.n);
        v->credential.key_size = key.n;
    }
    db_end(&r);
    return found && copied;
}

typedef struct registering {
    bool live;   /* by a session */
    bool proven; /* the device has a verifier that was used */
    bool open;   /* else: may it have a first one now? */
    int64_t count;
    session_state session;
} registering;

static bool registering_read(call *c, registering *g) {
    *g = (registering){0};
    if (!session_read(c->db, SPAN(c->clinic), SPAN(c->device), c->now_ms, &g->session))
        return false;
    g->live = g->session.live;
    db_rows r = DB_QUERY(c->db,
                         "SELECT COUNT(*), COALESCE(MAX(proven), 0), "
                         "(SELECT MAX(until) FROM verifier_openings WHERE clinic = $1 AND device = $2) "
                         "FROM verifiers WHERE clinic = $1 AND device = $2",
                         db_id(c->clinic), db_id(c->device));
    if (!db_next(&r))
        return false;
    g->count = db_integer(&r, 0);
    g->proven = db_integer(&r, 1) != 0;
    g->open =
        g->live ||
        (!g->proven && (g->session.policy.staff == STAFF_OFF || (!db_is_null(&r, 2) && c->now_ms < db_integer(&r, 2))));
    db_end(&r);
    return true;
}

static bool is_removed_with_sessions(call *c, db_value device, db_value id) {
    DB_RUN(c->db, "DELETE FROM sessions WHERE clinic = $1 AND device = $2 AND verifier = $3", db_id(c->clinic), device,
           id);
    return DB_RUN(c->db, "DELETE FROM verifiers WHERE clinic = $1 AND device = $2 AND verifier = $3", db_id(c->clinic),
                  device, id) == 1;
}

/* Stores it under a new name. Outside a session it takes the place of what was registered and never used. */
static void store(call *c, const registering *g, verifier *v, span secret) {
    randombytes_buf(v->id, sizeof v->id);
    if (!g->live)
        DB_RUN(c->db, "DELETE FROM verifiers WHERE clinic = $1 AND device = $2", db_id(c->clinic), db_id(c->device));
    if (v->method == SESSION_TOTP)
        DB_RUN(c->db, "DELETE FROM verifiers WHERE clinic = $1 AND device = $2 AND method = $3", db_id(c->clinic),
               db_id(c->device), db_i(SESSION_TOTP));
    DB_RUN(c->db,
           "INSERT INTO verifiers (clinic, device, verifier, method, proven, created, algorithm, credential, secret, "
           "counter, attempts, locked_until) VALUES ($1, $2, $3, $4, 0, $5, $6, $7, $8, $9, 0, 0)",
           db_id(c->clinic), db_id(c->device), db_id(v->id), db_i(v->method), db_i(c->now_ms),
           db_i(v->credential.algorithm), db_b(v->method == SESSION_TOTP ? span_text("") : v->credential.id),
           db_b(secret), db_i(v->credential.counter));
    call_object(c, SPAN(v->id));
    text_put(&c->out, "{");
    text_member_base64url(&c->out, "verifier", SPAN(v->id));
    if (v->method == SESSION_TOTP)
        text_member_base64url(&c->out, "secret", secret);
    text_put(&c->out, "}");
}

static bool register_webauthn(call *c, const registering *g) {
    uint8_t challenge[WEBAUTHN_CHALLENGE_SIZE];
    verifier v = {.method = SESSION_WEBAUTHN}, known;
    span client_data = json_bytes(&c->json, "client_data", WEBAUTHN_CLIENT_DATA_MAX);
    span data = json_bytes(&c->json, "authenticator_data", WEBAUTHN_AUTHENTICATOR_DATA_MAX);
    if (json_faulty(c))
        return true;
    if (c->relay->origin[0] == 0)
        return problem(c, PROBLEM_FORBIDDEN, "this relay was not told the origin of the clinic's console");
    if (!challenge_take(c, challenge))
        return problem(c, PROBLEM_BAD_ASSERTION, "there is no challenge, or it is too old");
    const char *fault = webauthn_created(c->relay->origin, challenge, client_data, data, c->arena, &v.credential);
    if (fault != NULL)
        return problem(c, PROBLEM_BAD_ASSERTION, fault);
    if (g->live && verifier_find(c, v.credential.id, &known))
        return problem(c, PROBLEM_ID_REUSED, "this credential is registered");
    store(c, g, &v, span_of(v.credential.key, v.credential.key_size));
    return answer(c, 201);
}

static bool register_totp(call *c, const registering *g) {
    verifier v = {.method = SESSION_TOTP};
    randombytes_buf(v.secret, sizeof v.secret);
    store(c, g, &v, SPAN(v.secret));
    wipe(&v, sizeof v);
    return answer(c, 201);
}

bool call_verifier_register(call *c) {
    registering g;
    span method = json_text(&c->json, "method", 16);
    if (json_faulty(c))
        return true;
    bool webauthn = span_equal(method, span_text("webauthn"));
    if (!webauthn && !span_equal(method, span_text("totp")))
        return problem(c, PROBLEM_MALFORMED, "member \"method\" must be webauthn or totp");
    if (!registering_read(c, &g))
        return true;
    if (g.session.kind != CERTIFICATE_STAFF)
        return problem(c, PROBLEM_FORBIDDEN, "only staff register verifiers");
    if (!g.open && g.proven) {
        session_problem(c->rs, c->db, SPAN(c->clinic), SPAN(c->device), &g.session);
        c->problem = problem_name(PROBLEM_STEP_UP);
        return true;
    }
    if (!g.open)
        return problem(c, PROBLEM_FORBIDDEN, "registration is over; somebody with the right roster can open it again");
    if (g.live && g.count >= DEVICE_VERIFIERS_MAX)
        return problem_more(c, PROBLEM_TOO_LARGE, "the device has as many verifiers as it may", "limit",
                            DEVICE_VERIFIERS_MAX);
    return webauthn ? register_webauthn(c, &g) : register_totp(c, &g);
}

bool call_verifier_list(call *c) {
    registering g;
    bool first = true;
    if (!registering_read(c, &g))
        return true;
    text_put(&c->out, "{\"verifiers\":[");
    db_rows r = DB_QUERY(c->db,
                         "SELECT verifier, method, created, proven, locked_until, credential FROM verifiers "
                         "WHERE clinic = $1 AND device = $2 ORDER BY created, verifier",
                         db_id(c->clinic), db_id(c->device));
    while (db_next(&r)) {
        text_put(&c->out, first ? "{" : ",{");
        text_member_base64url(&c->out, "verifier", db_bytes(&r, 0));
        text_member_string(&c->out, "method", session_method_word(db_integer(&r, 1)));
        text_member_integer(&c->out, "created", db_integer(&r, 2));
        text_member(&c->out, "used");
        text_put(&c->out, db_integer(&r, 3) != 0 ? "true" : "false");
        text_member_integer(&c->out, "locked_until", db_integer(&r, 4));
        if (db_integer(&r, 1) == SESSION_WEBAUTHN)
            text_member_base64url(&c->out, "credential", db_bytes(&r, 5));
        text_put(&c->out, "}");
        first = false;
    }
    db_end(&r);
    text_put(&c->out, g.session.kind == CERTIFICATE_STAFF && g.open ? "],\"open\":true}" : "],\"open\":false}");
    return answer(c, 200);
}

bool call_verifier_remove(call *c) {
    uint8_t id[ID_SIZE];
    session_state s;
    if (!path_id(c, id, sizeof id) || !session_read(c->db, SPAN(c->clinic), SPAN(c->device), c->now_ms, &s))
        return true;
    if (!s.live && s.kind == CERTIFICATE_STAFF) {
        session_problem(c->rs, c->db, SPAN(c->clinic), SPAN(c->device), &s);
        c->problem = problem_name(PROBLEM_STEP_UP);
        return true;
    }
    if (!is_removed_with_sessions(c, db_id(c->device), db_id(id)))
        return problem(c, PROBLEM_NOT_FOUND, "the device has no such verifier");
    wake_device(c, c->device);
    return answer(c, 204);
}

/* Somebody lost his authenticator: all of the device's go, and he may register a first one again. */
bool call_verifier_reset(call *c) {
    uint8_t id[ID_SIZE];
    session_state s;
    if (!path_id(c, id, sizeof id))
        return true;
    if ((c->rights & RIGHT_ROSTER) == 0)
        return problem(c, PROBLEM_FORBIDDEN, "the caller's certificate lacks the right to reset verifiers");
    if (!session_read(c->db, SPAN(c->clinic), SPAN(id), c->now_ms, &s) || s.kind != CERTIFICATE_STAFF)
        return problem(c, PROBLEM_NOT_FOUND, "the clinic has no such staff device");
    if (memcmp(id, c->device, ID_SIZE) == 0 && !s.live) {
        session_problem(c->rs, c->db, SPAN(c->clinic), SPAN(id), &s);
        c->problem = problem_name(PROBLEM_STEP_UP);
        return true;
    }
    verification_forget(c, id);
    registration_open_until(c, id, c->now_ms + REGISTER_AFTER_RESET_MS);
    wake_device(c, id);
    return answer(c, 204);
}
