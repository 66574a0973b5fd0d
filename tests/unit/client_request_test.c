/* core/client/request.c: RFC 9421 signatures against values made by another implementation, and the names of origins. */
#include "client/request.h"

#include "crypto/random.h"
#include "crypto/suite.h"
#include "support/check.h"
#include "support/host.h"

static uint8_t memory[1 << 18];

static request_signer make_signer(signature_key *key, const char *origin) {
    request_signer signer = {.key = key, .origin = span_text(origin), .now_ms = 1790000000999};
    uint8_t seed[ED25519_SEED_SIZE];
    for (size_t i = 0; i < sizeof seed; i++)
        seed[i] = (uint8_t)(i + 1);
    signature_key_from_seed(seed, key);
    for (size_t i = 0; i < sizeof signer.key_id; i++)
        signer.key_id[i] = (uint8_t)(0xf0 + i);
    return signer;
}

static const char *header(const http_request *r, const char *name) {
    for (const http_header *h = r->headers; h != NULL; h = h->next)
        if (strcmp(h->name, name) == 0)
            return h->value;
    return NULL;
}

typedef struct vector {
    const char *origin, *method, *path, *body;
    const char *digest, *components, *signature;
} vector;

/* Made with Node 18: crypto.sign(null, base, key), key = PKCS #8 of the seed 01 02 … 20 (hex), nonce 00 … 0f, keyid f0 … ff,
 * and these bases (RFC 9421 §2.5), lines parted by \n, written by hand:
 *
 *     "@method": GET
 *     "@authority": chat.clinic.example
 *     "@path": /v1/inbox
 *     "@query": ?after=7&wait=25
 *     "@signature-params": ("@method" "@authority" "@path" "@query");created=1790000000;nonce="AAECAwQFBgcICQoLDA0ODw";
 *         keyid="8PHy8_T19vf4-fr7_P3-_w";alg="ed25519"                                          (in one line)
 *
 *     "@method": POST
 *     "@authority": relay.test:8443
 *     "@path": /v1/key-packages/claim
 *     "@query": ?
 *     "content-digest": sha-256=:99XZXi78QcMDimNM0tj972HCaEfO6IGVmK3g8vYuJtI=:
 *     "@signature-params": ("@method" "@authority" "@path" "@query" "content-digest");created=…  */
#define PARAMS ";created=1790000000;nonce=\"AAECAwQFBgcICQoLDA0ODw\";keyid=\"8PHy8_T19vf4-fr7_P3-_w\";alg=\"ed25519\""
#define GET_SIGNATURE "sotto=:8A1kWXAUmxRkqCMzFDEeefxNXoCNxR+LnKEjcMvLE3ZewUjXwW8c2O7nZenGKCtxCO3CnZd90cGkEtFU4yzfAA==:"
#define POST_SIGNATURE                                                                                                 \
    "sotto=:nkKuEem9IjE1Fm2pT45us8azDueFFQt2XAVbystUQC2S8bSTPKvRa9dPwmH4JLFFZXZVXovu3+I1pTQUNMFICA==:"
static const vector vectors[] = {
    {"https://chat.clinic.example", "GET", "/v1/inbox?after=7&wait=25", NULL, NULL,
     "sotto=(\"@method\" \"@authority\" \"@path\" \"@query\")" PARAMS, GET_SIGNATURE},
    /* §2.2.3: lower case, without the scheme's own port: the same authority, so the same signature. */
    {"https://Chat.CLINIC.example:443", "GET", "/v1/inbox?after=7&wait=25", NULL, NULL,
     "sotto=(\"@method\" \"@authority\" \"@path\" \"@query\")" PARAMS, GET_SIGNATURE},
    {"http://chat.clinic.example:80", "GET", "/v1/inbox?after=7&wait=25", NULL, NULL,
     "sotto=(\"@method\" \"@authority\" \"@path\" \"@query\")" PARAMS, GET_SIGNATURE},
    {"https://relay.test:8443", "POST", "/v1/key-packages/claim", "{\"devices\":[]}",
     "sha-256=:99XZXi78QcMDimNM0tj972HCaEfO6IGVmK3g8vYuJtI=:",
     "sotto=(\"@method\" \"@authority\" \"@path\" \"@query\" \"content-digest\")" PARAMS, POST_SIGNATURE},
};

/* The core draws short randomness ahead: what comes from now on is 00 … 0f again and again. */
static void fix_nonces(void) {
    uint8_t bytes[1024], drawn[16];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i % 16);
    host_set_random(bytes, sizeof bytes);
    do
        random_bytes(drawn, sizeof drawn);
    while (memcmp(drawn, bytes, sizeof drawn) != 0);
}

static const http_request *emit(arena *a, effects *fx, const vector *v) {
    signature_key key;
    request_signer signer = make_signer(&key, v->origin);
    *fx = (effects){.arena = a, .timer_ms = -1};
    fx->requests_end = &fx->requests;
    fix_nonces();
    span body = v->body != NULL ? span_text(v->body) : SPAN_NONE;
    assert_ok(request_emit(fx, &signer, 77, v->method, v->path, "application/json", body, false));
    assert_non_null(fx->requests);
    return fx->requests;
}

