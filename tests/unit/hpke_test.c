/* core/crypto/hpke.c, kem.c: HPKE base mode (RFC 9180) over both KEMs, and MLS's EncryptWithLabel. */
#include "crypto/kem.h"
#include "crypto/suite.h"
#include "support/check.h"
#include "support/host.h"

static const uint16_t IDS[] = {SUITE_XWING, SUITE_X25519, SUITE_XWING_TS_MLS};
#define SUITES (sizeof IDS / sizeof *IDS)

/* --- RFC 9180 §A.2.1: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305, base mode --- */

#define A2_INFO "4f6465206f6e2061204772656369616e2055726e"
#define A2_EPHEMERAL "f4ec9b33b792c372c1d2c2063507b684ef925b8c75a42dbcbf57d63ccd381600"
#define A2_PUBLIC "4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a"
#define A2_PRIVATE "8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb"
#define A2_ENC "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a"
#define A2_AAD "436f756e742d30"
#define A2_PLAINTEXT "4265617574792069732074727574682c20747275746820626561757479"
#define A2_CIPHERTEXT "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28"

static void x25519_matches_rfc_9180_appendix_a2(void **state) {
    const suite *s = suite_find(SUITE_X25519);
    uint8_t enc[32], shared[KEM_SECRET_SIZE], ciphertext[45], plaintext[29];
    const span ephemeral = hex(A2_EPHEMERAL);
    host_set_random(ephemeral.p, ephemeral.n);
    assert_ok(kem_encapsulate(s, hex(A2_PUBLIC), enc, shared));
    assert_span(SPAN(enc), hex(A2_ENC));
    assert_span(SPAN(shared), hex("0bbe78490412b4bbea4812666f7916932b828bba79942424abb65244930d69a7"));
    host_set_random(ephemeral.p, ephemeral.n);
    assert_ok(hpke_seal(s, hex(A2_PUBLIC), hex(A2_INFO), hex(A2_AAD), hex(A2_PLAINTEXT), enc, ciphertext));
    assert_span(SPAN(enc), hex(A2_ENC));
    assert_span(SPAN(ciphertext), hex(A2_CIPHERTEXT));
    assert_ok(hpke_open(s, hex(A2_PRIVATE).p, SPAN(enc), hex(A2_INFO), hex(A2_AAD), SPAN(ciphertext), plaintext));
    assert_span(SPAN(plaintext), hex(A2_PLAINTEXT));
}

static void x25519_exports_match_rfc_9180_appendix_a2(void **state) {
    static const struct {
        const char *context, *value;
    } cases[] = {{"", "4bbd6243b8bb54cec311fac9df81841b6fd61f56538a775e7c80a9f40160606e"},
                 {"00", "8c1df14732580e5501b00f82b10a1647b40713191b7c1240ac80e2b68808ba69"},
                 {"54657374436f6e74657874", "5acb09211139c43b3090489a9da433e8a30ee7188ba8b0a9a1ccf0c229283e53"}};
    const suite *s = suite_find(SUITE_X25519);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t enc[32], out[32];
        const span ephemeral = hex(A2_EPHEMERAL);
        assert_ok(hpke_receive_export(s, hex(A2_PRIVATE).p, hex(A2_ENC), hex(A2_INFO), hex(cases[i].context), out, 32));
        assert_span(SPAN(out), hex(cases[i].value));
        memset(out, 0, sizeof out);
        host_set_random(ephemeral.p, ephemeral.n);
        assert_ok(hpke_send_export(s, hex(A2_PUBLIC), hex(A2_INFO), hex(cases[i].context), enc, out, 32));
        assert_span(SPAN(enc), hex(A2_ENC));
        assert_span(SPAN(out), hex(cases[i].value));
    }
}

