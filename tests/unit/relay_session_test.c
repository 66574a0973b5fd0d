/* Sessions as time passes: the relay's logic is told what time it is. */
#include "../../server/relay.h"
#include "../../server/totp.h"
#include "support/check.h"
#include "support/relay_request.h"

#define BEGIN_MS 1790000010000ll /* a third into a step of codes */
#define MINUTE 60000ll
#define HOUR (60 * MINUTE)

static db *store;
static relay *r;
static int64_t now;
static signature_key root, chief, nurse, pat, passkey;
static uint8_t clinic[ID_SIZE];
static char body[4096], answered[4096];

/* ---- asking */

static void name_of(const signature_key *key, uint8_t out[ID_SIZE]) {
    if (key == &root)
        clinic_id_of(signature_key_public(key).p, out);
    else
        device_id_of(signature_key_public(key).p, out);
}

/* The answer's status; its body is in `answered`. */
static int ask(const signature_key *who, http_method method, const char *path, const char *query, const char *content) {
    uint8_t name[ID_SIZE];
    response rs;
    name_of(who, name);
    request rq =
        signed_request_at(now, method, path, query, content != NULL ? span_text(content) : SPAN_NONE, who, name);
    assert_true(relay_batch_begin(r, now));
    relay_handle(r, &rq, &rs);
    assert_true(relay_batch_end(r));
    int status = rs.status;
    size_t n = rs.body_size < sizeof answered ? rs.body_size : sizeof answered - 1;
    if (n > 0)
        memcpy(answered, rs.body, n);
    answered[n] = 0;
    response_free(&rs);
    return status;
}

static int look(const signature_key *who) { return ask(who, METHOD_GET, "/v1/inbox", "after=0", NULL); }
static bool says(const char *what) { return strstr(answered, what) != NULL; }

/* The bytes of a member of the last answer. */
static void member(const char *name, uint8_t *out, size_t n) {
    char start[40];
    snprintf(start, sizeof start, "\"%s\":\"", name);
    const char *at = strstr(answered, start);
    assert_non_null(at);
    at += strlen(start);
    assert_ok(base64url_read(out, n, span_of((const uint8_t *)at, BASE64URL_SIZE(n))));
}

static void enrol(const signature_key *who) {
    static uint8_t memory[8192];
    arena a;
    span bytes;
    char chain[1000] = {0};
    certificate c = {.kind = CERTIFICATE_STAFF,
                     .rights = who == &chief ? 31 : RIGHT_MESSAGE,
                     .not_before = BEGIN_MS / 1000 - 9,
                     .not_after = BEGIN_MS / 1000 + 9999999};
    certificate_chain list = {&c, 1};
    memcpy(c.clinic_id, clinic, ID_SIZE);
    memcpy(c.subject_key, signature_key_public(who).p, 32);
    assert_ok(certificate_issue(&c, &root));
    arena_over(&a, memory, sizeof memory);
    assert_ok(WIRE_ENCODE(&a, wire_certificate_chain, &list, &bytes));
    base64url_write(chain, bytes);
    snprintf(body, sizeof body, "{\"chain\":\"%s\"}", chain);
    assert_int_equal(ask(who, METHOD_POST, "/v1/devices", "", body), 201);
}

/* ---- codes */

static int register_codes(const signature_key *who, uint8_t secret[TOTP_SECRET_SIZE]) {
    int status = ask(who, METHOD_POST, "/v1/verifiers", "", "{\"method\":\"totp\"}");
    if (status == 201)
        member("secret", secret, TOTP_SECRET_SIZE);
    return status;
}

static int say_code(const signature_key *who, const char *code) {
    snprintf(body, sizeof body, "{\"method\":\"totp\",\"code\":\"%s\"}", code);
    return ask(who, METHOD_POST, "/v1/session", "", body);
}

static int begin_by_code(const signature_key *who, const uint8_t secret[TOTP_SECRET_SIZE]) {
    char code[TOTP_DIGITS + 1];
    assert_true(totp_code(secret, (uint64_t)(now / 1000 / TOTP_STEP_S), code));
    return say_code(who, code);
}

static int set_policy(const char *staff, int64_t idle_s, int64_t overall_s) {
    snprintf(body, sizeof body,
             "{\"staff\":\"%s\",\"staff_idle_s\":%lld,\"staff_overall_s\":%lld,\"patients\":\"local\",\"patient_idle_"
             "s\":1800,"
             "\"patient_overall_s\":86400}",
             staff, (long long)idle_s, (long long)overall_s);
    return ask(&chief, METHOD_PUT, "/v1/policy", "", body);
}

