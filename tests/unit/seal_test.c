/* core/crypto/seal.c: sealed values and keys from what a person remembers. */
#include "crypto/seal.h"
#include "support/check.h"
#include "support/host.h"

static void a_seal_is_xchacha20_poly1305_with_the_nonce_before(void **state) {
    uint8_t key[32], nonce[24], sealed[11 + SEAL_OVERHEAD], opened[11];
    for (int i = 0; i < 32; i++)
        key[i] = (uint8_t)i;
    for (int i = 0; i < 24; i++)
        nonce[i] = (uint8_t)(100 + i);
    unsigned long calls = host_random_calls();
    host_set_random(nonce, sizeof nonce);
    seal(key, span_text("aad"), span_text("hello sotto"), sealed);
    assert_int_equal(host_random_calls(), calls + 1);
    /* Computed with a HChaCha20 written for it and pyca/cryptography. */
    assert_span(SPAN(sealed), hex("6465666768696a6b6c6d6e6f707172737475767778797a7b"
                                  "141695dc900efaedf344f23c12fe9ca17434656d8e057c9ec5e4e7"));
    assert_ok(unseal(key, span_text("aad"), SPAN(sealed), opened));
    assert_memory_equal(opened, "hello sotto", 11);
}

static void any_change_of_a_seal_is_refused(void **state) {
    uint8_t key[32] = {9}, aad[] = "aad", sealed[20 + SEAL_OVERHEAD], opened[20], zero[20] = {0};
    seal(key, SPAN(aad), span_text("twenty characters..!"), sealed);
    struct {
        uint8_t *p;
        size_t n;
    } inputs[] = {{sealed, sizeof sealed}, {aad, sizeof aad}, {key, sizeof key}};
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        for (size_t bit = 0; bit < 8 * inputs[i].n; bit++) {
            inputs[i].p[bit / 8] ^= (uint8_t)(1 << bit % 8);
            memset(opened, 0xee, sizeof opened);
            assert_err(unseal(key, SPAN(aad), SPAN(sealed), opened), ERR_DECRYPT);
            assert_memory_equal(opened, zero, sizeof zero);
            inputs[i].p[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
    }
    for (size_t n = 0; n < sizeof sealed; n++)
        assert_err(unseal(key, SPAN(aad), span_of(sealed, n), opened), n < SEAL_OVERHEAD ? ERR_TRUNCATED : ERR_DECRYPT);
    assert_ok(unseal(key, SPAN(aad), SPAN(sealed), opened));
}

static void nothing_can_be_sealed(void **state) {
    uint8_t key[32] = {1}, sealed[SEAL_OVERHEAD], opened[1];
    seal(key, SPAN_NONE, SPAN_NONE, sealed);
    assert_ok(unseal(key, SPAN_NONE, SPAN(sealed), opened));
    assert_err(unseal(key, span_text("x"), SPAN(sealed), opened), ERR_DECRYPT);
}

static void the_same_sealed_twice_differs(void **state) {
    uint8_t key[32] = {1}, one[3 + SEAL_OVERHEAD], two[3 + SEAL_OVERHEAD];
    seal(key, SPAN_NONE, span_text("abc"), one);
    seal(key, SPAN_NONE, span_text("abc"), two);
    assert_memory_not_equal(one, two, 24);
    assert_memory_not_equal(one + 24, two + 24, 19);
}

static void keys_are_derived_by_hkdf_sha256(void **state) {
    uint8_t out[80];
    derive_key(span_text("key material"), "sotto test", out, 32);
    assert_span(span_of(out, 32), hex("f4b0d129e960b735e3225b1c1aad2fc5343fa961674bbeca41183a2210a982ad"));
    derive_key(span_text("key material"), "sotto test", out, 80);
    assert_span(SPAN(out),
                hex("f4b0d129e960b735e3225b1c1aad2fc5343fa961674bbeca41183a2210a982adb8cc875f71abe241290d908a"
                    "e236df34bdbdfde03fbe3e1ea59557b3c60621e093eccd6ec72d3f80aecbda501cb049dd"));
    uint8_t other[32];
    derive_key(span_text("key material"), "sotto tesu", other, 32);
    assert_memory_not_equal(other, out, 32);
}

static void stretching_is_argon2id(void **state) {
    uint8_t out[32];
    const uint8_t *salt = (const uint8_t *)"0123456789abcdef";
    /* From pyca/cryptography. */
    assert_ok(stretch(span_text("1984-05-06"), salt, (stretch_cost){1, 8}, out, 32));
    assert_span(SPAN(out), hex("abb7146a8b362325db2e0dc1e344626f97460832424fba81891721f2bb46d155"));
    assert_ok(stretch(span_text("1984-05-06"), salt, STRETCH_COST, out, 32));
    assert_span(SPAN(out), hex("fc1bd99aec39a03f68807aed14fb08092449bdc183808ea518d537d5cc7ea665"));
    uint8_t empty[16];
    assert_ok(stretch(SPAN_NONE, salt, (stretch_cost){1, 8}, empty, 16));
    assert_ok(stretch(span_text(""), salt, (stretch_cost){1, 8}, out, 16));
    assert_memory_equal(empty, out, 16);
}

static void hostile_costs_are_refused(void **state) {
    static const stretch_cost bad[] = {{0, 8}, {11, 8}, {1, 7}, {1, 0}, {1, 262145}, {UINT32_MAX, 8}, {1, UINT32_MAX}};
    uint8_t out[32];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_err(stretch(span_text("x"), (const uint8_t *)"0123456789abcdef", bad[i], out, 32), ERR_LIMIT);
    assert_ok(stretch(span_text("x"), (const uint8_t *)"0123456789abcdef", (stretch_cost){10, 8}, out, 32));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_seal_is_xchacha20_poly1305_with_the_nonce_before),
        cmocka_unit_test(any_change_of_a_seal_is_refused),
        cmocka_unit_test(nothing_can_be_sealed),
        cmocka_unit_test(the_same_sealed_twice_differs),
        cmocka_unit_test(keys_are_derived_by_hkdf_sha256),
        cmocka_unit_test(stretching_is_argon2id),
        cmocka_unit_test(hostile_costs_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
