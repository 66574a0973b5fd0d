#include <sodium/crypto_aead_chacha20poly1305.h>

#include "crypto/suite.h"

/* Every suite's AEAD is ChaCha20-Poly1305 (RFC 8439); `s` is taken so that another one needs no change elsewhere. */

err suite_aead_seal(const suite *s, const uint8_t *key, const uint8_t *nonce, span aad, span plaintext, uint8_t *out) {
    (void)s;
    if (plaintext.n > crypto_aead_chacha20poly1305_ietf_MESSAGEBYTES_MAX)
        return ERR_TOO_LARGE;
    (void)crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, plaintext.p, plaintext.n, aad.p, aad.n, NULL, nonce,
                                                    key);
    return OK;
}

err suite_aead_open(const suite *s, const uint8_t *key, const uint8_t *nonce, span aad, span ciphertext, uint8_t *out) {
    (void)s;
    /* A ciphertext shorter than a tag has none to compare (GHSA-8x3w-qj7j-gqhf). */
    if (ciphertext.n < AEAD_TAG_SIZE)
        return ERR_DECRYPT;
    size_t n = ciphertext.n - AEAD_TAG_SIZE;
    if (crypto_aead_chacha20poly1305_ietf_decrypt(out, NULL, NULL, ciphertext.p, ciphertext.n, aad.p, aad.n, nonce,
                                                  key) != 0) {
        wipe(out, n);
        return ERR_DECRYPT;
    }
    return OK;
}