/* ---- an authenticator with an Ed25519 key */

static size_t authenticator_data(uint8_t *out, uint8_t flags, uint32_t counter) {
    static const uint8_t COSE[] = {0xa4, 0x01, 0x01, 0x03, 0x27, 0x20, 0x06, 0x21, 0x58, 0x20};
    sha256(span_text("console.example"), out);
    size_t n = 32;
    out[n++] = flags;
    for (int i = 0; i < 4; i++)
        out[n++] = (uint8_t)(counter >> (24 - 8 * i));
    if ((flags & 0x40) == 0)
        return n;
    memset(out + n, 0, 16);
    n += 16;
    out[n++] = 0, out[n++] = 4;
    memcpy(out + n, "abcd", 4);
    memcpy(out + n + 4, COSE, sizeof COSE);
    memcpy(out + n + 4 + sizeof COSE, signature_key_public(&passkey).p, 32);
    return n + 4 + sizeof COSE + 32;
}

static int answer_challenge(const signature_key *who, bool create, int64_t later_ms) {
    uint8_t challenge[32], data[200], raw[64], content[300];
    char challenge_text[44] = {0}, client[300], client_text[420] = {0}, data_text[300] = {0}, signature_text[90] = {0};
    assert_int_equal(ask(who, METHOD_POST, "/v1/session/challenge", "", NULL), 200);
    member("challenge", challenge, sizeof challenge);
    base64url_write(challenge_text, SPAN(challenge));
    snprintf(client, sizeof client,
             "{\"type\":\"webauthn.%s\",\"challenge\":\"%s\",\"origin\":\"https://console.example\"}",
             create ? "create" : "get", challenge_text);
    base64url_write(client_text, span_text(client));
    size_t n = authenticator_data(data, create ? 0x45 : 5, 0);
    base64url_write(data_text, span_of(data, n));
    now += later_ms;
    if (create) {
        snprintf(body, sizeof body, "{\"method\":\"webauthn\",\"client_data\":\"%s\",\"authenticator_data\":\"%s\"}",
                 client_text, data_text);
        return ask(who, METHOD_POST, "/v1/verifiers", "", body);
    }
    memcpy(content, data, n);
    sha256(span_text(client), content + n);
    signature_sign(&passkey, span_of(content, n + 32), raw);
    base64url_write(signature_text, SPAN(raw));
    snprintf(body, sizeof body,
             "{\"method\":\"webauthn\",\"credential\":\"YWJjZA\",\"client_data\":\"%s\",\"authenticator_data\":\"%s\","
             "\"signature\":\"%s\"}",
             client_text, data_text, signature_text);
    return ask(who, METHOD_POST, "/v1/session", "", body);
}

/* ---- tests */

static uint8_t chief_secret[TOTP_SECRET_SIZE];

static int set_up(void **state) {
    signature_key *const KEYS[] = {&root, &chief, &nurse, &pat, &passkey};
    char key[44] = {0};
    for (uint8_t i = 0; i < 5; i++)
        signature_key_from_seed((uint8_t[32]){(uint8_t)(i + 1)}, KEYS[i]);
    clinic_id_of(signature_key_public(&root).p, clinic);
    now = BEGIN_MS;
    assert_ok(db_open_sqlite(":memory:", false, &store));
    assert_ok(relay_open(
        store, &(relay_options){.clinics_open = true, .blob_days = 7, .origin = "https://console.example"}, &r));
    base64url_write(key, signature_key_public(&root));
    snprintf(body, sizeof body, "{\"root_key\":\"%s\"}", key);
    assert_int_equal(ask(&root, METHOD_POST, "/v1/clinics", "", body), 201);
    enrol(&chief);
    enrol(&nurse);
    enrol(&pat);
    /* A patient comes by an invitation; what matters here is what the database says of him. */
    uint8_t name[ID_SIZE];
    name_of(&pat, name);
    DB_RUN(store, "UPDATE devices SET kind = 4 WHERE device = $1", db_id(name));
    assert_int_equal(register_codes(&chief, chief_secret), 201);
    assert_int_equal(begin_by_code(&chief, chief_secret), 201);
    assert_int_equal(set_policy("webauthn-or-totp", 900, 43200), 200);
    return 0;
}

