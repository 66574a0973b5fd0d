/* The relay's small parts: signatures' headers, rates, waits, JSON. */
#include "../../server/json.h"
#include "../../server/limits.h"
#include "../../server/outage.h"
#include "../../server/rate.h"
#include "../../server/signature_check.h"
#include "../../server/waits.h"
#include "support/check.h"

#include <stdio.h>
#include <unistd.h>

static uint8_t memory[1 << 20];

/* ---- signatures */

#define KEYID "AAECAwQFBgcICQoLDA0ODw"
#define NONCE "AAAAAAAAAAAAAAAAAAAAAQ"
#define COVERED "(\"@method\" \"@authority\" \"@path\" \"@query\")"
#define COVERED_DIGEST "(\"@method\" \"@authority\" \"@path\" \"@query\" \"content-digest\")"
#define REST ";created=1790000000;nonce=\"" NONCE "\";keyid=\"" KEYID "\";alg=\"ed25519\""
#define SIGNATURE "sotto=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==:"

static void the_head_is_read(void **state) {
    const char *fault = NULL;
    signed_head head;
    request rq = {.signature_input = span_text("sotto=" COVERED REST), .signature = span_text(SIGNATURE)};
    assert_ok(signature_head_read(&rq, &head, &fault));
    assert_int_equal(head.created, 1790000000);
    assert_int_equal(head.keyid[15], 15);
    assert_int_equal(head.nonce[15], 1);
    assert_false(head.covers_digest);
    assert_span(head.parameters, span_text(COVERED REST));
}

static void any_other_spelling_is_refused(void **state) {
    static const char *const INPUTS[] = {
        "",
        "sotto=",
        "sig1=" COVERED REST,
        " sotto=" COVERED REST,
        "sotto=" COVERED REST " ",
        "sotto=" COVERED REST ", other=()",
        "sotto=" COVERED_DIGEST REST, /* there is no content */
        "sotto=(\"@method\" \"@authority\" \"@path\")" REST,
        "sotto=(\"@authority\" \"@method\" \"@path\" \"@query\")" REST,
        "sotto=(\"@method\"  \"@authority\" \"@path\" \"@query\")" REST,
        "sotto=(\"@method\" \"@authority\" \"@path\" \"@query\" \"date\")" REST,
        "sotto=" COVERED ";created=01790000000;nonce=\"" NONCE "\";keyid=\"" KEYID "\";alg=\"ed25519\"",
        "sotto=" COVERED ";created=-1;nonce=\"" NONCE "\";keyid=\"" KEYID "\";alg=\"ed25519\"",
        "sotto=" COVERED ";created=9999999999999999;nonce=\"" NONCE "\";keyid=\"" KEYID "\";alg=\"ed25519\"",
        "sotto=" COVERED ";created=;nonce=\"" NONCE "\";keyid=\"" KEYID "\";alg=\"ed25519\"",
        "sotto=" COVERED ";created=1790000000;nonce=\"short\";keyid=\"" KEYID "\";alg=\"ed25519\"",
        "sotto=" COVERED ";created=1790000000;nonce=\"AAAAAAAAAAAAAAAAAAAAAR\";keyid=\"" KEYID
        "\";alg=\"ed25519\"", /* spare bits */
        "sotto=" COVERED ";created=1790000000;nonce=\"" NONCE "\";keyid=\"AAEC+wQFBgcICQoLDA0ODw\";alg=\"ed25519\"",
        "sotto=" COVERED ";nonce=\"" NONCE "\";created=1790000000;keyid=\"" KEYID "\";alg=\"ed25519\"",
        "sotto=" COVERED ";created=1790000000;nonce=\"" NONCE "\";keyid=\"" KEYID "\"",
        "sotto=" COVERED ";created=1790000000;nonce=\"" NONCE "\";keyid=\"" KEYID "\";alg=\"rsa-v1_5-sha256\"",
        "sotto=" COVERED REST ";expires=1",
    };
    static const char *const SIGNATURES[] = {
        "",
        "sotto=",
        "sotto=::",
        "sotto=:AAAA:",
        "sig1=:AAAA:",
        SIGNATURE " ",
        SIGNATURE ",a=:AAAA:",
        /* base64url, no padding, spare bits */
        "sotto=:-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==:",
        "sotto=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA:",
        "sotto=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB==:",
    };
    signed_head head;
    for (size_t i = 0; i < sizeof INPUTS / sizeof *INPUTS; i++) {
        const char *fault = NULL;
        request rq = {.signature_input = span_text(INPUTS[i]), .signature = span_text(SIGNATURE)};
        if (signature_head_read(&rq, &head, &fault) == OK)
            fail_msg("accepted: %s", INPUTS[i]);
        assert_non_null(fault);
    }
    for (size_t i = 0; i < sizeof SIGNATURES / sizeof *SIGNATURES; i++) {
        const char *fault = NULL;
        request rq = {.signature_input = span_text("sotto=" COVERED REST), .signature = span_text(SIGNATURES[i])};
        if (signature_head_read(&rq, &head, &fault) == OK)
            fail_msg("accepted: %s", SIGNATURES[i]);
        assert_non_null(fault);
    }
}