static void decrypting_with_label_matches_crypto_basics_of_suite_3(void **state) {
    uint8_t plaintext[32];
    assert_ok(suite_decrypt_with_label(
        suite_find(SUITE_X25519), hex("9d122ad4638fcb301b6eb5f4073414afb44bb34d37b4ddee9975b2941d700edb").p,
        "EncryptWithLabel", hex("0d6a5cf9ee88b1f8c79d8512477d9bfc5496c207c8173f8dcac0368b4dba7407"),
        hex("f26e9e5a94396a90f85a5f72eedf3dacfb1b7f4164e0573edeb9c6c912e1cb49"),
        hex("40dd09ad4c5dc29d373f814bf054c9359cb75a468bc4d2c8bbcffb072a73105c4d9416ebd4fafeb62e59a9dea55da3cd"),
        plaintext));
    assert_span(SPAN(plaintext), hex("1dd4c1904996ce7d42cee7de68881459fa7a345da59a02040ade37103505baf6"));
}

/* --- X-Wing: the first vector of draft-connolly-cfrg-xwing-kem gives the shared secret d2df0522…; what the key schedule
 * (no ExtractAndExpand, HKDF-SHA512) makes of it was computed with pyca/cryptography. --- */

#define XWING_SEED "7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26"
#define XWING_RANDOM                                                                                                   \
    "3cb1eea988004b93103cfb0aeefd2a686e01fa4a58e8a3639ca8a1e3f9ae57e235b8cc873c23dc62b8d260169afa2f75ab916a58d9749188" \
    "35d2"                                                                                                             \
    "5e6a435085b2"

static void xwing_goes_straight_to_the_key_schedule(void **state) {
    for (int i = 0; i < 2; i++) {
        const suite *s = suite_find(i ? SUITE_XWING : SUITE_XWING_TS_MLS);
        const span random = hex(XWING_RANDOM), info = span_text("some info"), aad = span_text("some aad");
        const uint8_t *seed = hex(XWING_SEED).p;
        uint8_t public_key[KEM_PUBLIC_MAX], enc[KEM_OUTPUT_MAX], ciphertext[36], plaintext[20], out[64];
        assert_ok(suite_public_key(s, seed, public_key));
        host_set_random(random.p, random.n);
        assert_ok(hpke_seal(s, SPAN(public_key), info, aad, span_text("twenty characters..!"), enc, ciphertext));
        assert_span(SPAN(ciphertext), hex("a6d79489d37aad6d3f8ebba85d27ea7c4b7b21bbbf72ddf7d283195c1a9840e61f1f9884"));
        assert_ok(hpke_open(s, seed, SPAN(enc), info, aad, SPAN(ciphertext), plaintext));
        assert_span(SPAN(plaintext), span_text("twenty characters..!"));
        host_set_random(random.p, random.n);
        assert_ok(suite_encrypt_with_label(s, SPAN(public_key), "UpdatePathNode", span_text("a context"),
                                           span_text("twenty characters..!"), enc, ciphertext));
        assert_span(SPAN(ciphertext), hex("ffb6554061cef39ae2875b4f638b0b914fca67811f92c0b2f2a57871709af5073b1330a3"));
        assert_ok(suite_decrypt_with_label(s, seed, "UpdatePathNode", span_text("a context"), SPAN(enc),
                                           SPAN(ciphertext), plaintext));
        assert_span(SPAN(plaintext), span_text("twenty characters..!"));
        assert_ok(hpke_receive_export(s, seed, SPAN(enc), info, span_text("MLS 1.0 external init secret"), out, 64));
        assert_span(SPAN(out), hex("cbee852550be7d2ee8165f685407f1f4f3642d07605416070d39c785309a1c77"
                                   "09741413a5115432e632eaee9cd930aae33d20ea7d3ae02418b0ecb2b6a83bc6"));
    }
}

/* --- what must fail --- */

