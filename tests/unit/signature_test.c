/* core/crypto/signature.c: Ed25519, plain and with MLS's labels. */
#include "crypto/signature.h"
#include "support/check.h"

static void signatures_match_rfc_8032(void **state) {
    static const struct {
        const char *seed, *public_key, *message, *signature;
    } cases[] = {
        {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
         "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
         "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bb"
         "e24"
         "655141438e7a100b"},
        {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
         "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
         "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302"
         "aee"
         "b00d291612bb0c00"},
        {"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
         "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
         "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed"
         "28d"
         "c027beceea1ec40a"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        signature_key key;
        uint8_t signature[ED25519_SIGNATURE_SIZE];
        signature_key_from_seed(hex(cases[i].seed).p, &key);
        assert_span(signature_key_public(&key), hex(cases[i].public_key));
        signature_sign(&key, hex(cases[i].message), signature);
        assert_span(SPAN(signature), hex(cases[i].signature));
        assert_ok(signature_verify(hex(cases[i].public_key), hex(cases[i].message), SPAN(signature)));
    }
}

static void any_change_is_refused(void **state) {
    uint8_t seed[32] = {1}, public_key[33] = {0}, message[] = "a message", signature[65] = {0};
    signature_key key;
    signature_key_from_seed(seed, &key);
    memcpy(public_key, signature_key_public(&key).p, 32);
    signature_sign(&key, SPAN(message), signature);
    const span k = span_of(public_key, 32), s = span_of(signature, 64);
    struct {
        uint8_t *p;
        size_t n;
    } inputs[] = {{public_key, 32}, {message, sizeof message}, {signature, 64}};
    assert_ok(signature_verify(k, SPAN(message), s));
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        for (size_t bit = 0; bit < 8 * inputs[i].n; bit++) {
            inputs[i].p[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_err(signature_verify(k, SPAN(message), s), ERR_SIGNATURE);
            inputs[i].p[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
    }
    assert_ok(signature_verify(k, SPAN(message), s));
}

static void other_lengths_are_refused(void **state) { /* GHSA-8x3w-qj7j-gqhf */
    uint8_t seed[32] = {2}, public_key[33] = {0}, signature[65] = {0};
    signature_key key;
    signature_key_from_seed(seed, &key);
    memcpy(public_key, signature_key_public(&key).p, 32);
    signature_sign(&key, SPAN_NONE, signature);
    for (size_t n = 0; n <= 65; n++)
        assert_err(signature_verify(span_of(public_key, 32), SPAN_NONE, span_of(signature, n)),
                   n == 64 ? OK : ERR_SIGNATURE);
    for (size_t n = 0; n <= 33; n++)
        assert_err(signature_verify(span_of(public_key, n), SPAN_NONE, span_of(signature, 64)),
                   n == 32 ? OK : ERR_SIGNATURE);
}

static void keys_of_small_order_are_refused(void **state) {
    /* With the identity as key and R, and S = 0, the equation holds for every message. */
    static const char *points[] = {"0100000000000000000000000000000000000000000000000000000000000000",
                                   "0000000000000000000000000000000000000000000000000000000000000000",
                                   "0000000000000000000000000000000000000000000000000000000000000080",
                                   "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                                   "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
                                   "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"};
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        for (size_t k = 0; k < sizeof points / sizeof *points; k++) {
            uint8_t signature[64] = {0};
            memcpy(signature, hex(points[k]).p, 32);
            assert_err(signature_verify(hex(points[i]), span_text("anything"), SPAN(signature)), ERR_SIGNATURE);
        }
    }
}

static void a_second_spelling_of_s_is_refused(void **state) {
    /* S + L verifies under a lax check, so that a signature could be altered and still hold (RFC 8032 §5.1.7). */
    const span order = hex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    uint8_t seed[32] = {3}, signature[64];
    signature_key key;
    signature_key_from_seed(seed, &key);
    signature_sign(&key, span_text("message"), signature);
    assert_ok(signature_verify(signature_key_public(&key), span_text("message"), SPAN(signature)));
    unsigned carry = 0;
    for (size_t i = 0; i < 32; i++) {
        carry += signature[32 + i] + order.p[i];
        signature[32 + i] = (uint8_t)carry;
        carry >>= 8;
    }
    assert_err(signature_verify(signature_key_public(&key), span_text("message"), SPAN(signature)), ERR_SIGNATURE);
}

/* --- labels (RFC 9420 §5.1.2) --- */

static void signing_with_label_matches_crypto_basics_of_suite_3(void **state) {
    arena a;
    assert_ok(arena_init(&a, 1024));
    signature_key key;
    uint8_t signature[64];
    const span content = hex("df308cf2dbf471edf2c29d30e3daf161b5b87d350ee3b2c715c298ec3d10d432");
    const span expected = hex("4f56851c2c47f5115a61ff0ab6121b4a4732d4e94805fc7135a5132f87d5ca5f"
                              "1dc7408816c1ea4f25887725cf5914b48c427a52cabcfeb746a2b8a12e821f08");
    signature_key_from_seed(hex("4e312160ee4981358db479aa877412847abc7f7054b5605511256c395404d054").p, &key);
    assert_span(signature_key_public(&key), hex("18275f892ee0ca6f4687ff26c990776387502646ff658c3f572b324faecb05c5"));
    assert_ok(signature_sign_with_label(&key, "SignWithLabel", content, &a, signature));
    assert_span(SPAN(signature), expected);
    const span k = signature_key_public(&key);
    assert_ok(signature_verify_with_label(k, "SignWithLabel", content, expected, &a));
    assert_err(signature_verify_with_label(k, "SignWithLabe", content, expected, &a), ERR_SIGNATURE);
    assert_err(signature_verify_with_label(k, "SignWithLabel", span_of(content.p, 31), expected, &a), ERR_SIGNATURE);
    assert_err(signature_verify_with_label(k, "SignWithLabel", content, span_of(expected.p, 63), &a), ERR_SIGNATURE);
    /* Nothing of it stays in the arena. */
    assert_int_equal(arena_mark(&a), 0);
    arena_free(&a);
}

static void label_and_content_of_every_size_of_length(void **state) {
    static const size_t sizes[] = {0, 1, 0x3f, 0x40, 0x3fff, 0x4000};
    static uint8_t content[0x4000], whole[0x4000 + 200];
    arena a;
    assert_ok(arena_init(&a, 1 << 16));
    signature_key key;
    uint8_t seed[32] = {4}, signature[64];
    signature_key_from_seed(seed, &key);
    memset(content, 0x42, sizeof content);
    for (size_t label_size = 50; label_size < 60; label_size++) {
        char label[64] = {0};
        memset(label, 'x', label_size);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            size_t n = 0, size = sizes[i];
            if (8 + label_size >= 0x40)
                whole[n++] = 0x40;
            whole[n++] = (uint8_t)(8 + label_size);
            memcpy(whole + n, "MLS 1.0 ", 8);
            memcpy(whole + n + 8, label, label_size);
            n += 8 + label_size;
            if (size >= 0x4000) {
                whole[n++] = 0x80;
                whole[n++] = 0;
                whole[n++] = (uint8_t)(size >> 8);
            } else if (size >= 0x40) {
                whole[n++] = (uint8_t)(0x40 | size >> 8);
            }
            whole[n++] = (uint8_t)size;
            memcpy(whole + n, content, size);
            assert_ok(signature_sign_with_label(&key, label, span_of(content, size), &a, signature));
            assert_ok(signature_verify(signature_key_public(&key), span_of(whole, n + size), SPAN(signature)));
        }
    }
    arena_free(&a);
}

static void a_full_arena_is_no_signature(void **state) {
    uint8_t memory[64] __attribute__((aligned(8))), content[100] = {0}, seed[32] = {5}, signature[64];
    arena a;
    arena_over(&a, memory, sizeof memory);
    signature_key key;
    signature_key_from_seed(seed, &key);
    assert_err(signature_sign_with_label(&key, "Label", SPAN(content), &a, signature), ERR_ARENA);
    assert_err(signature_verify_with_label(signature_key_public(&key), "Label", SPAN(content), SPAN(signature), &a),
               ERR_ARENA);
    assert_err(signature_sign_with_label(&key, "Label", span_of(content, 0x40000000), &a, signature), ERR_TOO_LARGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signatures_match_rfc_8032),
        cmocka_unit_test(any_change_is_refused),
        cmocka_unit_test(other_lengths_are_refused),
        cmocka_unit_test(keys_of_small_order_are_refused),
        cmocka_unit_test(a_second_spelling_of_s_is_refused),
        cmocka_unit_test(signing_with_label_matches_crypto_basics_of_suite_3),
        cmocka_unit_test(label_and_content_of_every_size_of_length),
        cmocka_unit_test(a_full_arena_is_no_signature),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