static void content_and_digest_go_together(void **state) {
    const char *fault = NULL;
    signed_head head;
    request rq = {.signature_input = span_text("sotto=" COVERED_DIGEST REST), .signature = span_text(SIGNATURE)};
    rq.body = span_text("x");
    assert_err(signature_head_read(&rq, &head, &fault), ERR_MALFORMED);
    rq.content_digest = span_text("sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:");
    assert_ok(signature_head_read(&rq, &head, &fault));
    rq.signature_input = span_text("sotto=" COVERED REST);
    assert_err(signature_head_read(&rq, &head, &fault), ERR_MALFORMED);
    rq.body = SPAN_NONE;
    assert_err(signature_head_read(&rq, &head, &fault), ERR_MALFORMED);
}

/* Signs what RFC 9421 §2.5 says, spelled out here, and lets the relay verify it; then changes each component. */
static void every_component_is_covered(void **state) {
    static const char BASE[] = "\"@method\": POST\n\"@authority\": a.example:81\n\"@path\": /v1/x\n\"@query\": ?id=1\n"
                               "\"content-digest\": sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:\n"
                               "\"@signature-params\": " COVERED_DIGEST REST;
    uint8_t seed[32] = {9}, raw[64];
    char header[120] = "sotto=:", base64[100];
    static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    signature_key key;
    signature_key_from_seed(seed, &key);
    signature_sign(&key, span_text(BASE), raw);
    size_t n = 0;
    for (size_t i = 0; i < 64; i += 3) {
        uint32_t v =
            (uint32_t)raw[i] << 16 | (i + 1 < 64 ? (uint32_t)raw[i + 1] << 8 : 0) | (i + 2 < 64 ? raw[i + 2] : 0);
        for (int k = 0; k < 4; k++)
            base64[n++] = ALPHABET[v >> (18 - 6 * k) & 63];
    }
    memcpy(base64 + 86, "==", 3);
    strcat(strcat(header, base64), ":");

    request good = {.method = METHOD_POST,
                    .path = span_text("/v1/x"),
                    .query = span_text("id=1"),
                    .authority = span_text("a.example:81"),
                    .signature_input = span_text("sotto=" COVERED_DIGEST REST),
                    .signature = span_text(header),
                    .body = span_text("hello"),
                    .content_digest = span_text("sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:")};
    const uint8_t *public_key = signature_key_public(&key).p;
    for (int change = 0; change < 8; change++) {
        const char *fault = NULL;
        signed_head head;
        uint8_t other_key[32];
        request rq = good;
        memcpy(other_key, public_key, 32);
        switch (change) {
        case 1: rq.method = METHOD_PUT; break;
        case 2: rq.path = span_text("/v1/y"); break;
        case 3: rq.query = span_text("id=2"); break;
        case 4: rq.authority = span_text("a.example"); break;
        case 5: rq.body = span_text("hullo"); break;
        case 6:
            rq.signature_input = span_text("sotto=" COVERED_DIGEST ";created=1790000001;nonce=\"" NONCE
                                           "\";keyid=\"" KEYID "\";alg=\"ed25519\"");
            break;
        case 7: other_key[3] ^= 1; break;
        default: break;
        }
        assert_ok(signature_head_read(&rq, &head, &fault));
        err e = signature_head_verify(&rq, &head, other_key, &fault);
        if ((e == OK) != (change == 0))
            fail_msg("change %d: %s", change, err_name(e));
    }
}