static int tear_down(void **state) {
    relay_close(r);
    db_close(store);
    return 0;
}

static void codes_are_those_of_rfc_6238(void **state) {
    /* Appendix B, the last 6 of its 8 digits. */
    static const struct {
        int64_t at;
        const char *code;
    } ROWS[] = {{59, "287082"},         {1111111109, "081804"}, {1111111111, "050471"},
                {1234567890, "005924"}, {2000000000, "279037"}, {20000000000, "353130"}};
    const uint8_t *secret = (const uint8_t *)"12345678901234567890";
    for (size_t i = 0; i < sizeof ROWS / sizeof *ROWS; i++) {
        char code[TOTP_DIGITS + 1];
        int64_t step = ROWS[i].at / 30;
        assert_true(totp_code(secret, (uint64_t)step, code));
        assert_string_equal(code, ROWS[i].code);
        for (int64_t ahead = -2; ahead <= 2 && step > 2; ahead++)
            assert_int_equal(totp_find(secret, ROWS[i].at + ahead * 30, 0, ROWS[i].code),
                             ahead * ahead <= 1 ? step : 0);
        assert_int_equal(totp_find(secret, ROWS[i].at, step - 1, ROWS[i].code), step);
        assert_int_equal(totp_find(secret, ROWS[i].at, step, ROWS[i].code), 0);
    }
}

static void a_session_ends_when_nobody_is_there(void **state) {
    assert_int_equal(look(&chief), 200);
    now += 15 * MINUTE - 1;
    assert_int_equal(look(&chief), 200);
    now += 1;
    assert_int_equal(look(&chief), 401);
    assert_true(says("problem:step-up") && says("\"methods\":[\"totp\"]"));
    assert_int_equal(ask(&chief, METHOD_PUT, "/v1/session", "", NULL), 401);
    assert_int_equal(begin_by_code(&chief, chief_secret), 201);
    /* What a device does by itself does not keep it open; what it says of its user does. */
    for (int i = 0; i < 5; i++) {
        now += 14 * MINUTE;
        assert_int_equal(look(&chief), 200);
        assert_int_equal(ask(&chief, METHOD_PUT, "/v1/session", "", NULL), 200);
    }
    for (int i = 0; i < 3; i++, now += 5 * MINUTE)
        assert_int_equal(look(&chief), 200);
    assert_int_equal(look(&chief), 401);
}

static void saying_it_often_writes_seldom(void **state) {
    now += 89 * 1000; /* a tenth of 15 minutes is 90 s */
    assert_int_equal(ask(&chief, METHOD_PUT, "/v1/session", "", NULL), 200);
    now += 811 * 1000 - 1;
    assert_int_equal(look(&chief), 200);
    now += 1;
    assert_int_equal(look(&chief), 401);
}

static void a_session_ends_after_its_time_in_all(void **state) {
    now = BEGIN_MS;
    for (int i = 0; i < 12 * 6 - 1; i++) {
        now += 10 * MINUTE;
        assert_int_equal(ask(&chief, METHOD_PUT, "/v1/session", "", NULL), 200);
    }
    now = BEGIN_MS + 12 * HOUR - 1;
    assert_int_equal(look(&chief), 200);
    now += 1;
    assert_int_equal(look(&chief), 401);
}

/* One that was begun while the relay's clock was ahead is over when the clock is set right: it would outlast the policy by as much. */
static void a_session_of_the_future_is_none(void **state) {
    now += 30 * 24 * HOUR;
    assert_int_equal(begin_by_code(&chief, chief_secret), 201);
    now -= 5 * MINUTE; /* relays' clocks differ a little */
    assert_int_equal(look(&chief), 200);
    now -= 1;
    assert_int_equal(look(&chief), 401);
    now -= 30 * 24 * HOUR - 10 * MINUTE;
    assert_int_equal(look(&chief), 401);
}

static void a_stricter_policy_counts_at_once(void **state) {
    now += 5 * MINUTE;
    assert_int_equal(set_policy("webauthn-or-totp", 300, 43200), 200);
    assert_int_equal(look(&chief), 401);
    assert_int_equal(begin_by_code(&chief, chief_secret), 201);
    assert_int_equal(set_policy("webauthn-or-totp", 900, 60), 200);
    now += MINUTE - 1;
    assert_int_equal(look(&chief), 200);
    now += 1;
    assert_int_equal(look(&chief), 401);
}

