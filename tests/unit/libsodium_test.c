/* libsodium_test.c: is libsodium, compiled our way, still libsodium? Vectors from the RFCs, and ChaCha20 at every length. */
#include "support/chacha20_reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sodium.h>
#include <string.h>

static void unhex(uint8_t *out, size_t n, const char *hex) {
    size_t got;
    assert_int_equal(sodium_hex2bin(out, n, hex, strlen(hex), NULL, &got, NULL), 0);
    assert_int_equal(got, n);
}

static void chacha20_reference_is_rfc8439(void **state) {
    uint8_t key[32], nonce[12], zeros[64] = {0}, expected[64], actual[64];
    for (size_t i = 0; i < sizeof key; i++) {
        key[i] = (uint8_t)i;
    }
    unhex(nonce, sizeof nonce, "000000090000004a00000000"); /* §2.3.2 */
    unhex(expected, sizeof expected,
          "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"
          "d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e");
    chacha20_reference(actual, zeros, sizeof zeros, nonce, 1, key);
    assert_memory_equal(actual, expected, sizeof expected);
}

static void chacha20_agrees_at_every_length(void **state) { assert_int_equal(chacha20_first_difference(), -1); }

static void x25519_is_rfc7748(void **state) {
    uint8_t scalar[32], point[32], expected[32], actual[32];
    unhex(scalar, sizeof scalar, "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"); /* §5.2 */
    unhex(point, sizeof point, "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c");
    unhex(expected, sizeof expected, "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
    assert_int_equal(crypto_scalarmult_curve25519(actual, scalar, point), 0);
    assert_memory_equal(actual, expected, sizeof expected);
}

static void ed25519_is_rfc8032(void **state) {
    uint8_t seed[32], public_key[32], secret_key[64], message[1] = {0x72}, expected[64], actual[64];
    unhex(seed, sizeof seed, "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"); /* §7.1, test 2 */
    unhex(expected, sizeof expected,
          "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
          "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00");
    crypto_sign_seed_keypair(public_key, secret_key, seed);
    crypto_sign_detached(actual, NULL, message, sizeof message, secret_key);
    assert_memory_equal(actual, expected, sizeof expected);
    assert_int_equal(crypto_sign_verify_detached(actual, message, sizeof message, public_key), 0);
    actual[63] ^= 1;
    assert_int_equal(crypto_sign_verify_detached(actual, message, sizeof message, public_key), -1);
}

static void hkdf_sha256_is_rfc5869(void **state) {
    uint8_t ikm[22], salt[13], info[10], prk[32], expected[42], actual[42];
    memset(ikm, 0x0b, sizeof ikm); /* §A.1 */
    unhex(salt, sizeof salt, "000102030405060708090a0b0c");
    unhex(info, sizeof info, "f0f1f2f3f4f5f6f7f8f9");
    unhex(expected, sizeof expected,
          "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
    assert_int_equal(crypto_kdf_hkdf_sha256_extract(prk, salt, sizeof salt, ikm, sizeof ikm), 0);
    assert_int_equal(crypto_kdf_hkdf_sha256_expand(actual, sizeof actual, (const char *)info, sizeof info, prk), 0);
    assert_memory_equal(actual, expected, sizeof expected);
}

static void xwing_agrees_with_itself(void **state) {
    uint8_t seed[crypto_kem_xwing_SEEDBYTES], coins[64];
    uint8_t public_key[crypto_kem_xwing_PUBLICKEYBYTES], secret_key[crypto_kem_xwing_SECRETKEYBYTES];
    uint8_t ciphertext[crypto_kem_xwing_CIPHERTEXTBYTES], sent[32], received[32];
    memset(seed, 7, sizeof seed);
    memset(coins, 9, sizeof coins);
    assert_int_equal(sizeof public_key, 1216); /* DESIGN §6: Npk, Nenc, seed as the private key */
    assert_int_equal(sizeof ciphertext, 1120);
    assert_int_equal(sizeof secret_key, 32);
    assert_int_equal(crypto_kem_xwing_seed_keypair(public_key, secret_key, seed), 0);
    assert_int_equal(crypto_kem_xwing_enc_deterministic(ciphertext, sent, public_key, coins), 0);
    assert_int_equal(crypto_kem_xwing_dec(received, ciphertext, secret_key), 0);
    assert_memory_equal(sent, received, sizeof sent);
    ciphertext[0] ^= 1; /* implicit rejection: another secret, no error */
    assert_int_equal(crypto_kem_xwing_dec(received, ciphertext, secret_key), 0);
    assert_memory_not_equal(sent, received, sizeof sent);
}

static int initialise(void **state) { return sodium_init() < 0; }

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chacha20_reference_is_rfc8439),
        cmocka_unit_test(chacha20_agrees_at_every_length),
        cmocka_unit_test(x25519_is_rfc7748),
        cmocka_unit_test(ed25519_is_rfc8032),
        cmocka_unit_test(hkdf_sha256_is_rfc5869),
        cmocka_unit_test(xwing_agrees_with_itself),
    };
    return cmocka_run_group_tests_name("libsodium", tests, initialise, NULL);
}