/* ---- rates */

static void a_bucket_empties_and_fills(void **state) {
    rate_table *t;
    uint8_t id[16] = {1}, other[16] = {2};
    assert_ok(rate_open(1024, 7, &t));
    for (int i = 0; i < 60; i++)
        assert_int_equal(rate_take(t, RATE_OF_DEVICE, id, 60, 1000000), 0);
    assert_int_equal(rate_take(t, RATE_OF_DEVICE, id, 60, 1000000), 1);
    assert_int_equal(rate_take(t, RATE_OF_DEVICE, other, 60, 1000000), 0);
    assert_int_equal(rate_take(t, RATE_OF_ADDRESS, id, 60, 1000000), 0);
    assert_int_equal(rate_take(t, RATE_OF_DEVICE, id, 60, 1000999), 1);
    assert_int_equal(rate_take(t, RATE_OF_DEVICE, id, 60, 1001000), 0);
    assert_int_equal(rate_take(t, RATE_OF_DEVICE, id, 60, 1001000), 1);
    assert_int_equal(rate_take(t, RATE_OF_DEVICE, id, 60, 500000), 1); /* a clock set back fills nothing */
    assert_int_equal(rate_take(t, RATE_OF_ENROLMENT, id, 0, 1), 0);    /* no limit */
    for (int i = 0; i < 2; i++)
        assert_int_equal(rate_take(t, RATE_OF_ENROLMENT, id, 2, 0), 0);
    assert_int_equal(rate_take(t, RATE_OF_ENROLMENT, id, 2, 0), 30);
    rate_close(t);
}

static void many_ids_take_no_more_memory(void **state) {
    rate_table *t;
    uint8_t id[16] = {0}, first[16] = {0};
    assert_ok(rate_open(64, 7, &t));
    for (uint32_t i = 0; i < 100000; i++) {
        memcpy(id, &i, 4);
        assert_int_equal(rate_take(t, RATE_OF_ADDRESS, id, 1, (int64_t)i), 0);
    }
    /* the last is remembered, the first forgotten */
    assert_int_not_equal(rate_take(t, RATE_OF_ADDRESS, id, 1, 100000), 0);
    assert_int_equal(rate_take(t, RATE_OF_ADDRESS, first, 1, 100000), 0);
    rate_close(t);
}

/* ---- waits */

static void a_device_waits_four_times_at_most(void **state) {
    static waits w;
    waiter e[6] = {0}, other = {0};
    other.wait.device[0] = 1;
    other.wait.device[9] = 9; /* the same bucket */
    for (int i = 0; i < 6; i++)
        e[i].wait.device[0] = 1;
    assert_null(waits_add(&w, &other));
    for (int i = 0; i < 4; i++)
        assert_null(waits_add(&w, &e[i]));
    assert_ptr_equal(waits_add(&w, &e[4]), &e[0]);
    assert_null(e[0].link);
    waits_remove(&w, &e[2]);
    waits_remove(&w, &e[2]);
    assert_null(waits_add(&w, &e[5]));
    size_t n = 0;
    for (waiter *p = waits_of(&w, e[0].wait.device); p != NULL; p = waits_next(p)) {
        assert_true(p == &e[1] || p == &e[3] || p == &e[4] || p == &e[5]);
        n++;
    }
    assert_int_equal(n, 4);
    assert_int_equal(w.count, 5);
    assert_ptr_equal(waits_of(&w, other.wait.device), &other);
    assert_null(waits_next(&other));
}

/* ---- JSON */

static json parse(const char *s, arena *a) {
    json j;
    arena_over(a, memory, sizeof memory);
    json_open(&j, span_text(s), a);
    return j;
}