static void hpke_refuses_any_change(void **state) {
    for (size_t i = 0; i < SUITES; i++) {
        const suite *s = suite_find(IDS[i]);
        kem_key_pair pair, other;
        uint8_t enc[KEM_OUTPUT_MAX], ciphertext[20 + AEAD_TAG_SIZE], plaintext[20], zero[20] = {0};
        const span info = span_text("info"), aad = span_text("aad"), sent = span_text("twenty characters..!");
        assert_ok(suite_generate_key_pair(s, &pair));
        assert_ok(suite_generate_key_pair(s, &other));
        const span to = span_of(pair.public_key, s->kem_public_size), output = span_of(enc, s->kem_output_size);
        assert_ok(hpke_seal(s, to, info, aad, sent, enc, ciphertext));
        assert_ok(hpke_open(s, pair.private_key, output, info, aad, SPAN(ciphertext), plaintext));
        assert_span(SPAN(plaintext), sent);
        memset(plaintext, 0xee, sizeof plaintext);
        assert_err(hpke_open(s, other.private_key, output, info, aad, SPAN(ciphertext), plaintext), ERR_DECRYPT);
        assert_memory_equal(plaintext, zero, sizeof zero);
        assert_err(hpke_open(s, pair.private_key, output, aad, aad, SPAN(ciphertext), plaintext), ERR_DECRYPT);
        assert_err(hpke_open(s, pair.private_key, output, info, info, SPAN(ciphertext), plaintext), ERR_DECRYPT);
        for (size_t n = 0; n < sizeof ciphertext; n++)
            assert_err(hpke_open(s, pair.private_key, output, info, aad, span_of(ciphertext, n), plaintext),
                       ERR_DECRYPT);
        for (size_t at = 0; at < s->kem_output_size; at += at < 40 ? 1 : 37) {
            enc[at] ^= 4;
            assert_err(hpke_open(s, pair.private_key, output, info, aad, SPAN(ciphertext), plaintext), ERR_DECRYPT);
            enc[at] ^= 4;
        }
        assert_err(hpke_open(s, pair.private_key, span_of(enc, s->kem_output_size - 1u), info, aad, SPAN(ciphertext),
                             plaintext),
                   ERR_KEY);
        assert_err(hpke_seal(s, span_of(to.p, to.n - 1), info, aad, sent, enc, ciphertext), ERR_KEY);
        uint8_t out[32];
        assert_err(hpke_send_export(s, span_of(to.p, to.n - 1), info, aad, enc, out, 32), ERR_KEY);
        assert_err(hpke_receive_export(s, pair.private_key, SPAN_NONE, info, aad, out, 32), ERR_KEY);
        assert_err(hpke_receive_export(s, pair.private_key, output, info, aad, out, 0), OK);
        static uint8_t large[255 * 64 + 1];
        assert_err(hpke_receive_export(s, pair.private_key, output, info, aad, large, sizeof large), ERR_TOO_LARGE);
    }
}

static void low_order_points_do_not_encrypt_to_anyone(void **state) { /* GHSA-g433-pq76-6cmf: all-zero result */
    const suite *s = suite_find(SUITE_X25519);
    uint8_t zero[32] = {0}, enc[32], ciphertext[20], plaintext[4];
    kem_key_pair pair;
    assert_ok(suite_generate_key_pair(s, &pair));
    assert_err(hpke_seal(s, SPAN(zero), SPAN_NONE, SPAN_NONE, span_text("text"), enc, ciphertext), ERR_KEY);
    assert_err(hpke_open(s, pair.private_key, SPAN(zero), SPAN_NONE, SPAN_NONE, SPAN(ciphertext), plaintext), ERR_KEY);
}

