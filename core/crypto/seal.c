#include "crypto/seal.h"

#include <assert.h>
#include <sodium/crypto_aead_xchacha20poly1305.h>
#include <sodium/crypto_pwhash_argon2id.h>

#include "crypto/kdf.h"
#include "crypto/random.h"

#define NONCE_SIZE crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG_SIZE crypto_aead_xchacha20poly1305_ietf_ABYTES

_Static_assert(SEAL_OVERHEAD == NONCE_SIZE + TAG_SIZE, "nonce before, tag after");
_Static_assert(SEAL_KEY_SIZE == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "key");
_Static_assert(STRETCH_SALT_SIZE == crypto_pwhash_argon2id_SALTBYTES, "salt");

void seal(const uint8_t *key, span aad, span plaintext, uint8_t *out) {
    random_bytes(out, NONCE_SIZE);
    (void)crypto_aead_xchacha20poly1305_ietf_encrypt(out + NONCE_SIZE, NULL, plaintext.p, plaintext.n, aad.p, aad.n,
                                                     NULL, out, key);
}

err unseal(const uint8_t *key, span aad, span sealed, uint8_t *out) {
    if (sealed.n < SEAL_OVERHEAD)
        return ERR_TRUNCATED;
    const uint8_t *nonce = sealed.p, *ciphertext = sealed.p + NONCE_SIZE;
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(out, NULL, NULL, ciphertext, sealed.n - NONCE_SIZE, aad.p, aad.n,
                                                   nonce, key) != 0) {
        wipe(out, sealed.n - SEAL_OVERHEAD);
        return ERR_DECRYPT;
    }
    return OK;
}

void derive_key(span ikm, const char *label, uint8_t *out, size_t n) {
    const span info = span_text(label);
    secret prk;
    kdf_extract(32, SPAN_NONE, &ikm, 1, &prk);
    err e = kdf_expand(32, secret_span(&prk), &info, 1, out, n);
    secret_wipe(&prk);
    assert(e == OK); /* n is a constant of the caller's */
}

err stretch(span secret_text, const uint8_t *salt, stretch_cost cost, uint8_t *out, size_t n) {
    if (cost.passes < 1 || cost.passes > 10 || cost.kibibytes < 8 || cost.kibibytes > 262144)
        return ERR_LIMIT;
    assert(n >= crypto_pwhash_argon2id_BYTES_MIN);
    const char *text = secret_text.n > 0 ? (const char *)secret_text.p : "";
    if (crypto_pwhash_argon2id(out, n, text, secret_text.n, salt, cost.passes, (size_t)cost.kibibytes * 1024,
                               crypto_pwhash_argon2id_ALG_ARGON2ID13) != 0)
        return ERR_NO_MEMORY;
    return OK;
}