/* Each value costs a piece of memory: a body of a million is refused before one is made. Commas in strings are none. */
static void a_body_holds_so_many_values(void **state) {
    static char body[2 * JSON_VALUES_MAX + 20], in_string[2 * JSON_VALUES_MAX + 20];
    arena a;
    for (int over = 0; over < 2; over++) {
        char *p = body + sprintf(body, "{\"x\":[0");
        for (int i = 0; i < JSON_VALUES_MAX - 3 + over; i++)
            p += sprintf(p, ",0");
        strcpy(p, "]}");
        arena_over(&a, memory, sizeof memory);
        json j = parse(body, &a);
        assert_string_equal(j.fault, over ? "the body holds more than 4096 values" : "");
        json_close(&j);
    }
    memset(in_string, ',', sizeof in_string - 1);
    memcpy(in_string, "{\"x\":\"", 6);
    strcpy(in_string + sizeof in_string - 3, "\"}");
    json j = parse(in_string, &a);
    assert_string_equal(j.fault, "");
    json_close(&j);
}

static void what_is_no_object_is_refused(void **state) {
    static const char *const BAD[] = {"",
                                      "{",
                                      "[]",
                                      "null",
                                      "1",
                                      "{}x",
                                      "{\"a\":}",
                                      "{\"a\":1,}",
                                      "{\"a\":[[[[1]]]]}",
                                      "{'a':1}",
                                      "\xff",
                                      "{\"a\":\"\xc3\"}",
                                      "{} {}",
                                      "{\"a\":\"\\ud800\"}",
                                      "{\"a\":\"\\u0000\"}",
                                      "{\"a\\u0000b\":1}",
                                      "{\"a\":\"\n\"}",
                                      "{\"a\":\v1}",
                                      "\xef\xbb\xbf{}",
                                      "{\"a\":01}",
                                      "{\"a\":-}",
                                      "{\"a\":1.}",
                                      "{\"a\":1e}"};
    arena a;
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        json j = parse(BAD[i], &a);
        if (j.fault[0] == 0)
            fail_msg("accepted: %s", BAD[i]);
        assert_null(j.root);
        json_close(&j);
    }
    json j = parse(" {\"unknown\":[[-0.5e+3,0,\"\\\\u0000\\\"\"]]} \r\n", &a);
    assert_string_equal(j.fault, "");
    json_close(&j);
}

static void members_are_named_when_wrong(void **state) {
    arena a;
    uint8_t three[3];
    size_t n;
    json j;
#define FAULT(text, read, expected)                                                                                    \
    do {                                                                                                               \
        j = parse(text, &a);                                                                                           \
        (void)(read);                                                                                                  \
        assert_string_equal(j.fault, expected);                                                                        \
        json_close(&j);                                                                                                \
    } while (0)
    FAULT("{}", json_integer(&j, "n", 0, 9), "member \"n\" is missing");
    FAULT("{\"n\":1,\"n\":2}", json_integer(&j, "n", 0, 9), "member \"n\" stands there twice");
    FAULT("{\"n\":\"1\"}", json_integer(&j, "n", 0, 9), "member \"n\" must be an integer from 0 to 9");
    FAULT("{\"n\":1.5}", json_integer(&j, "n", 0, 9), "member \"n\" must be an integer from 0 to 9");
    FAULT("{\"n\":-1}", json_integer(&j, "n", 0, 9), "member \"n\" must be an integer from 0 to 9");
    FAULT("{\"n\":1e300}", json_integer(&j, "n", 0, SEQUENCE_MAX),
          "member \"n\" must be an integer from 0 to 9007199254740991");
    FAULT("{\"n\":null}", json_integer(&j, "n", 0, 9), "member \"n\" must be an integer from 0 to 9");
    FAULT("{\"n\":9}", json_integer(&j, "n", 0, 9), "");
    FAULT("{\"b\":7}", (json_fixed(&j, "b", three, 3), 0), "member \"b\" must be a string");
    FAULT("{\"b\":\"AAA\"}", (json_fixed(&j, "b", three, 3), 0), "member \"b\" must be base64url of 3 bytes");
    FAULT("{\"b\":\"AA+A\"}", (json_fixed(&j, "b", three, 3), 0), "member \"b\" must be base64url of 3 bytes");
    FAULT("{\"b\":\"AAAA\"}", (json_fixed(&j, "b", three, 3), 0), "");
    FAULT("{\"b\":\"AAAA\"}", json_bytes(&j, "b", 2).n, "member \"b\" is longer than 2 bytes");
    FAULT("{\"b\":\"\"}", json_bytes(&j, "b", 2).n, "member \"b\" is empty");
    FAULT("{\"b\":\"AA==\"}", json_bytes(&j, "b", 9).n, "member \"b\" must be base64url without padding");
    FAULT("{\"l\":{}}", json_fixed_list(&j, "l", 3, 2, &n), "member \"l\" must be an array");
    FAULT("{\"l\":[\"AAAA\",\"AAAA\",\"AAAA\"]}", json_fixed_list(&j, "l", 3, 2, &n),
          "member \"l\" has more than 2 elements");
    FAULT("{\"l\":[\"AAAA\",3]}", json_fixed_list(&j, "l", 3, 2, &n),
          "element 1 of member \"l\" must be base64url of 3 bytes");
    FAULT("{\"l\":[]}", json_fixed_list(&j, "l", 3, 2, &n), "");
    FAULT("{\"l\":[\"AAAA\",\"\"]}", json_bytes_list(&j, "l", 3, 2, &n), "element 1 of member \"l\" is empty");
}

