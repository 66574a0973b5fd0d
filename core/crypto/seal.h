/* seal.h: encryption outside of MLS: small sealed values (invitations, the account's key file), and what makes a key
 * of something a person can remember. XChaCha20-Poly1305 with random 24-byte nonces. */
#ifndef CRYPTO_SEAL_H
#define CRYPTO_SEAL_H

#include "base/arena.h"
#include "base/secret.h"

#define SEAL_KEY_SIZE 32
#define SEAL_OVERHEAD (24 + 16) /* nonce before, tag after */

/* out: plaintext.n + SEAL_OVERHEAD bytes. */
void seal(const uint8_t *key, span aad, span plaintext, uint8_t *out);
/* out: sealed.n - SEAL_OVERHEAD bytes. ERR_DECRYPT for a wrong key or altered bytes; ERR_TRUNCATED when too short. */
MUST_USE err unseal(const uint8_t *key, span aad, span sealed, uint8_t *out);

/* HKDF-SHA256 with our own labels: key = HKDF(ikm, info = label). */
void derive_key(span ikm, const char *label, uint8_t *out, size_t n);

#define STRETCH_SALT_SIZE 16
typedef struct stretch_cost {
    uint32_t passes;
    uint32_t kibibytes;
} stretch_cost;
/* RFC 9106's second recommendation (64 MiB, 3 passes, one lane): what a cheap phone still does in about a second. */
static const stretch_cost STRETCH_COST = {3, 65536};
/* Argon2id v1.3. ERR_LIMIT for a cost outside 1..10 passes, 8..262144 KiB (a hostile file must not stall us);
 * ERR_NO_MEMORY when the machine lacks it. */
MUST_USE err stretch(span secret_text, const uint8_t *salt, stretch_cost cost, uint8_t *out, size_t n);

#endif
