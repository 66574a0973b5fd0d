/* primitives.c: libsodium's primitives by themselves in wasm, compiled as they are for the core. Not shipped: the tests
 * compare ChaCha20 with a plain implementation in it, and the benchmarks take from it what the core could reach at best.
 *
 * Each `bench_…` runs its operation `count` times on the buffers below, which the host never sees. */
#include "support/chacha20_reference.h"

#include <sodium.h>
#include <string.h>

#define EXPORT __attribute__((used, visibility("default")))

static uint8_t plain[65536 + 16], sealed[65536 + 16], key[32], nonce[12], sign_public[32], sign_secret[64],
    signature[64];
static uint8_t kem_public[crypto_kem_xwing_PUBLICKEYBYTES], kem_secret[crypto_kem_xwing_SECRETKEYBYTES];
static uint8_t kem_ciphertext[crypto_kem_xwing_CIPHERTEXTBYTES], shared[32];

EXPORT int primitives_init(void);
EXPORT int chacha20_difference(void);
EXPORT int memory_difference(void);
EXPORT uint8_t *primitives_seed(void);
EXPORT int primitives_public_key(void);
EXPORT int bench_seal(int size, int count);
EXPORT int bench_sign(int size, int count);
EXPORT int bench_verify(int size, int count);
EXPORT int bench_x25519(int count);
EXPORT int bench_xwing_keypair(int count);
EXPORT int bench_xwing_enc(int count);
EXPORT int bench_xwing_dec(int count);
EXPORT int bench_sha512(int size, int count);
EXPORT int bench_argon2id(int memory_bytes, int passes);

/* 0, or -1 when libsodium does not start. */
int primitives_init(void) {
    if (sodium_init() < 0) {
        return -1;
    }
    crypto_sign_keypair(sign_public, sign_secret);
    return crypto_kem_xwing_keypair(kem_public, kem_secret) | crypto_kem_xwing_enc(kem_ciphertext, shared, kem_public);
}

/* See chacha20_first_difference(). */
int chacha20_difference(void) { return chacha20_first_difference(); }

/* Bytes are compared and set through volatile pointers, or the compiler would make memcpy of the loops. */
static void number(volatile uint8_t *bytes, int n, int from) {
    for (int i = 0; i < n; i++) {
        bytes[i] = (uint8_t)(from + i * 7);
    }
}

/* Whether `bytes` are numbers, but for those from `at` on, which are (value: -1) numbers from `source` on or all `value`. */
static int holds(const volatile uint8_t *bytes, int n, int at, int size, int source, int value) {
    for (int i = 0; i < n; i++) {
        int changed = i >= at && i < at + size;
        int expected = !changed ? i * 7 : value >= 0 ? value : (source + i - at) * 7;
        if (bytes[i] != (uint8_t)expected) {
            return 0;
        }
    }
    return 1;
}

/* memcpy, memmove and memset of emscripten/runtime.c, up to lengths past the one from which the engine does the work:
 * the first length that goes wrong, or -1. */
int memory_difference(void) {
    enum { ROOM = 640, MOST = 600 };
    for (int n = 0; n <= MOST; n++) {
        for (int shift = 0; shift <= 40; shift += shift < 18 ? 1 : 11) {
            number(plain, ROOM, 0);
            number(sealed, ROOM, 0);
            memcpy(sealed + shift, plain + 3, (size_t)n);
            if (!holds(sealed, ROOM, shift, n, 3, -1)) {
                return n;
            }
            number(sealed, ROOM, 0);
            memmove(sealed + shift, sealed + 5, (size_t)n);
            if (!holds(sealed, ROOM, shift, n, 5, -1)) {
                return n;
            }
            number(sealed, ROOM, 0);
            memset(sealed + shift, 0xa5, (size_t)n);
            if (!holds(sealed, ROOM, shift, n, 0, 0xa5)) {
                return n;
            }
        }
    }
    return -1;
}

/* 32 bytes, in whose place primitives_public_key() puts the Ed25519 public key of that seed. */
uint8_t *primitives_seed(void) { return key; }

int primitives_public_key(void) {
    int failed = crypto_sign_seed_keypair(sign_public, sign_secret, key);
    memcpy(key, sign_public, sizeof key);
    return failed;
}

int bench_seal(int size, int count) {
    int failed = 0;
    while (count-- > 0) {
        failed |= crypto_aead_chacha20poly1305_ietf_encrypt(sealed, NULL, plain, (unsigned long long)size, NULL, 0,
                                                            NULL, nonce, key);
    }
    return failed;
}

int bench_sign(int size, int count) {
    int failed = 0;
    while (count-- > 0) {
        failed |= crypto_sign_detached(signature, NULL, plain, (unsigned long long)size, sign_secret);
    }
    return failed;
}

int bench_verify(int size, int count) {
    int failed = crypto_sign_detached(signature, NULL, plain, (unsigned long long)size, sign_secret);
    while (count-- > 0) {
        failed |= crypto_sign_verify_detached(signature, plain, (unsigned long long)size, sign_public);
    }
    return failed;
}

int bench_x25519(int count) {
    int failed = 0;
    while (count-- > 0) {
        failed |= crypto_scalarmult_curve25519(shared, key, kem_public + 1184);
    }
    return failed;
}

int bench_xwing_keypair(int count) {
    int failed = 0;
    while (count-- > 0) {
        failed |= crypto_kem_xwing_keypair(kem_public, kem_secret);
    }
    return failed | crypto_kem_xwing_enc(kem_ciphertext, shared, kem_public);
}

int bench_xwing_enc(int count) {
    int failed = 0;
    while (count-- > 0) {
        failed |= crypto_kem_xwing_enc(kem_ciphertext, shared, kem_public);
    }
    return failed;
}

int bench_xwing_dec(int count) {
    int failed = 0;
    while (count-- > 0) {
        failed |= crypto_kem_xwing_dec(shared, kem_ciphertext, kem_secret);
    }
    return failed;
}

int bench_sha512(int size, int count) {
    while (count-- > 0) {
        crypto_hash_sha512(signature, plain, (unsigned long long)size);
    }
    return 0;
}

int bench_argon2id(int memory_bytes, int passes) {
    static const uint8_t salt[crypto_pwhash_argon2id_SALTBYTES];
    return crypto_pwhash_argon2id(shared, sizeof shared, "12345678", 8, salt, (unsigned long long)passes,
                                  (size_t)memory_bytes, crypto_pwhash_argon2id_ALG_ARGON2ID13);
}