static void text_is_escaped(void **state) {
    text t = {0};
    text_put(&t, "{");
    text_member_string(&t, "a", "\"\\\n");
    text_member_integer(&t, "b", -5);
    text_member_base64url(&t, "c", span_text("\xfb\xff"));
    text_put(&t, "}");
    assert_span(span_of(t.p, t.n), span_text("{\"a\":\"\\u0022\\u005c\\u000a\",\"b\":-5,\"c\":\"-_8\"}"));
    text_free(&t);
}

/* ---- what the log says while batches fail */

static int lines_of(FILE *f, const char *word) {
    char line[500];
    int n = 0;
    rewind(f);
    while (fgets(line, sizeof line, f) != NULL)
        n += strstr(line, word) != NULL;
    return n;
}

static void an_outage_is_told_once_a_minute(void **state) {
    FILE *told = tmpfile();
    int kept = dup(2);
    outage o = {0};
    assert_non_null(told);
    assert_true(kept >= 0 && dup2(fileno(told), 2) == 2);
    outage_batch(&o, 1, true, 500);
    int64_t at = 1000;
    for (; at <= 1000 + 150000; at += 10) { /* two and a half minutes; what only reads is stored meanwhile */
        outage_batch(&o, 3, false, at);
        outage_batch(&o, 1, true, at + 5);
    }
    outage_batch(&o, 1, true, at - 10 + OUTAGE_QUIET_MS - 1);
    int over_early = lines_of(told, "event=batches-stored-again");
    for (int i = 0; i < 3; i++)
        outage_batch(&o, 1, true, at - 10 + OUTAGE_QUIET_MS + i);
    outage_batch(&o, 7, false, at + 60000);
    (void)!dup2(kept, 2);
    close(kept);
    assert_int_equal(over_early, 0);
    assert_int_equal(lines_of(told, "event=batch-failed batches=1 requests=3 seconds=0"), 1);
    assert_int_equal(lines_of(told, "event=batches-still-failing batches=6001 requests=18003 seconds=60"), 1);
    assert_int_equal(lines_of(told, "event=batches-still-failing batches=12001 requests=36003 seconds=120"), 1);
    assert_int_equal(lines_of(told, "event=batches-stored-again batches=15001 requests=45003 seconds=155"), 1);
    assert_int_equal(lines_of(told, "event=batch-failed batches=1 requests=7 seconds=0"), 1);
    assert_int_equal(lines_of(told, "event="), 5);
    fclose(told);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_holds_so_many_values),
        cmocka_unit_test(the_head_is_read),
        cmocka_unit_test(any_other_spelling_is_refused),
        cmocka_unit_test(content_and_digest_go_together),
        cmocka_unit_test(every_component_is_covered),
        cmocka_unit_test(a_bucket_empties_and_fills),
        cmocka_unit_test(many_ids_take_no_more_memory),
        cmocka_unit_test(a_device_waits_four_times_at_most),
        cmocka_unit_test(what_is_no_object_is_refused),
        cmocka_unit_test(members_are_named_when_wrong),
        cmocka_unit_test(text_is_escaped),
        cmocka_unit_test(an_outage_is_told_once_a_minute),
    };
    return cmocka_run_group_tests_name("relay_parts", tests, NULL, NULL);
}