static void a_patient_is_there_for_half_an_hour(void **state) {
    assert_int_equal(look(&pat), 401);
    assert_true(says("\"methods\":[\"local\"]"));
    assert_int_equal(ask(&pat, METHOD_POST, "/v1/session", "", "{\"method\":\"local\"}"), 201);
    now += 30 * MINUTE - 1;
    assert_int_equal(look(&pat), 200);
    now += 1;
    assert_int_equal(look(&pat), 401);
}

static void the_first_verifier_comes_within_a_quarter_of_an_hour(void **state) {
    uint8_t secret[TOTP_SECRET_SIZE];
    now += 15 * MINUTE - 1;
    assert_int_equal(register_codes(&nurse, secret), 201);
    assert_int_equal(register_codes(&nurse, secret), 201);
    now += 1;
    assert_int_equal(register_codes(&nurse, secret), 403);
    /* The one that was registered is still good. */
    assert_int_equal(begin_by_code(&nurse, secret), 201);
    assert_int_equal(look(&nurse), 200);
    /* And a day after somebody allowed it. */
    char path[80] = "/v1/devices/", *at = path + strlen(path);
    uint8_t name[ID_SIZE];
    name_of(&nurse, name);
    at += BASE64URL_SIZE(ID_SIZE);
    base64url_write(path + strlen("/v1/devices/"), SPAN(name));
    strcpy(at, "/verifiers");
    assert_int_equal(begin_by_code(&chief, chief_secret), 201);
    assert_int_equal(ask(&chief, METHOD_DELETE, path, "", NULL), 204);
    assert_int_equal(look(&nurse), 401);
    now += 24 * HOUR - 1;
    assert_int_equal(register_codes(&nurse, secret), 201);
    now += 1;
    assert_int_equal(register_codes(&nurse, secret), 403);
}

static void a_challenge_is_good_for_five_minutes(void **state) {
    assert_int_equal(answer_challenge(&nurse, true, 5 * MINUTE), 403);
    assert_true(says("problem:bad-assertion"));
    assert_int_equal(answer_challenge(&nurse, true, 5 * MINUTE - 1), 201);
    assert_int_equal(answer_challenge(&nurse, false, 5 * MINUTE), 403);
    assert_true(says("problem:bad-assertion"));
    assert_int_equal(look(&nurse), 401);
    assert_int_equal(answer_challenge(&nurse, false, 5 * MINUTE - 1), 201);
    assert_int_equal(look(&nurse), 200);
}

static int say_wrong(const signature_key *who, const uint8_t secret[TOTP_SECRET_SIZE]) {
    char wrong[] = "000000";
    while (totp_find(secret, now / 1000, 0, wrong) != 0)
        wrong[5]++;
    return say_code(who, wrong);
}

static void wrong_codes_lock_for_longer_and_longer(void **state) {
    now += HOUR;
    for (int i = 0; i < 4; i++)
        assert_int_equal(say_wrong(&chief, chief_secret), 403);
    assert_true(says("\"attempts_left\":1"));
    assert_int_equal(say_wrong(&chief, chief_secret), 429);
    assert_true(says("\"retry_after_s\":900"));
    for (int64_t lock = 15; lock <= 15 * 64; lock *= 2) {
        now += lock * MINUTE - 1;
        assert_int_equal(begin_by_code(&chief, chief_secret), 429);
        assert_true(says("\"retry_after_s\":1"));
        now += 1;
        assert_int_equal(say_wrong(&chief, chief_secret), 429);
    }
    now += 15 * 64 * MINUTE - 1;
    assert_int_equal(begin_by_code(&chief, chief_secret), 429);
    now += 1;
    assert_int_equal(begin_by_code(&chief, chief_secret), 201);
    assert_int_equal(say_wrong(&chief, chief_secret), 403);
    assert_true(says("\"attempts_left\":4"));
    assert_int_equal(look(&chief), 200);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_are_those_of_rfc_6238),
        cmocka_unit_test_setup_teardown(a_session_ends_when_nobody_is_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(saying_it_often_writes_seldom, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_session_ends_after_its_time_in_all, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_session_of_the_future_is_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stricter_policy_counts_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_patient_is_there_for_half_an_hour, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_first_verifier_comes_within_a_quarter_of_an_hour, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_challenge_is_good_for_five_minutes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_codes_lock_for_longer_and_longer, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("relay_session", tests, NULL, NULL);
}