static void labels_and_contexts_separate(void **state) {
    for (size_t i = 0; i < SUITES; i++) {
        const suite *s = suite_find(IDS[i]);
        kem_key_pair pair;
        uint8_t enc[KEM_OUTPUT_MAX], ciphertext[20], plaintext[4];
        assert_ok(suite_generate_key_pair(s, &pair));
        const span to = span_of(pair.public_key, s->kem_public_size), output = span_of(enc, s->kem_output_size);
        assert_ok(suite_encrypt_with_label(s, to, "Welcome", span_text("ab"), span_text("text"), enc, ciphertext));
        assert_err(suite_decrypt_with_label(s, pair.private_key, "Welcom", span_text("ab"), output, SPAN(ciphertext),
                                            plaintext),
                   ERR_DECRYPT);
        assert_err(suite_decrypt_with_label(s, pair.private_key, "Welcome", span_text("a"), output, SPAN(ciphertext),
                                            plaintext),
                   ERR_DECRYPT);
        assert_ok(suite_decrypt_with_label(s, pair.private_key, "Welcome", span_text("ab"), output, SPAN(ciphertext),
                                           plaintext));
        assert_memory_equal(plaintext, "text", 4);
        /* The same as HPKE with EncryptContext written by hand. */
        assert_ok(hpke_open(s, pair.private_key, output,
                            span_text("\x0fMLS 1.0 Welcome\x02"
                                      "ab"),
                            SPAN_NONE, SPAN(ciphertext), plaintext));
    }
}

static void encrypting_twice_gives_two_ciphertexts(void **state) {
    for (size_t i = 0; i < SUITES; i++) {
        const suite *s = suite_find(IDS[i]);
        kem_key_pair pair;
        uint8_t enc[2][KEM_OUTPUT_MAX], ciphertext[2][20];
        assert_ok(suite_generate_key_pair(s, &pair));
        const span to = span_of(pair.public_key, s->kem_public_size);
        for (int k = 0; k < 2; k++)
            assert_ok(hpke_seal(s, to, SPAN_NONE, SPAN_NONE, span_text("text"), enc[k], ciphertext[k]));
        assert_memory_not_equal(enc[0], enc[1], s->kem_output_size);
        assert_memory_not_equal(ciphertext[0], ciphertext[1], sizeof ciphertext[0]);
    }
}

static int start(void **state) {
    crypto_init();
    return 0;
}

/* One prepared context to several recipients gives, of the same random bytes, what encrypting to each by itself gives. */
static void a_prepared_context_encrypts_the_same(void **state) {
    static uint8_t context[3000];
    for (size_t i = 0; i < sizeof context; i++)
        context[i] = (uint8_t)(i * 7);
    for (size_t i = 0; i < SUITES; i++) {
        const suite *s = suite_find(IDS[i]);
        encrypt_context prepared;
        suite_encrypt_context(s, "Welcome", SPAN(context), &prepared);
        for (uint8_t n = 0; n < 3; n++) {
            kem_key_pair pair;
            uint8_t random[64], enc[2][KEM_OUTPUT_MAX], ciphertext[2][20];
            memset(random, 1 + n, sizeof random);
            assert_ok(suite_generate_key_pair(s, &pair));
            const span to = span_of(pair.public_key, s->kem_public_size);
            size_t drawn = s->id == SUITE_X25519 ? 32 : 64;
            host_set_random(random, drawn);
            assert_ok(suite_encrypt_in_context(&prepared, to, span_text("text"), enc[0], ciphertext[0]));
            host_set_random(random, drawn);
            assert_ok(
                suite_encrypt_with_label(s, to, "Welcome", SPAN(context), span_text("text"), enc[1], ciphertext[1]));
            assert_memory_equal(enc[0], enc[1], s->kem_output_size);
            assert_memory_equal(ciphertext[0], ciphertext[1], 20);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(x25519_matches_rfc_9180_appendix_a2),
        cmocka_unit_test(x25519_exports_match_rfc_9180_appendix_a2),
        cmocka_unit_test(decrypting_with_label_matches_crypto_basics_of_suite_3),
        cmocka_unit_test(xwing_goes_straight_to_the_key_schedule),
        cmocka_unit_test(hpke_refuses_any_change),
        cmocka_unit_test(low_order_points_do_not_encrypt_to_anyone),
        cmocka_unit_test(labels_and_contexts_separate),
        cmocka_unit_test(a_prepared_context_encrypts_the_same),
        cmocka_unit_test(encrypting_twice_gives_two_ciphertexts),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