static void signatures_are_those_of_the_vectors(void **state) {
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        arena a;
        effects fx;
        arena_over(&a, memory, sizeof memory);
        const http_request *r = emit(&a, &fx, &vectors[i]);
        assert_int_equal(r->id, 77);
        assert_string_equal(header(r, "Signature-Input"), vectors[i].components);
        assert_string_equal(header(r, "Signature"), vectors[i].signature);
        if (vectors[i].digest != NULL) {
            assert_string_equal(header(r, "Content-Digest"), vectors[i].digest);
            assert_string_equal(header(r, "Content-Type"), "application/json");
            assert_span(r->body, span_text(vectors[i].body));
        } else {
            assert_null(header(r, "Content-Digest"));
            assert_null(r->body.p);
        }
    }
}

/* What a signature covers, it covers: change one part and it is another. */
static void every_part_counts(void **state) {
    static const vector changed[] = {
        {"https://chat.clinic.example:80", "GET", "/v1/inbox?after=7&wait=25", NULL, NULL, NULL, NULL},
        {"http://chat.clinic.example:443", "GET", "/v1/inbox?after=7&wait=25", NULL, NULL, NULL, NULL},
        {"https://chat.clinic.exampl", "GET", "/v1/inbox?after=7&wait=25", NULL, NULL, NULL, NULL},
        {"https://chat.clinic.example", "PUT", "/v1/inbox?after=7&wait=25", NULL, NULL, NULL, NULL},
        {"https://chat.clinic.example", "GET", "/v1/inbo?after=7&wait=25", NULL, NULL, NULL, NULL},
        {"https://chat.clinic.example", "GET", "/v1/inbox?after=8&wait=25", NULL, NULL, NULL, NULL},
        {"https://chat.clinic.example", "GET", "/v1/inbox", NULL, NULL, NULL, NULL},
        {"https://chat.clinic.example", "GET", "/v1/inbox?after=7&wait=25", "x", NULL, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof changed / sizeof *changed; i++) {
        arena a;
        effects fx;
        arena_over(&a, memory, sizeof memory);
        assert_string_not_equal(header(emit(&a, &fx, &changed[i]), "Signature"), GET_SIGNATURE);
    }
}

static void nonces_differ(void **state) {
    arena a;
    effects fx;
    signature_key key;
    arena_over(&a, memory, sizeof memory);
    host_set_random(NULL, 0);
    for (size_t i = 0; i < 16; i++) { /* what fix_nonces left */
        uint8_t drawn[16];
        random_bytes(drawn, sizeof drawn);
    }
    request_signer signer = make_signer(&key, "https://x");
    fx = (effects){.arena = &a, .timer_ms = -1};
    fx.requests_end = &fx.requests;
    for (int i = 0; i < 40; i++) /* more than are drawn ahead */
        assert_ok(request_emit(&fx, &signer, 1, "GET", "/", NULL, SPAN_NONE, false));
    const http_request *last = fx.requests;
    while (last->next != NULL) {
        assert_string_not_equal(header(last, "Signature"), header(last->next, "Signature"));
        last = last->next;
    }
}

static void origins_are_a_scheme_and_a_host(void **state) {
    static const char *const good[] = {"https://a",
                                       "http://a",
                                       "https://a:443",
                                       "http://a:80",
                                       "https://[::1]",
                                       "http://[::1]:8080",
                                       "https://chat.clinic.test",
                                       "https://A.B:1",
                                       "http://10.0.0.1"};
    static const char *const bad[] = {"",
                                      "https://",
                                      "http://",
                                      "ftp://a",
                                      "a",
                                      "//a",
                                      "HTTPS://a",
                                      "https:/a",
                                      "https://a/",
                                      "https://a/b",
                                      "https://a?b",
                                      "https://a#b",
                                      "https://user@a",
                                      "https://a b",
                                      "https://a\nb",
                                      "https://a\x7f",
                                      "https://\xc3\xa9",
                                      "https://a\"",
                                      "https://a\\b",
                                      "https://:443",
                                      "http://:80",
                                      " https://a"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (request_origin_check(span_text(good[i])) != OK)
            fail_msg("%s was refused", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (request_origin_check(span_text(bad[i])) != ERR_MALFORMED)
            fail_msg("%s was taken", bad[i]);
    char longest[300] = "https://";
    memset(longest + 8, 'a', 255);
    assert_ok(request_origin_check(span_text(longest)));
    longest[8 + 255] = 'a';
    assert_err(request_origin_check(span_text(longest)), ERR_MALFORMED);
}

static void no_room_is_no_request(void **state) {
    signature_key key;
    request_signer signer = make_signer(&key, "https://x");
    for (size_t size = 0; size < 2400; size += 40) {
        arena a;
        effects fx = {.timer_ms = -1};
        arena_over(&a, memory, size);
        fx.arena = &a;
        fx.requests_end = &fx.requests;
        err e = request_emit(&fx, &signer, 1, "POST", "/v1/devices", "application/json", span_text("{}"), false);
        if (e == OK) {
            assert_non_null(header(fx.requests, "Content-Type"));
            assert_non_null(header(fx.requests, "Signature"));
        } else {
            assert_int_equal(e, ERR_ARENA);
            assert_null(fx.requests);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signatures_are_those_of_the_vectors),
        cmocka_unit_test(every_part_counts),
        cmocka_unit_test(nonces_differ),
        cmocka_unit_test(origins_are_a_scheme_and_a_host),
        cmocka_unit_test(no_room_is_no_request),
    };
    crypto_init();
    return cmocka_run_group_tests_name("client_request", tests, NULL, NULL);
}
